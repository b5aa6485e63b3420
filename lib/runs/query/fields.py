# SPDX-License-Identifier: MIT
"""What every run has, by the names that WHERE, SORT and COLS use.

FIELDS["started"].of(run)       # None when it is missing
FIELDS["started"].kind          # text, list, number, flag, time, duration or size
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..stored_run import StoredRun


@dataclass(frozen=True)
class Field:
    """A field: `of` gives its value in the type of its `kind`, or None.

    text: str. list: list of str. number, duration (seconds) and size (bytes): int or float. flag:
    bool. time: seconds since 1970.
    """

    kind: str
    of: Callable[[StoredRun], Any]


def _top(key: str) -> Callable[[StoredRun], Any]:
    return lambda run: run.metadata.get(key)


def _part(part: str, key: str) -> Callable[[StoredRun], Any]:
    return lambda run: run.part(part).get(key)


def _seconds(of: Callable[[StoredRun], datetime | None]) -> Callable[[StoredRun], float | None]:
    def seconds(run: StoredRun) -> float | None:
        when = of(run)
        return when.timestamp() if when else None

    return seconds


def _age(run: StoredRun) -> float | None:
    started = run.field("started")
    return None if started is None else time.time() - started


def _notes(run: StoredRun) -> list[str]:
    notes = run.metadata.get("notes")
    entries = notes if isinstance(notes, list) else []
    return [str(note.get("text")) for note in entries if isinstance(note, dict)]


def _number_of_resumes(run: StoredRun) -> int:
    resumes = run.metadata.get("resumes")
    return len(resumes) if isinstance(resumes, list) else 0


_RAW: dict[str, tuple[str, Callable[[StoredRun], Any]]] = {
    "name": ("text", lambda run: run.name),
    "status": ("text", lambda run: run.status),
    "model": ("text", lambda run: run.model),
    "optimizer": ("text", _top("optimizer")),
    "dataset": ("text", _part("dataset", "name")),
    "tag": ("list", _top("tags")),
    "group": ("text", _top("group")),
    "job_type": ("text", _top("job_type")),
    "seed": ("number", _top("seed")),
    "device": ("text", _top("device")),
    "precision": ("text", _top("precision")),
    "parameters": ("number", _part("model", "parameters")),
    "best_step": ("number", lambda run: run.best_step),
    "best_epoch": ("number", lambda run: run.best_epoch),
    "started": ("time", _seconds(lambda run: run.started())),
    "ended": ("time", _seconds(lambda run: run.ended())),
    "age": ("duration", _age),
    "duration": ("duration", _top("duration_s")),
    "size": ("size", lambda run: run.size),
    "kept": ("flag", lambda run: run.kept),
    "commit": ("text", _part("git", "commit")),
    "branch": ("text", _part("git", "branch")),
    "dirty": ("flag", _part("git", "dirty")),
    "description": ("text", _top("description")),
    "hypothesis": ("text", _top("hypothesis")),
    "note": ("list", _notes),
    "verdict": ("text", _part("conclusion", "verdict")),
    "resumes": ("number", _number_of_resumes),
    "error": ("text", _top("error")),
    "science_hash": ("text", _top("science_hash")),
    "run_id": ("text", _top("run_id")),
    "launch": ("text", _top("launch")),
}


def _in_kind(kind: str, value: Any) -> Any:
    """`value` from metadata.yaml in the type of `kind`; None if it has another one."""
    if kind == "text":
        return value if isinstance(value, str) and value else None
    if kind == "list":
        return [str(item) for item in value] if isinstance(value, list) else []
    if kind == "flag":
        return value if isinstance(value, bool) else None
    return value if type(value) in (int, float) else None


def _checked(kind: str, of: Callable[[StoredRun], Any]) -> Field:
    return Field(kind, lambda run: _in_kind(kind, of(run)))


# Not in the index, since they change while the run does not.
VOLATILE = frozenset(("age", "kept", "size"))

FIELDS = {name: _checked(kind, of) for name, (kind, of) in _RAW.items()}
