# SPDX-License-Identifier: MIT
"""Trials as plain data, for tables and reports: no Optuna, no database."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .rows import Row

_STATES = {"FAIL": "failed"}  # waiting running complete pruned are Optuna's words


@dataclass(frozen=True)
class Trial:
    """One attempt at a cell. Times are seconds since 1970, None for what has not happened.

    `retry_of` is the number of the first trial of the same cell of which this one is a further
    attempt; `superseded` says that a failed trial has such a successor. `reason` says why it failed
    or was pruned, `facts` are the measurements that constraints are about.
    """

    number: int
    state: str  # waiting running complete pruned failed
    key: str
    params: Mapping[str, Any]
    seed: int | None
    values: tuple[float, ...]
    run: str
    reason: str
    attempt: int
    label: str
    reused: bool
    started: float | None
    ended: float | None
    feasible: bool
    settings: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)
    worker: str = ""
    lost: int = 0
    retry_of: int | None = None
    superseded: bool = False

    @property
    def value(self) -> float | None:
        """The value of the first metric."""
        return self.values[0] if self.values else None


@dataclass(frozen=True)
class Progress:
    """How many cells of a sweep are in which state; a cell that is tried again counts once.

    `total` is the number of cells, or the budget of a search: what is in no state is still to be
    drawn.
    """

    total: int
    waiting: int = 0
    running: int = 0
    complete: int = 0
    pruned: int = 0
    failed: int = 0

    @property
    def finished(self) -> int:
        """Cells that need no further work."""
        return self.complete + self.pruned + self.failed

    @property
    def done(self) -> bool:
        """Whether nothing is left to do, nor being done."""
        return self.finished >= self.total


def trials_of(rows: Sequence[Row]) -> list[Trial]:
    """The trials that are stored as `rows`, in their order."""
    latest: dict[int, int] = {}  # of each first trial: its last attempt
    for row in rows:
        latest[row.attrs.get("retry_of", row.number)] = row.number
    return [_trial(row, latest[row.attrs.get("retry_of", row.number)]) for row in rows]


def _trial(row: Row, latest: int) -> Trial:
    attrs = row.attrs
    return Trial(
        number=row.number,
        state=_STATES.get(row.state.name, row.state.name.lower()),
        key=attrs.get("key", ""),
        params=row.params,
        seed=attrs.get("seed"),
        values=tuple(value for _, value in sorted(row.values.items())),
        run=attrs.get("run", ""),
        reason=attrs.get("reason", ""),
        attempt=attrs.get("attempt", 0),
        label=attrs.get("label", ""),
        reused=attrs.get("reused", False),
        started=_seconds(row.started),
        ended=_seconds(row.ended),
        feasible=attrs.get("feasible", True),
        settings=attrs.get("settings", {}),
        changes=attrs.get("changes", {}),
        facts=attrs.get("values", {}),
        worker=attrs.get("worker", ""),
        lost=attrs.get("lost", 0),
        retry_of=attrs.get("retry_of"),
        superseded=latest > row.number,
    )


def _seconds(utc: datetime.datetime | None) -> float | None:
    return utc.replace(tzinfo=datetime.timezone.utc).timestamp() if utc else None
