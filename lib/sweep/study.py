# SPDX-License-Identifier: MIT
"""A sweep in the database: which trial is next, running, done.

    study = open_study(sweep, default_storage(output_dir))      # made if need be, gone on with
    while claim := study.claim(worker):
        …                                                       # train claim.cell
        study.beat([claim])                                     # every BEAT_S seconds
        if study.report(claim, step, value): study.prune(claim, "…")
        study.complete(claim, [value], run, facts)
    study.progress(), study.best(), study.trials()

Each trial is one of Optuna's, so that its samplers, pruners, plots and dashboard work on them. The
steps of a trial's life, and why they are safe, are in lib/sweep/claims.py.
"""

from __future__ import annotations

import datetime
import hashlib
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import TrialState
from sqlalchemy import Connection

from lib.errors import BadUse, Failure, did_you_mean
from lib.runs.redact import redact
from lib.sweep import claims, methods, tables
from lib.sweep.cells import Cell, Space
from lib.sweep.claims import Claim
from lib.sweep.description import Sweep
from lib.sweep.extension import check_extension, differences
from lib.sweep.storage import Database, redacted
from lib.sweep.tables import NewTrial, Row
from lib.sweep.trials import Progress, Trial, trials_of

_SWEEP, _DIGEST, _SEED = "sweep", "digest", "seed"  # attributes of the study

optuna.logging.set_verbosity(optuna.logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)


def open_study(
    sweep: Sweep | str, storage_url: str, create: bool = True, extend: bool = False
) -> Study:
    """The study of `sweep`, a description or the name of a sweep that is there.

    With `create` it is made if need be, with all cells of a grid. One that is there under the same
    name must have the same description, or with `extend` a part of it: then what is new is added.
    Raises BadUse and ConfigError for descriptions that cannot be, and as `Database` does.
    """
    database = Database(storage_url, create=create and isinstance(sweep, Sweep))
    if isinstance(sweep, str):
        return Study(database, _stored(database, sweep))
    found = _stored(database, sweep.name, missing_ok=True)
    if found is None and not create:
        raise BadUse(_unknown(database, sweep.name))
    if found is None:
        found = _create(database, sweep)
    if found.digest != sweep.digest:
        what = differences(found, sweep)
        if not extend:
            raise BadUse(
                f"there is another sweep called {sweep.name} in {redacted(database.url)}: {what}. "
                "EXTEND=y adds what is new to it; or give this one another name"
            )
        check_extension(found, sweep)
        _extend(database, sweep)
        found = sweep
    return Study(database, found)


def list_studies(storage_url: str) -> dict[str, Progress]:
    """{name: progress} of all sweeps in the database; none if there is no database yet."""
    database = Database(storage_url, create=False)

    def read(connection: Connection) -> dict[str, Progress]:
        found = tables.studies_with(connection, _SWEEP)
        return {name: _progress(connection, study) for name, study in sorted(found.items())}

    return database.read(read)


