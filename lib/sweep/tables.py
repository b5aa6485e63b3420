# SPDX-License-Identifier: MIT
"""Optuna's tables, for what its interface cannot do.

Only this file and rows.py use its private parts, its models of the tables:

- Transitions that are atomic. Optuna reads a trial's state and then sets it; in SQLite two workers
  can both read WAITING. Failing a trial and enqueueing its next attempt are two steps, too.
- 10,000 waiting trials in a second. Optuna makes each in transactions of its own.
- The next waiting trial among 10,000 without reading all of them.
- 10,000 trials for a sampler in half a second instead of six (lib/sweep/rows.py).

Every function takes a connection within a transaction (`Database.write`). `locked` comes first in
each: it locks the row of the study, so that the changes of one sweep happen one after the other.
"""

import datetime
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna import __version__ as optuna_version
from optuna.distributions import (
    BaseDistribution,
    distribution_to_json,
    json_to_distribution,
)
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import (
    Connection,
    DateTime,
    Engine,
    and_,
    case,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
    update,
)

STUDIES = models.StudyModel.__table__
STUDY_ATTRS = models.StudyUserAttributeModel.__table__
TRIALS = models.TrialModel.__table__
ATTRS = models.TrialUserAttributeModel.__table__
SYSTEM_ATTRS = models.TrialSystemAttributeModel.__table__
PARAMS = models.TrialParamModel.__table__
VALUES = models.TrialValueModel.__table__
STEPS = models.TrialIntermediateValueModel.__table__
VERSION = models.VersionInfoModel.__table__
BEATS = models.TrialHeartbeatModel.__table__

RETRY_OF = "retry_of"  # user attributes that queries look at
FEASIBLE = "feasible"
NO_LIMIT = 2**31


@dataclass
class NewTrial:
    """A trial to be made: `params` as {name: (value, distribution)}."""

    state: TrialState
    attrs: Mapping[str, Any]
    params: Mapping[str, tuple[Any, BaseDistribution]] = field(default_factory=dict)
    system_attrs: Mapping[str, Any] = field(default_factory=dict)


def foreign(engine: Engine, alone: bool) -> str:
    """Why the tables that are there make this no database of Optuna's, or nothing.

    `alone`: an SQLite file belongs to one program; in PostgreSQL others may have tables, too.
    """
    names = set(inspect(engine).get_table_names())
    if names and alone and STUDIES.name not in names:
        return f"is the database of another program (its tables: {', '.join(sorted(names)[:3])}, …)"
    if "alembic_version" in names and VERSION.name not in names:
        return "has the tables of another program, which would be mixed up with Optuna's"
    return ""


def has_studies(engine: Engine) -> bool:
    """Whether there are Optuna's tables, of any version."""
    return inspect(engine).has_table(STUDIES.name)


def made_by_this_optuna(engine: Engine) -> bool:
    """Whether the installed version of Optuna has made, or upgraded, all of the tables.

    It writes their version last. Otherwise only Optuna itself knows whether they fit, for which it
    imports half a second of code.
    """
    if not inspect(engine).has_table("alembic_version"):
        return False
    with engine.connect() as connection:
        stamped = connection.execute(text("SELECT 1 FROM alembic_version")).first() is not None
        return stamped and connection.scalar(select(VERSION.c.library_version)) == optuna_version


def study_id(connection: Connection, name: str) -> int | None:
    return connection.scalar(select(STUDIES.c.study_id).where(STUDIES.c.study_name == name))


def studies_with(connection: Connection, key: str) -> dict[str, int]:
    """{name: id} of the studies that have the user attribute `key`."""
    query = select(STUDIES.c.study_name, STUDIES.c.study_id).join(STUDY_ATTRS)
    return dict(connection.execute(query.where(STUDY_ATTRS.c.key == key)).all())


def locked(connection: Connection, study: int) -> None:
    """Lock the row of the study until the transaction ends; in SQLite it holds the only lock."""
    connection.execute(
        select(STUDIES.c.study_id).where(STUDIES.c.study_id == study).with_for_update()
    )


def study_attr(connection: Connection, study: int, key: str) -> Any:
    """The value of the study's user attribute, None without one."""
    where = and_(STUDY_ATTRS.c.study_id == study, STUDY_ATTRS.c.key == key)
    found = connection.scalar(select(STUDY_ATTRS.c.value_json).where(where))
    return None if found is None else json.loads(found)


