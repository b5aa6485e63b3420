# SPDX-License-Identifier: MIT
"""Trials as they are stored in Optuna's tables, all of a study or some of them.

trials_in(connection, study)            # 10,000 in half a second
Storage(url)                            # Optuna's storage, which reads them in this way, too
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, and_, or_, select

from .tables import ATTRS, PARAMS, STEPS, SYSTEM_ATTRS, TRIALS, VALUES

_PARAM = ("param_name", "param_value", "distribution_json")
_VALUE = ("objective", "value", "value_type")
_STEP = ("step", "intermediate_value", "intermediate_value_type")
_value = models.TrialValueModel.stored_repr_to_value
_step_value = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value


@dataclass(frozen=True)
class Row:
    """A trial as it is stored."""

    trial_id: int
    number: int
    state: TrialState
    started: datetime.datetime | None  # UTC, without a zone
    ended: datetime.datetime | None
    attrs: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    values: dict[int, float] = field(default_factory=dict)
    distributions: dict[str, BaseDistribution] = field(default_factory=dict)
    # Only where everything was asked for:
    system_attrs: dict[str, Any] = field(default_factory=dict)
    steps: dict[int, float] = field(default_factory=dict)

    def frozen(self) -> FrozenTrial:
        """The trial as Optuna hands it out, with local times."""
        return FrozenTrial(
            number=self.number,
            state=self.state,
            value=None,
            values=[value for _, value in sorted(self.values.items())] or None,
            datetime_start=_local(self.started),
            datetime_complete=_local(self.ended),
            params=self.params,
            distributions=self.distributions,
            user_attrs=self.attrs,
            system_attrs=self.system_attrs,
            intermediate_values=self.steps,
            trial_id=self.trial_id,
        )


def trials_in(connection: Connection, study: int, ids: Sequence[int] | None = None) -> list[Row]:
    """The trials of the study, by number, or all about those of them with `ids`."""
    of = TRIALS.c.study_id == study
    if ids is None:
        return rows(connection, of)
    return rows(connection, and_(of, TRIALS.c.trial_id.in_(ids)), everything=True)


class Storage(RDBStorage):
    """Optuna's storage, which reads trials faster, and none that wait.

    Samplers, pruners and reports have no use for those, and there may be 10,000, which would be
    read again each time.
    """

    def _get_trials(
        self,
        study_id: int,
        states: Container[TrialState] | None,
        included_trial_ids: set[int],
        trial_id_greater_than: int,
    ) -> list[FrozenTrial]:
        """Those with an id in the set or greater than the number, by id. As RDBStorage has it."""
        newer = TRIALS.c.trial_id > trial_id_greater_than
        of = and_(
            TRIALS.c.study_id == study_id,
            TRIALS.c.state != TrialState.WAITING,
            or_(newer, TRIALS.c.trial_id.in_(included_trial_ids)) if included_trial_ids else newer,
        )
        with self.engine.connect() as connection:
            found = rows(connection, of, everything=True)
        found.sort(key=lambda row: row.trial_id)
        return [row.frozen() for row in found if states is None or row.state in states]


def rows(connection: Connection, of: Any, everything: bool = False) -> list[Row]:
    """The trials for which the condition `of` holds, by number.

    With `everything` also what only samplers and pruners look at.
    """
    query = select(TRIALS).where(of).order_by(TRIALS.c.number)
    found = {
        row.trial_id: Row(
            row.trial_id, row.number, row.state, row.datetime_start, row.datetime_complete
        )
        for row in connection.execute(query)
    }
    for trial_id, key, value in _of(connection, ATTRS, of, "key", "value_json"):
        found[trial_id].attrs[key] = json.loads(value)
    _read_params(connection, of, found)
    for trial_id, number, value, kind in _of(connection, VALUES, of, *_VALUE):
        found[trial_id].values[number] = _value(value, kind)
    if everything:
        for trial_id, key, value in _of(connection, SYSTEM_ATTRS, of, "key", "value_json"):
            found[trial_id].system_attrs[key] = json.loads(value)
        for trial_id, step, value, kind in _of(connection, STEPS, of, *_STEP):
            found[trial_id].steps[step] = _step_value(value, kind)
    return list(found.values())


def _read_params(connection: Connection, of: Any, found: Mapping[int, Row]) -> None:
    """Most trials have the same distributions: each is read once."""
    known: dict[str, BaseDistribution] = {}
    read = _of(connection, PARAMS, of, *_PARAM, order=PARAMS.c.param_id)
    for trial_id, name, value, stored in read:
        if stored not in known:
            known[stored] = json_to_distribution(stored)
        found[trial_id].params[name] = known[stored].to_external_repr(value)
        found[trial_id].distributions[name] = known[stored]


def _of(
    connection: Connection, table: Any, where: Any, *columns: str, order: Any = None
) -> Iterable[Any]:
    """The id of the trial and `columns` of the rows of `table` about those trials."""
    chosen = [table.c.trial_id, *(table.c[name] for name in columns)]
    query = select(*chosen).join_from(table, TRIALS).where(where)
    return connection.execute(query if order is None else query.order_by(order))


def _local(utc: datetime.datetime | None) -> datetime.datetime | None:
    zone = datetime.timezone.utc
    return utc.replace(tzinfo=zone).astimezone().replace(tzinfo=None) if utc else None
