# SPDX-License-Identifier: MIT
"""The description of a sweep in the database, next to its trials: made, extended, counted.

The description, its digest and the seed of a search are attributes of Optuna's study, which has the
sweep's name.
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence

import optuna
from optuna.trial import TrialState
from sqlalchemy import Connection

from ..errors import BadUse, did_you_mean
from . import tables
from .cells import Cell, Space
from .description import Sweep
from .extension import check_extension
from .storage import Database, redacted
from .tables import NewTrial
from .trials import Progress

SWEEP, DIGEST, SEED = "sweep", "digest", "seed"  # attributes of the study


def sweep_called(database: Database, name: str, missing_ok: bool = False) -> Sweep | None:
    """The sweep that was begun under `name`; None with `missing_ok`, else BadUse without one."""

    def read(connection: Connection) -> str | None:
        study = tables.study_id(connection, name)
        return None if study is None else tables.study_attr(connection, study, SWEEP)

    found = database.read(read)
    if found is None and not missing_ok:
        raise BadUse(unknown(database, name))
    return None if found is None else Sweep.from_json(found)


def unknown(database: Database, name: str) -> str:
    """That there is no sweep `name`, and which there are."""
    names = list(database.read(lambda c: tables.studies_with(c, SWEEP)))
    there = f"; there are {', '.join(sorted(names))}" if names else ""
    hint = did_you_mean(name, names) or there
    return f"no sweep {name} was begun in {redacted(database.url)}{hint}"


def create(database: Database, sweep: Sweep) -> Sweep:
    """Make the study with all its cells; returns the sweep that is there then.

    Another process may be doing the same: the first to write is the one that counts.
    """
    space = Space(sweep)
    trials = _new_trials(space, space.cells())
    directions = [metric.goal for metric in sweep.metrics]
    database.through_optuna(
        lambda: optuna.create_study(
            study_name=sweep.name,
            storage=database.storage,
            directions=directions,
            load_if_exists=True,
        )
    )

    def write(connection: Connection) -> str:
        study = tables.study_id(connection, sweep.name)
        tables.locked(connection, study)
        there = tables.study_attr(connection, study, SWEEP)
        if there is None:
            if tables.counts(connection, study) != {None: 0}:
                raise BadUse(
                    f"{redacted(database.url)} has a study {sweep.name} of Optuna's that is not "
                    "a sweep: give the sweep another name, or choose another STORAGE"
                )
            there = sweep.to_json()
            seed = hashlib.sha256(there.encode("utf-8", "surrogatepass")).hexdigest()
            tables.set_study_attr(connection, study, SEED, seed)
            _set_sweep(connection, study, sweep)
            tables.add_trials(connection, study, trials)
        return there

    return Sweep.from_json(database.write(write))


def extend(database: Database, sweep: Sweep) -> None:
    """Add the cells of `sweep` that are not there. Raises BadUse if there are others."""
    space = Space(sweep)
    trials = _new_trials(space, space.cells())
    distributions = space.distributions()

    def write(connection: Connection) -> None:
        study = tables.study_id(connection, sweep.name)
        tables.locked(connection, study)
        check_extension(Sweep.from_json(tables.study_attr(connection, study, SWEEP)), sweep)
        if sweep.enumerated:
            there = tables.keys(connection, study)
            if gone := there - {trial.attrs["key"] for trial in trials}:
                raise BadUse(
                    f"sweep {sweep.name} has {len(gone)} cells that would not be in it any more; "
                    "a sweep can only grow: give this one another name"
                )
            for name, distribution in distributions.items():
                tables.redistribute(connection, study, name, distribution)
            new = [trial for trial in trials if trial.attrs["key"] not in there]
            tables.add_trials(connection, study, new)
        _set_sweep(connection, study, sweep)

    database.write(write)


def progress(connection: Connection, study: int) -> Progress:
    """How many cells of the sweep are in which state."""
    sweep = Sweep.from_json(tables.study_attr(connection, study, SWEEP))
    found = tables.counts(connection, study)
    heads = sum(found.values()) - 2 * found[None]
    states = {state: found.get(state, 0) for state in TrialState}
    going = ("waiting", "running", "complete", "pruned")
    counted = {name: states[TrialState[name.upper()]] for name in going}
    total = heads if sweep.enumerated or not sweep.trials else max(heads, sweep.trials)
    return Progress(total=total, failed=heads - sum(counted.values()), **counted)


def out_of_time(connection: Connection, study: int, sweep: Sweep) -> bool:
    """Whether the hours of the sweep are over, counted from its first trial."""
    if sweep.hours is None:
        return False
    begun = tables.first_start(connection, study)
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    return begun is not None and (now - begun).total_seconds() > 3600 * sweep.hours


def _set_sweep(connection: Connection, study: int, sweep: Sweep) -> None:
    tables.set_study_attr(connection, study, SWEEP, sweep.to_json())
    tables.set_study_attr(connection, study, DIGEST, sweep.digest)


def _new_trials(space: Space, cells: Sequence[Cell]) -> list[NewTrial]:
    distributions = space.distributions()
    return [
        NewTrial(
            TrialState.WAITING,
            {
                "key": cell.key,
                "settings": dict(cell.settings),
                "seed": cell.seed,
                "label": cell.label,
            },
            {name: (value, distributions[name]) for name, value in cell.params.items()},
        )
        for cell in cells
    ]
