# SPDX-License-Identifier: MIT
"""Removes checkpoints of a run that has ended: the rule of retention, applied afterwards.

pruned = prune(run_dir, keep=1)
pruned.removed, pruned.damaged      # names of files
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ... import lock
from ...errors import BadUse
from . import digest, manifest
from .digest import CheckpointError, same
from .find import BEST, listed
from .folder import remove
from .index import Entry, write_index
from .retention import removable


class Pruned(NamedTuple):
    """Names of the checkpoints that were removed, and of those that are damaged, which stay."""

    removed: list[str]
    damaged: list[str]


def prune(directory: Path, keep: int) -> Pruned:
    """Keep the last `keep` checkpoints that are whole, the best one and the milestones.

    Holds the run's lock meanwhile. Those that stay are compared with their digests first, so that
    never the last one that is whole is removed. Raises BadUse when the run is in progress, and
    OSError.
    """
    folder = directory / "checkpoints"
    try:
        held = lock.hold(directory / ".lock")
    except BlockingIOError:
        raise BadUse(f"{directory.name} is running, and keeps what it is configured to") from None
    try:
        entries = [
            replace(entry, best=entry.best or same(folder / entry.file, folder / BEST))
            for entry in listed(folder)
        ]
        whole, damaged = _last_whole(folder, entries, keep)
        gone = removable(whole, keep)
        for entry in gone:
            _remove(folder / entry.file)
        if entries:
            write_index(folder, [entry for entry in entries if entry not in gone])
        return Pruned([entry.file for entry in gone], damaged)
    finally:
        lock.release(held)


def _last_whole(folder: Path, entries: list[Entry], keep: int) -> tuple[list[Entry], list[str]]:
    """`entries` without the damaged ones among the newest, until `keep` whole ones are found."""
    damaged: list[Entry] = []
    left = keep
    for entry in reversed(entries):
        if not left:
            break
        path = folder / entry.file
        try:
            found = manifest.verify(path) if path.is_dir() else digest.verify(path)
        except CheckpointError:
            found = ""
        if found == entry.sha256:
            left -= 1
        else:
            damaged.append(entry)
    return [e for e in entries if e not in damaged], [entry.file for entry in damaged]


def _remove(path: Path) -> None:
    if path.is_dir():
        remove(path)
    else:
        path.unlink(missing_ok=True)
