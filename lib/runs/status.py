# SPDX-License-Identifier: MIT
"""The true status of a run: one that says "running" while nobody holds its lock was killed.

    fields = settle(run_dir)        # its metadata; marks it interrupted if it was killed

The first program to look marks such a run interrupted and records when its last row was logged and
its best metrics until then. It holds `.status.lock` meanwhile, as does Run.resume: otherwise it
could mark a run that goes on again.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from .. import lock
from ..errors import Failure
from ..files import sweep
from . import metadata
from .best import with_best
from .journal import read_rows

RESERVE = ".reserve"  # makes room for the final status on a full disk
_MARKING_S = 5.0  # far longer than marking a run interrupted takes


class UnreadableRun(Failure):
    """A run directory whose metadata.yaml is missing or damaged."""


def read(directory: Path, without: Iterable[str] = ()) -> dict[str, Any]:
    """metadata.yaml as it is. Raises UnreadableRun."""
    try:
        return metadata.load(directory / "metadata.yaml", without=without)
    except OSError as error:
        raise UnreadableRun(f"{directory}/metadata.yaml: {error.strerror}") from error
    except ValueError as error:
        raise UnreadableRun(str(error)) from error


def settle(directory: Path) -> dict[str, Any]:
    """The metadata of a run whose lock was free; marks it interrupted if it still says running.

    Raises UnreadableRun.
    """
    try:
        with status_lock(directory):
            # Meanwhile it may have ended properly, or gone on.
            if not lock.is_free(directory / ".lock"):
                return read(directory)
            was, ended = read(directory), read_ended(directory)
            if was["status"] != ended["status"]:
                clear_up(directory)
                metadata.save(directory / "metadata.yaml", ended)
            return ended
    except OSError:  # a read-only archive: the answer is right all the same
        return read_ended(directory)


def status_lock(directory: Path) -> AbstractContextManager[None]:
    """To be held while the status of a run that is not in progress is changed. Raises OSError."""
    return lock.held(directory / ".status.lock", wait=_MARKING_S, mode=0o600)


def read_ended(directory: Path) -> dict[str, Any]:
    """The metadata of a run of which the caller knows that it is not in progress.

    Raises UnreadableRun.
    """
    fields = read(directory)
    return _interrupted(directory, fields) if fields.get("status") == "running" else fields


def clear_up(directory: Path) -> None:
    """Remove what a killed run left behind: its reserve and half-written files. Raises OSError."""
    (directory / RESERVE).unlink(missing_ok=True)
    for folder in (directory, *(path for path in directory.iterdir() if path.is_dir())):
        sweep(folder)


def seconds(value: Any) -> float:
    """A duration in metadata.yaml; 0 if it is none."""
    return value if type(value) in (int, float) and 0 <= value < math.inf else 0.0


def instant(value: Any) -> datetime | None:
    """A time in metadata.yaml; None if it is none."""
    try:
        return datetime.fromisoformat(str(value)).astimezone()
    except (ValueError, OverflowError):
        return None


def _interrupted(directory: Path, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a run that was killed; it ended with its last row.

    Until then `duration_s` is what the run had lasted when it was resumed last.
    """
    changes: dict[str, Any] = {"status": "interrupted"}
    started, last = _last_start(fields), _last_time(_journal(directory))
    if started and last is not None:
        lasted = max(0.0, last - started.timestamp())
        with contextlib.suppress(OverflowError):  # not a valid time
            ended = started + timedelta(seconds=lasted)
            changes["end_time"] = ended.isoformat(timespec="milliseconds")
            changes["duration_s"] = round(seconds(fields.get("duration_s")) + lasted, 3)
    return with_best(_journal(directory), {**fields, **changes})


def _last_start(fields: Mapping[str, Any]) -> datetime | None:
    """When the run was started or, if it was resumed, last resumed."""
    resumes = fields.get("resumes")
    last = resumes[-1] if isinstance(resumes, list) and resumes else None
    resumed = instant(last.get("time")) if isinstance(last, dict) else None
    return resumed or instant(fields.get("start_time"))


def _last_time(journal: Path) -> float | None:
    for tail in (2**16, 2**24):  # hardly any row is longer than the first
        times = [row["time"] for row in _last_rows(journal, tail) if "time" in row]
        if times:
            return times[-1]
    return None


def _last_rows(journal: Path, tail: int) -> Iterator[dict[str, Any]]:
    with contextlib.suppress(OSError):
        offset = max(0, journal.stat().st_size - tail)
        # If this is within a row, what remains of it is skipped as damaged.
        for row, _ in read_rows(journal, offset, on_damage=lambda _: None):
            yield row


def _journal(directory: Path) -> Path:
    return directory / "logs" / "metrics.jsonl"
