# SPDX-License-Identifier: MIT
"""Removing runs: never one that is in progress, and never half of one.

    if is_dead_end(run):
        remove(run)

A run is removed while its lock is held, so that no training can go on with it meanwhile. It gets a
hidden name first: when the removal is cut short, what is left is not a run any more, and the next
`sweep_removed` takes it away.
"""

import os
import shutil
from pathlib import Path

from .. import lock
from ..errors import Failure
from . import metadata
from .stored import StoredRun

_REMOVED = ".removed-"


class InUse(Failure):
    """A run that a process is working on."""


def is_dead_end(run: StoredRun) -> bool:
    """Whether the run failed or was interrupted before its first checkpoint."""
    return run.status in ("failed", "interrupted") and not has_checkpoints(run.dir)


def has_checkpoints(directory: Path) -> bool:
    """Whether there is a checkpoint, whole or not, in the run's folder for them."""
    try:
        names = [path.name for path in (directory / "checkpoints").iterdir()]
    except FileNotFoundError:
        return False
    except OSError:  # of another user, say
        return True
    return any(name.startswith(("step_", "last", "best")) for name in names)


def remove(run: StoredRun) -> None:
    """Remove the directory of `run`, if its status is still what `run` says.

    Raises InUse when a training holds the run or has begun since, and OSError.
    """
    try:
        held = lock.hold(run.dir / ".lock")
    except BlockingIOError:
        raise InUse(f"{run.name} is running") from None
    try:
        _require_unchanged(run)
        hidden = run.dir.with_name(f"{_REMOVED}{run.name}-{os.getpid()}")
        run.dir.rename(hidden)
        shutil.rmtree(hidden)
    finally:
        lock.release(held)


def sweep_removed(output_dir: Path) -> None:
    """Remove what removals that were cut short left in `output_dir`."""
    for left in output_dir.glob(f"{_REMOVED}*"):
        if lock.is_free(left / ".lock"):
            shutil.rmtree(left, ignore_errors=True)


def _require_unchanged(run: StoredRun) -> None:
    """Raise InUse if a training has begun, or gone on, and ended since `run` was read."""
    if run.status == "unreadable":
        return
    now = metadata.load(run.dir / "metadata.yaml")
    if any(now.get(key) != run.metadata.get(key) for key in ("status", "run_id", "end_time")):
        raise InUse(f"{run.name} has changed meanwhile")
