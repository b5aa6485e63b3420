# SPDX-License-Identifier: MIT
"""What the index has of one run, made from its directory.

    entry = examine(directory)              # None when it is not a run
    entry = examine(directory, old)         # reads the journal on from where `old` had read it
    stamp(directory) == entry.stamp         # whether the run is still the same

`stamp` is made of the times of change, sizes and inodes of metadata.yaml and the journal, and the
times of the folders that hold the configuration and the checkpoints. It is empty for as long as
another change could leave it as it is.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ... import lock
from .. import status
from ..best import with_evaluation
from ..query.fields import FIELDS, VOLATILE
from ..series import Numbers
from ..status import UnreadableRun
from ..stored_run import StoredRun, disk_usage, load_run, summary_file
from .reading import Mark, is_settled, read_on

_FILES = ("metadata.yaml", "logs/metrics.jsonl")
_FOLDERS = ("", "checkpoints")  # their times say when files of them come and go
NO_RUN = ""  # the stamp of a folder that is not a run


@dataclass
class Entry:
    """`run` has its metadata, settings and numbers in memory; `size` is in bytes."""

    run: StoredRun
    stamp: str
    mark: Mark | None
    size: int

    @property
    def numbers(self) -> Numbers:
        """What it has logged."""
        return self.run.numbers

    def fields(self) -> dict[str, Any]:
        """The fields that have a value, but for those that change while the run does not."""
        found = {name: self.run.field(name) for name in FIELDS if name not in VOLATILE}
        return {name: value for name, value in found.items() if value is not None}


def stamp(directory: str) -> str:
    """What of a run directory shows that it has changed; NO_RUN if it is none."""
    parts, are_missing = [], True
    for name in _FILES:
        try:
            info = os.stat(f"{directory}/{name}")  # noqa: PTH116, a Path takes four times as long
        except OSError as error:
            are_missing &= isinstance(error, (FileNotFoundError, NotADirectoryError))
            parts.append(f"{error.errno}")
        else:
            are_missing = False
            parts.append(f"{info.st_ctime_ns}.{info.st_size}.{info.st_ino}")
    if are_missing:
        return NO_RUN
    for name in _FOLDERS:
        try:
            parts.append(f"{os.stat(f'{directory}/{name}').st_mtime_ns}")  # noqa: PTH116
        except OSError as error:
            parts.append(f"{error.errno}")
    return " ".join(parts)


def kept_stamp(directory: str) -> str:
    """The same for a run of which only NAME.summary.yaml is here."""
    try:
        info = summary_file(Path(directory)).stat()
    except OSError:
        return NO_RUN
    return f"kept {info.st_ctime_ns}.{info.st_size}.{info.st_ino}"


def examine(directory: Path, old: tuple[Mark, Numbers] | None = None) -> Entry | None:
    """The entry of a run as it is now; None when it is not a run."""
    is_kept = not directory.is_dir()
    made_of = kept_stamp if is_kept else stamp
    seen = made_of(os.fspath(directory))
    if seen == NO_RUN:
        return None
    try:
        run = load_run(directory) if is_kept else StoredRun(directory, status.read(directory))
        if run.status == "running" and lock.is_free(directory / ".lock"):
            run = StoredRun(directory, status.settle(directory))
            seen = stamp(os.fspath(directory))
    except UnreadableRun as error:
        run = StoredRun(directory, {"status": "unreadable", "error": str(error)})
    mark, numbers = read_on(run.journal, run.metadata, *(old or ()))
    if run.status == "running":
        run = StoredRun(directory, with_evaluation(numbers.best.found, run.metadata))
    run.__dict__["numbers"] = numbers  # as the cached property would
    return Entry(run, _trusted(seen), mark, disk_usage(directory))


def _trusted(seen: str) -> str:
    times = (part.partition(".")[0] for part in seen.split())
    return seen if all(is_settled(int(time)) for time in times if len(time) > 9) else NO_RUN