class Study:
    """A sweep that is being done; see the head of this file. One for each process.

    Methods that take a Claim raise TakenAway when it is no longer this worker's.
    """

    def __init__(self, database: Database, sweep: Sweep):
        self.database = database
        self.sweep = sweep
        self.study_id: int = database.read(lambda c: tables.study_id(c, sweep.name))

    # ------------------------------------------------------------------ what a worker does

    def claim(self, worker: str) -> Claim | None:
        """The next trial, for `worker` alone; None when nothing is left to begin.

        `worker` is a name that no other worker has had. Trials that others run may still come back.
        Raises Failure when the configuration files have changed the meaning of a cell.
        """
        while True:
            row = self.database.write(lambda connection: self._take(connection, worker))
            if row is None:
                return None
            try:
                cell = self._cell(row)
            except Exception:
                self.put_back(self._claim_of(row, None, worker))
                raise
            if cell is not None:
                return self._claim_of(row, cell, worker)

    def beat(self, held: Sequence[Claim]) -> list[Claim]:
        """Say that this worker is alive; returns the claims that were taken away from it."""
        return self._write(claims.beat, list(held)) or []

    def report(self, claim: Claim, step: int, value: float) -> bool:
        """Note the metric after `step` updates; returns whether the pruner would stop the trial."""

        def reported() -> bool:
            trial = optuna.Trial(self.optuna, claim.trial_id)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the same step again, after it was put back
                trial.report(value, step)
            return self.sweep.pruner is not None and trial.should_prune()

        return self.database.through_optuna(reported)

    def note_run(self, claim: Claim, run: str) -> None:
        """Say which run trains the trial."""
        self._write(claims.note, claim, {"run": run})

    def complete(
        self,
        claim: Claim,
        values: Sequence[float],
        run: str,
        facts: Mapping[str, float] | None = None,
        reused: bool = False,
    ) -> bool:
        """Finish the trial with a value for each metric; `facts` are what constraints are about.

        A value of NaN makes it a failed trial, which is not tried again, and returns False.
        """
        attrs: dict[str, Any] = {"run": run, "values": dict(facts or {})}
        if reused:
            attrs["reused"] = True
        wrong = [
            metric.name
            for metric, value in zip(self.sweep.metrics, values, strict=True)
            if not claims.is_number(value)
        ]
        if wrong:
            attrs["reason"] = f"{' and '.join(wrong)} is NaN"
            self._write(claims.fail, claim, attrs, retries=0, changes={})
            return False
        broken = methods.violations(self.sweep, facts or {})
        self._write(claims.complete, claim, [float(v) for v in values], attrs, broken)
        return True

    def prune(self, claim: Claim, reason: str) -> None:
        """Finish the trial that `report` said to stop."""
        self._write(claims.prune, claim, {"reason": redact(reason)})

    def fail(self, claim: Claim, reason: str, changes: Mapping[str, str] | None = None) -> bool:
        """Close the trial as failed; returns whether it is tried again, with `changes`, too."""
        attrs = {"reason": redact(reason)}
        again = self._write(
            claims.fail, claim, attrs, retries=self.sweep.retries, changes=dict(changes or {})
        )
        return bool(again)

    def put_back(self, claim: Claim) -> None:
        """Let the trial wait again: this worker ends, and the trial goes on from its checkpoint."""
        self._write(claims.put_back, claim)

    def lost(
        self,
        is_dead: Callable[[str], bool] = lambda worker: False,
        grace_s: float = claims.GRACE_S,
    ) -> list[int]:
        """Enqueue again what dead workers were training; returns the numbers of their trials.

        A worker is dead when it has not beaten for `grace_s` seconds, or when `is_dead` knows it of
        its name: for a worker on this machine, at once.
        """
        return self._write(claims.lose, grace_s, is_dead) or []

    # ------------------------------------------------------------------ what others read

    def progress(self) -> Progress:
        """How many cells are in which state."""
        return self.database.read(lambda c: _progress(c, self.study_id))

    def trials(self) -> list[Trial]:
        """All trials, by number."""
        return trials_of(self.database.read(lambda c: tables.rows(c, self.study_id)))

    def best(self) -> Trial | None:
        """The complete trial with the best value of the first metric that breaks no constraint."""
        maximize = self.sweep.metrics[0].goal == "maximize"

        def read(connection: Connection) -> list[Row]:
            found = tables.best_id(connection, self.study_id, maximize)
            return [] if found is None else tables.rows(connection, self.study_id, [found])

        return next(iter(trials_of(self.database.read(read))), None)

    def out_of_time(self) -> bool:
        """Whether the hours of the sweep are over, counted from its first trial."""
        return self.database.read(lambda c: _out_of_time(c, self.study_id, self.sweep))

    @cached_property
    def optuna(self) -> optuna.Study:
        """Optuna's object, for its reports, samplers and pruners. Do not ask it for trials."""
        return self.database.through_optuna(
            lambda: optuna.load_study(
                study_name=self.sweep.name,
                storage=self.database.storage,
                sampler=optuna.samplers.RandomSampler(seed=0),
                pruner=methods.pruner(self.sweep),
            )
        )

    # ------------------------------------------------------------------ claiming

    def _write(self, step: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        def work(connection: Connection) -> Any:
            tables.locked(connection, self.study_id)
            return step(connection, self.study_id, *arguments, **options)

        return self.database.write(work)

    def _take(self, connection: Connection, worker: str) -> Row | None:
        tables.locked(connection, self.study_id)
        if tables.study_attr(connection, self.study_id, _DIGEST) != self.sweep.digest:
            self._reload(Sweep.from_json(tables.study_attr(connection, self.study_id, _SWEEP)))
        budget = None if self.sweep.enumerated else self.sweep.trials or tables.NO_LIMIT
        over = _out_of_time(connection, self.study_id, self.sweep)
        return claims.take(connection, self.study_id, worker, budget, only_begun=over)

    def _reload(self, sweep: Sweep) -> None:
        """The sweep was extended meanwhile."""
        self.sweep = sweep
        for name in ("optuna", "_space"):
            self.__dict__.pop(name, None)

    @cached_property
    def _space(self) -> Space:
        return Space(self.sweep)

    def _cell(self, row: Row) -> Cell | None:
        """The cell of a trial that was taken; None when a search drew one that it cannot train."""
        key = row.attrs.get("key")
        if key is not None:
            cell = self._space.resolve(row.params, row.attrs["seed"])
            if cell.key != key:
                raise Failure(
                    f"trial {row.number} of {self.sweep.name} ({row.attrs['label']}) is no longer "
                    f"the cell {key}: the Kconfig files have changed since the sweep was begun. Go "
                    "back to what they were, or begin a new sweep under another name"
                )
            return self._space.retry(cell, row.attrs.get("changes", {}))
        params = self._suggest(row)
        try:
            cell = self._space.resolve(params, self._space.seeds[0])
        except BadUse as error:
            attrs = {"reason": str(error)}
            refused = self._claim_of(row, None, row.attrs["worker"])
            self._write(claims.fail, refused, attrs, retries=0, changes={})
            return None
        return cell if self._write(claims.settle, row, cell) else None

    def _suggest(self, row: Row) -> dict[str, Any]:
        seed = self.database.read(lambda c: tables.study_attr(c, self.study_id, _SEED))

        def suggested() -> dict[str, Any]:
            self.optuna.sampler = methods.sampler(self.sweep, seed, row.attrs["draw"])
            trial = optuna.Trial(self.optuna, row.trial_id)
            distributions = self._space.distributions()
            return {name: _suggest(trial, name, d) for name, d in distributions.items()}

        return self.database.through_optuna(suggested)

    def _claim_of(self, row: Row, cell: Cell | None, worker: str) -> Claim:
        key = cell.key if cell else ""
        attempt = row.attrs.get("attempt", 0)
        changes = row.attrs.get("changes", {})
        # Other settings are another run; without, an attempt goes on where the last one ended.
        suffix = f"-{attempt}" if changes else ""
        return Claim(
            number=row.number,
            key=key,
            attempt=attempt,
            cell=cell,
            launch_id=f"{self.sweep.name}-{key}{suffix}",
            changes=changes,
            worker=worker,
            lost=row.attrs.get("lost", 0),
            trial_id=row.trial_id,
        )


def _suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    kind = trial.suggest_int if isinstance(distribution.low, int) else trial.suggest_float
    d = distribution
    return kind(name, d.low, d.high, log=d.log, step=d.step)


def _stored(database: Database, name: str, missing_ok: bool = False) -> Sweep | None:
    def read(connection: Connection) -> str | None:
        study = tables.study_id(connection, name)
        return None if study is None else tables.study_attr(connection, study, _SWEEP)

    found = database.read(read)
    if found is None and not missing_ok:
        raise BadUse(_unknown(database, name))
    return None if found is None else Sweep.from_json(found)


def _unknown(database: Database, name: str) -> str:
    names = list(database.read(lambda c: tables.studies_with(c, _SWEEP)))
    there = f"; there are {', '.join(sorted(names))}" if names else ""
    hint = did_you_mean(name, names) or there
    return f"no sweep {name} was begun in {redacted(database.url)}{hint}"


def _create(database: Database, sweep: Sweep) -> Sweep:
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
        there = tables.study_attr(connection, study, _SWEEP)
        if there is None:
            if tables.counts(connection, study) != {None: 0}:
                raise BadUse(
                    f"{redacted(database.url)} has a study {sweep.name} of Optuna's that is no "
                    "sweep: give the sweep another name, or choose another STORAGE"
                )
            there = sweep.to_json()
            seed = hashlib.sha256(there.encode("utf-8", "surrogatepass")).hexdigest()
            tables.set_study_attr(connection, study, _SEED, seed)
            _set_sweep(connection, study, sweep)
            tables.add_trials(connection, study, trials)
        return there

    return Sweep.from_json(database.write(write))


def _extend(database: Database, sweep: Sweep) -> None:
    """Add the cells of `sweep` that are not there. Raises BadUse if there are others."""
    space = Space(sweep)
    trials = _new_trials(space, space.cells())
    distributions = space.distributions()

    def write(connection: Connection) -> None:
        study = tables.study_id(connection, sweep.name)
        tables.locked(connection, study)
        check_extension(Sweep.from_json(tables.study_attr(connection, study, _SWEEP)), sweep)
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


def _set_sweep(connection: Connection, study: int, sweep: Sweep) -> None:
    tables.set_study_attr(connection, study, _SWEEP, sweep.to_json())
    tables.set_study_attr(connection, study, _DIGEST, sweep.digest)


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


def _progress(connection: Connection, study: int) -> Progress:
    sweep = Sweep.from_json(tables.study_attr(connection, study, _SWEEP))
    found = tables.counts(connection, study)
    heads = sum(found.values()) - 2 * found[None]
    states = {state: found.get(state, 0) for state in TrialState}
    going = ("waiting", "running", "complete", "pruned")
    counted = {name: states[TrialState[name.upper()]] for name in going}
    total = heads if sweep.enumerated or not sweep.trials else max(heads, sweep.trials)
    return Progress(total=total, failed=heads - sum(counted.values()), **counted)


def _out_of_time(connection: Connection, study: int, sweep: Sweep) -> bool:
    if sweep.hours is None:
        return False
    begun = tables.first_start(connection, study)
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    return begun is not None and (now - begun).total_seconds() > 3600 * sweep.hours
