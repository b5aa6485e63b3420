# SPDX-License-Identifier: MIT
"""Discarding runs: their numbers stay in a ledger, and they themselves in a trash for 30 days.

    discard(load_run(run_dir), "the loss diverges")
    undiscard(output_dir, "warmup_long")
    for path in expired(output_dir): …

The line is written first, then the directory is moved into OUTPUT_DIR/.trash by one rename. Killed
between the two, the run is where it was, and a line about a run that is still there does not count
(lib/runs/keep/ledger.py). `undiscard` moves first.
"""

import contextlib
import shutil
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ...errors import BadUse, did_you_mean
from .. import status
from ..best import best_evaluation
from ..directory import make_private
from ..removal import InUse
from ..stored import StoredRun
from . import ledger
from . import pointer as pointers
from .keep import held, load_held
from .ledger import TRASH

DAYS = 30
_STAMP = "%Y%m%d-%H%M%S.%f"  # runs that are discarded in one second come back in order
_TAKEN = (
    "run_id",
    "status",
    "optimizer",
    "seed",
    "science_hash",
    "duration_s",
    "final_metrics",
    "tags",
    "description",
    "hypothesis",
    "conclusion",
)


def check(run: StoredRun) -> None:
    """Raise InUse or BadUse when the run is running, or kept."""
    if run.status == "running":
        raise InUse(f"{run.name} is running: stop it first, or wait for its end")
    pointer = pointers.path_of(run.dir)
    if pointer.exists():
        stem = pointer.with_suffix("")
        raise BadUse(
            f"{run.name} is kept. To keep it no longer: git rm {pointer} {stem}.summary.yaml, and "
            "git commit; its tags still have it. To free its space alone: rm -r the folder, "
            f"make pull RUN={run.name} gets it again"
        )


def discard(run: StoredRun, reason: str = "") -> dict[str, Any]:
    """Move the run into the trash; returns its line in the ledger.

    Raises InUse, BadUse as `check` does, UnreadableRun and OSError.
    """
    output_dir = run.dir.parent
    with held(run.dir):
        run = load_held(run.dir)
        check(run)
        entry = _entry(run, reason)
        make_private(output_dir / TRASH)
        ledger.append(output_dir, entry)
        run.dir.rename(output_dir / TRASH / entry["trash"])
    return entry


def _entry(run: StoredRun, reason: str) -> dict[str, Any]:
    best = best_evaluation(run.journal, run.metadata)
    return {
        "event": "discarded",
        "run_name": run.name,
        "reason": reason,
        "model": run.part("model").get("name"),
        **{name: run.metadata[name] for name in _TAKEN if name in run.metadata},
        "best_step": best.step if best else None,
        "git_commit": run.part("git").get("commit"),
        "settings": run.changed_settings,
        "trash": f"{run.name}@{datetime.now().strftime(_STAMP)}-{run.metadata.get('run_id')}",
    }


def undiscard(output_dir: Path, given: str) -> Path:
    """Move the run that was discarded last under the name, or is called so in the trash, back.

    Raises BadUse when there is none, or its name is taken.
    """
    found = trash_of(output_dir)
    matches = [path for path in found if given in (path.name, name_of(path))]
    if not matches:
        names = [name_of(path) for path in found]
        raise BadUse(
            f"RUN={given}: not in {output_dir / TRASH}{did_you_mean(given, names)}; `make "
            f"discarded` lists what is. After {DAYS} days `make gc` empties it"
        )
    target = output_dir / name_of(matches[-1])
    if target.exists():
        raise BadUse(f"there is another run {target} by now: rename it first (mv)")
    run_id = _run_id(matches[-1])
    matches[-1].rename(target)
    ledger.append(output_dir, {"event": "restored", "run_name": target.name, "run_id": run_id})
    return target


def trash_of(output_dir: Path) -> list[Path]:
    """The runs in the trash, by the time at which they came there."""
    try:
        return sorted((output_dir / TRASH).iterdir(), key=since)
    except FileNotFoundError:
        return []


def name_of(path: Path) -> str:
    """The name that a directory in the trash had: no run has an @ in its name."""
    return path.name.rpartition("@")[0] or path.name


def since(path: Path) -> float:
    """When a directory came into the trash, seconds since the epoch: when it was renamed last."""
    stamp = path.name.rpartition("@")[2].rpartition("-")[0]
    with contextlib.suppress(ValueError):
        return datetime.strptime(stamp, _STAMP).timestamp()
    return path.stat().st_ctime


def expired(output_dir: Path, days: float = DAYS) -> list[Path]:
    """The runs that have been in the trash for longer than so many days."""
    return [path for path in trash_of(output_dir) if time.time() - since(path) > days * 86400]


def empty(paths: list[Path]) -> None:
    """Remove these directories of the trash for good. Raises OSError."""
    for path in paths:
        shutil.rmtree(path)


def when(entry: Mapping[str, Any]) -> datetime | None:
    """The time of a line of the ledger."""
    return status.instant(entry.get("time"))


def _run_id(directory: Path) -> Any:
    with contextlib.suppress(status.UnreadableRun):
        return status.read(directory).get("run_id")
    return None
