# SPDX-License-Identifier: MIT
"""The life of a trial, in steps that each happen whole or not at all.

    waiting ── take ──► running ── complete, prune ──► finished
       ▲                   │
       └──── put_back ─────┤
                           └── fail, lose ──► failed, and the next attempt waiting

Any number of workers on any number of machines may do any of this at once, and each may be killed
between any two statements. Why every cell is nevertheless done once:

- Each function here is one transaction, which holds the lock on the study (PostgreSQL: its row;
  SQLite: the database) from its first to its last statement. So all of them happen one after the
  other, and a kill leaves one undone or done, never half done.
- A trial has one owner: `take` sets it running, together with the name of its worker and its
  first heartbeat, only where it is waiting. Everything else that a worker does first checks that
  the trial is still running and still its own (`_own`), else TakenAway.
- A cell has at most one trial that is waiting, running, complete or pruned: `take` and `put_back`
  only move it, the ends close it, and a failure closes it in the same transaction that makes its
  successor. So there is never a second trial of a cell, nor a cell without one, unless its
  attempts are used up.
- A running trial whose worker died has no heartbeats any more (or its worker's lock is free), so
  `lose` gets it: no claim is held for ever. A worker that was only slow finds its trial taken
  away when it next asks, and stops; its successor waits for the run's lock before it trains.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState, create_trial
from sqlalchemy import Connection

from . import tables
from .rows import Row, trials_in
from .storage import TakenAway
from .tables import NewTrial

if TYPE_CHECKING:
    from .cells import Cell

GRACE_S = 120.0  # without a heartbeat for so long, a worker is taken for dead
BEAT_S = 15.0  # how often a worker beats
MOST_LOST = 10  # times that a trial may be lost before it is at fault itself
_INHERITED = ("key", "settings", "seed", "label", "draw", "attempt", "lost", "changes")


@dataclass(frozen=True)
class Claim:
    """A trial that this worker alone trains, until it says how it ended.

    `changes`: what a retry changes in the cell, {SYMBOL: text}; `cell` has them. `lost`: how often
    it was taken from a dead worker.
    """

    number: int
    key: str
    attempt: int
    cell: Cell
    launch_id: str
    changes: Mapping[str, str] = field(default_factory=dict)
    worker: str = ""
    lost: int = 0
    trial_id: int = -1  # in the database


def take(
    connection: Connection,
    study: int,
    worker: str,
    budget: int | None,
    only_begun: bool,
) -> Row | None:
    """Set the next trial running for `worker`; None when there is none.

    `budget`: how many trials a search may draw in all; None where all are there from the start.
    `only_begun`: take what was begun before, and nothing new.
    """
    trial_id = tables.first_waiting(connection, study, only_begun)
    if trial_id is None and budget is not None and not only_begun:
        trial_id = _draw(connection, study, budget)
    if trial_id is None:
        return None
    tables.set_state(connection, trial_id, TrialState.RUNNING)
    tables.set_attrs(connection, trial_id, {"worker": worker})
    tables.beat(connection, [trial_id])
    return trials_in(connection, study, [trial_id])[0]


def _draw(connection: Connection, study: int, budget: int) -> int | None:
    """A new trial of a search, whose parameters are still to be suggested."""
    found = tables.counts(connection, study)
    again = found.pop(None)
    drawn = sum(found.values()) - again
    if drawn >= budget:
        return None
    return tables.add_trials(connection, study, [NewTrial(TrialState.WAITING, {"draw": drawn})])[0]


def settle(connection: Connection, study: int, row: Row, cell: Cell) -> bool:
    """Note which cell a search has drawn; False, and the trial is closed, if another one has it.

    A search in a small space draws the same cell again. It is not trained twice: the values are
    those of the first.
    """
    _own(connection, study, row.trial_id, row.attrs["worker"])
    attrs = {
        "key": cell.key,
        "settings": dict(cell.settings),
        "seed": cell.seed,
        "label": cell.label,
    }
    tables.set_attrs(connection, row.trial_id, attrs)
    first = tables.same_key(connection, study, cell.key, but=row.trial_id)
    if first is None:
        return True
    other = trials_in(connection, study, [first])[0]
    said = {"reason": f"the same configuration as trial {other.number}", "reused": True}
    if not other.state.is_finished():
        tables.set_attrs(connection, row.trial_id, said)
        tables.set_state(connection, row.trial_id, TrialState.FAIL)
        return False
    same = {key: other.attrs[key] for key in ("run", "values", "feasible") if key in other.attrs}
    tables.set_attrs(connection, row.trial_id, {**same, **said})
    broken = _constraints_of(other.system_attrs)
    tables.set_system_attrs(connection, row.trial_id, broken)
    values = [value for _, value in sorted(other.values.items())]
    tables.set_state(connection, row.trial_id, other.state, values)
    return False


def beat(connection: Connection, study: int, claims: Sequence[Claim]) -> list[Claim]:
    """Note that the worker of `claims` is alive; returns those that are no longer its own."""
    rows = {row.trial_id: row for row in trials_in(connection, study, [c.trial_id for c in claims])}
    own = [claim for claim in claims if _is_own(rows.get(claim.trial_id), claim.worker)]
    tables.beat(connection, [claim.trial_id for claim in own])
    return [claim for claim in claims if claim not in own]


def note(connection: Connection, study: int, claim: Claim, attrs: Mapping[str, Any]) -> None:
    """Set user attributes of the trial."""
    _own(connection, study, claim.trial_id, claim.worker)
    tables.set_attrs(connection, claim.trial_id, attrs)


def complete(
    connection: Connection,
    study: int,
    claim: Claim,
    values: Sequence[float],
    attrs: Mapping[str, Any],
    violations: Mapping[str, float],
) -> None:
    """Finish the trial with its values, one for each metric, none of them NaN."""
    _own(connection, study, claim.trial_id, claim.worker)
    feasible = all(value <= 0 for value in violations.values())
    noted = {**attrs, tables.FEASIBLE: feasible} if violations else attrs
    tables.set_attrs(connection, claim.trial_id, noted)
    tables.set_system_attrs(connection, claim.trial_id, constraint_attrs(violations))
    tables.set_state(connection, claim.trial_id, TrialState.COMPLETE, values)


def prune(connection: Connection, study: int, claim: Claim, attrs: Mapping[str, Any]) -> None:
    """Finish the trial early, with the last value that it reported, as Optuna does."""
    _own(connection, study, claim.trial_id, claim.worker)
    last = tables.last_step_value(connection, claim.trial_id)
    tables.set_attrs(connection, claim.trial_id, attrs)
    values = [] if last is None else [last]
    tables.set_state(connection, claim.trial_id, TrialState.PRUNED, values)


def fail(
    connection: Connection,
    study: int,
    claim: Claim,
    attrs: Mapping[str, Any],
    retries: int,
    changes: Mapping[str, str],
) -> bool:
    """Close the trial as failed; returns whether there is a next attempt, with `changes`, too."""
    row = _own(connection, study, claim.trial_id, claim.worker)
    again = claim.attempt < retries
    _close(connection, row, attrs)
    if again:
        more = {"attempt": claim.attempt + 1}
        if changes:
            more["changes"] = {**claim.changes, **changes}
        _succeed(connection, study, row, more)
    return again


def put_back(connection: Connection, study: int, claim: Claim, lost: str = "") -> bool:
    """Let the trial wait again, for anybody; it stays the same trial.

    `lost` says how its training was ended from outside. One that is lost too often is closed as
    failed; then it returns False.
    """
    row = _own(connection, study, claim.trial_id, claim.worker)
    if lost and (count := row.attrs.get("lost", 0) + 1) > MOST_LOST:
        _close(connection, row, {"reason": f"{lost}, as {MOST_LOST} times before"})
        return False
    tables.set_attrs(
        connection, row.trial_id, {"worker": None, **({"lost": count} if lost else {})}
    )
    tables.set_state(connection, row.trial_id, TrialState.WAITING)
    return True


def lose(
    connection: Connection, study: int, grace_s: float, is_dead: Callable[[str], bool]
) -> list[int]:
    """Close the running trials of dead workers and enqueue them again; returns their numbers.

    Dead is whose last heartbeat was `grace_s` seconds ago, and who `is_dead` says.
    """
    silent = tables.silent(connection, study)
    lost = []
    for row in trials_in(connection, study, list(silent)):
        worker = row.attrs.get("worker", "")
        if silent[row.trial_id] <= grace_s and not is_dead(worker):
            continue
        count = row.attrs.get("lost", 0) + 1
        again = count <= MOST_LOST
        end = "" if again else f", as {MOST_LOST} times before: it is not tried again"
        _close(connection, row, {"reason": f"worker {worker} died{end}"})
        if again:
            _succeed(connection, study, row, {"lost": count})
        lost.append(row.number)
    return lost


def constraint_attrs(violations: Mapping[str, float]) -> dict[str, Any]:
    """The system attributes in which Optuna keeps constraints, for its samplers."""
    if not violations:
        return {}
    return create_trial(value=0.0, constraints=dict(violations)).system_attrs


def _close(connection: Connection, row: Row, attrs: Mapping[str, Any]) -> None:
    tables.set_attrs(connection, row.trial_id, attrs)
    tables.set_state(connection, row.trial_id, TrialState.FAIL)


def _succeed(connection: Connection, study: int, row: Row, more: Mapping[str, Any]) -> None:
    """Enqueue the next attempt at the cell of `row`, with what its sampler noted."""
    attrs = {key: row.attrs[key] for key in _INHERITED if key in row.attrs}
    attrs |= {tables.RETRY_OF: row.attrs.get(tables.RETRY_OF, row.number), **more}
    params = {name: (value, row.distributions[name]) for name, value in row.params.items()}
    trial = NewTrial(TrialState.WAITING, attrs, params, row.system_attrs)
    tables.add_trials(connection, study, [trial])


def _constraints_of(system_attrs: Mapping[str, Any]) -> dict[str, Any]:
    prefix = next(iter(constraint_attrs({"": 0.0})))
    return {key: value for key, value in system_attrs.items() if key.startswith(prefix)}


def _own(connection: Connection, study: int, trial_id: int, worker: str) -> Row:
    rows: Iterable[Row] = trials_in(connection, study, [trial_id])
    row = next(iter(rows), None)
    if row is None or not _is_own(row, worker):
        raise TakenAway(f"trial {row.number if row else '?'} is no longer this worker's")
    return row


def _is_own(row: Row | None, worker: str) -> bool:
    return row is not None and row.state == TrialState.RUNNING and row.attrs.get("worker") == worker


def is_number(value: Any) -> bool:
    """Whether `value` can be the value of a trial: a number that is not NaN."""
    return isinstance(value, (int, float)) and not math.isnan(value)