def set_study_attr(connection: Connection, study: int, key: str, value: Any) -> None:
    where = and_(STUDY_ATTRS.c.study_id == study, STUDY_ATTRS.c.key == key)
    connection.execute(delete(STUDY_ATTRS).where(where))
    row = {"study_id": study, "key": key, "value_json": json.dumps(value)}
    connection.execute(insert(STUDY_ATTRS), [row])


def add_trials(connection: Connection, study: int, trials: Sequence[NewTrial]) -> list[int]:
    """Make `trials`, numbered on from those that are there; returns their ids."""
    if not trials:
        return []
    first = connection.scalar(select(func.count()).where(TRIALS.c.study_id == study))
    rows = [
        {"number": first + i, "study_id": study, "state": trial.state}
        for i, trial in enumerate(trials)
    ]
    made = insert(TRIALS).returning(TRIALS.c.trial_id, sort_by_parameter_order=True)
    ids = list(connection.scalars(made, rows))
    texts: dict[int, str] = {}
    params = [
        {
            "trial_id": trial_id,
            "param_name": name,
            "param_value": distribution.to_internal_repr(value),
            "distribution_json": _json_of(distribution, texts),
        }
        for trial_id, trial in zip(ids, trials, strict=True)
        for name, (value, distribution) in trial.params.items()
    ]
    if params:
        connection.execute(insert(PARAMS), params)
    for table, kind in ((ATTRS, "attrs"), (SYSTEM_ATTRS, "system_attrs")):
        found = [
            {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
            for trial_id, trial in zip(ids, trials, strict=True)
            for key, value in getattr(trial, kind).items()
        ]
        if found:
            connection.execute(insert(table), found)
    return ids


def _json_of(distribution: BaseDistribution, texts: dict[int, str]) -> str:
    key = id(distribution)
    if key not in texts:
        texts[key] = distribution_to_json(distribution)
    return texts[key]


def set_attrs(connection: Connection, trial_id: int, attrs: Mapping[str, Any]) -> None:
    """Set user attributes of the trial; None removes one."""
    _set(connection, ATTRS, trial_id, attrs)


def set_system_attrs(connection: Connection, trial_id: int, attrs: Mapping[str, Any]) -> None:
    _set(connection, SYSTEM_ATTRS, trial_id, attrs)


def _set(connection: Connection, table: Any, trial_id: int, attrs: Mapping[str, Any]) -> None:
    if not attrs:
        return
    connection.execute(delete(table).where(table.c.trial_id == trial_id, table.c.key.in_(attrs)))
    rows = [
        {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        for key, value in attrs.items()
        if value is not None
    ]
    if rows:
        connection.execute(insert(table), rows)


def set_state(
    connection: Connection, trial_id: int, state: TrialState, values: Iterable[float] = ()
) -> None:
    """Set the state of the trial, with the time, and its values."""
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    changes: dict[str, Any] = {"state": state}
    if state == TrialState.RUNNING:
        changes["datetime_start"] = now
    elif state.is_finished():
        changes["datetime_complete"] = now
    connection.execute(update(TRIALS).where(TRIALS.c.trial_id == trial_id).values(changes))
    for objective, value in enumerate(values):
        stored, kind = models.TrialValueModel.value_to_stored_repr(float(value))
        row = {"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind}
        connection.execute(insert(VALUES), [row])


def beat(connection: Connection, trial_ids: Sequence[int]) -> None:
    """Note that the trials are alive now, by the clock of the database."""
    if trial_ids:
        connection.execute(delete(BEATS).where(BEATS.c.trial_id.in_(trial_ids)))
        rows = [{"trial_id": trial_id} for trial_id in trial_ids]
        connection.execute(insert(BEATS).values(heartbeat=_utc(connection)), rows)


def silent(connection: Connection, study: int) -> dict[int, float]:
    """{trial_id: seconds since it was last heard of} of the running trials; inf if it never was."""
    query = (
        select(TRIALS.c.trial_id, BEATS.c.heartbeat)
        .join_from(TRIALS, BEATS, isouter=True)
        .where(TRIALS.c.study_id == study, TRIALS.c.state == TrialState.RUNNING)
    )
    found = connection.execute(query).all()
    now = connection.scalar(select(_utc(connection)))
    return {
        trial_id: (now - heard).total_seconds() if heard else math.inf for trial_id, heard in found
    }


def _utc(connection: Connection) -> Any:
    if connection.dialect.name == "postgresql":
        return func.timezone("utc", func.clock_timestamp(), type_=DateTime)
    return func.current_timestamp()


def first_waiting(connection: Connection, study: int, started: bool) -> int | None:
    """The waiting trial that is next: goes on with another one's work, else the lowest number.

    With `started`, only those that go on with what was begun.
    """
    again = and_(ATTRS.c.trial_id == TRIALS.c.trial_id, ATTRS.c.key == RETRY_OF)
    goes_on = (ATTRS.c.key.is_not(None)) | (TRIALS.c.datetime_start.is_not(None))
    query = (
        select(TRIALS.c.trial_id)
        .join_from(TRIALS, ATTRS, again, isouter=True)
        .where(TRIALS.c.study_id == study, TRIALS.c.state == TrialState.WAITING)
        .order_by(case((goes_on, 0), else_=1), TRIALS.c.trial_id)
        .limit(1)
    )
    return connection.scalar(query.where(goes_on) if started else query)


def counts(connection: Connection, study: int) -> dict[TrialState | None, int]:
    """{state: trials}; None: those that are another attempt at an earlier one."""
    query = select(TRIALS.c.state, func.count()).where(TRIALS.c.study_id == study)
    found = dict(connection.execute(query.group_by(TRIALS.c.state)).all())
    again = select(func.count()).join_from(ATTRS, TRIALS)
    again = again.where(TRIALS.c.study_id == study, ATTRS.c.key == RETRY_OF)
    return {**found, None: connection.scalar(again)}


def first_start(connection: Connection, study: int) -> datetime.datetime | None:
    """When the first trial was started, UTC without a zone."""
    return connection.scalar(
        select(func.min(TRIALS.c.datetime_start)).where(TRIALS.c.study_id == study)
    )


def keys(connection: Connection, study: int) -> set[str]:
    """The keys of all cells that have a trial."""
    query = select(ATTRS.c.value_json).join_from(ATTRS, TRIALS).distinct()
    found = connection.scalars(query.where(TRIALS.c.study_id == study, ATTRS.c.key == "key"))
    return {json.loads(key) for key in found}


def best_id(connection: Connection, study: int, maximize: bool) -> int | None:
    """The complete trial with the best value, not counting those that break a constraint."""
    broken = select(ATTRS.c.trial_id).where(
        ATTRS.c.trial_id == TRIALS.c.trial_id,
        ATTRS.c.key == FEASIBLE,
        ATTRS.c.value_json == "false",
    )
    order = VALUES.c.value.desc() if maximize else VALUES.c.value.asc()
    query = (
        select(TRIALS.c.trial_id)
        .join_from(TRIALS, VALUES)
        .where(TRIALS.c.study_id == study, TRIALS.c.state == TrialState.COMPLETE)
        .where(VALUES.c.objective == 0, VALUES.c.value.is_not(None), ~broken.exists())
        .order_by(order, TRIALS.c.number)
        .limit(1)
    )
    return connection.scalar(query)


def same_key(connection: Connection, study: int, key: str, but: int) -> int | None:
    """Another trial that is at work on the cell `key` or has finished it, the earliest."""
    query = (
        select(TRIALS.c.trial_id)
        .join_from(TRIALS, ATTRS)
        .where(TRIALS.c.study_id == study, TRIALS.c.trial_id != but)
        .where(ATTRS.c.key == "key", ATTRS.c.value_json == json.dumps(key))
        .where(TRIALS.c.state != TrialState.FAIL)
        .order_by(TRIALS.c.trial_id)
        .limit(1)
    )
    return connection.scalar(query)


def last_step_value(connection: Connection, trial_id: int) -> float | None:
    """The value of the metric that was reported for the latest step, if it is finite."""
    query = select(STEPS.c.intermediate_value).where(STEPS.c.trial_id == trial_id)
    return connection.scalar(query.order_by(STEPS.c.step.desc()).limit(1))


def redistribute(connection: Connection, study: int, name: str, new: BaseDistribution) -> None:
    """Give all trials the distribution `new` of the parameter, with the values that they have.

    Optuna compares parameters of trials only where their distributions are equal.
    """
    own = PARAMS.c.trial_id.in_(select(TRIALS.c.trial_id).where(TRIALS.c.study_id == study))
    of = and_(own, PARAMS.c.param_name == name)
    stored = distribution_to_json(new)
    query = select(PARAMS.c.param_value, PARAMS.c.distribution_json).where(of).distinct()
    for value, old in connection.execute(query).all():
        if old != stored:
            kept = new.to_internal_repr(json_to_distribution(old).to_external_repr(value))
            same = and_(of, PARAMS.c.param_value == value, PARAMS.c.distribution_json == old)
            change = {"param_value": kept, "distribution_json": stored}
            connection.execute(update(PARAMS).where(same).values(change))
