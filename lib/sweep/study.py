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

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from sqlalchemy import Connection

from ..errors import BadUse, Failure
from ..runs.redact import redact
from . import claims, methods, stored, tables
from .cells import Cell, Space
from .claims import Claim
from .description import Sweep
from .extension import check_extension, differences
from .rows import Row, trials_in
from .storage import Database, TakenAway, redacted
from .trials import Progress, Trial, trials_of

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
        return Study(database, stored.sweep_called(database, sweep))
    found = stored.sweep_called(database, sweep.name, missing_ok=True)
    if found is None and not create:
        raise BadUse(stored.unknown(database, sweep.name))
    if found is None:
        found = stored.create(database, sweep)
    if found.digest != sweep.digest:
        what = differences(found, sweep)
        if not extend:
            raise BadUse(
                f"there is another sweep called {sweep.name} in {redacted(database.url)}: {what}. "
                "EXTEND=y adds what is new to it; or give this one another name"
            )
        check_extension(found, sweep)
        stored.extend(database, sweep)
        found = sweep
    return Study(database, found)


def list_studies(storage_url: str) -> dict[str, Progress]:
    """{name: progress} of all sweeps in the database; none if there is no database yet."""
    database = Database(storage_url, create=False)

    def read(connection: Connection) -> dict[str, Progress]:
        found = tables.studies_with(connection, stored.SWEEP)
        return {name: stored.progress(connection, study) for name, study in sorted(found.items())}

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
                try:
                    trial.report(value, step)
                except UpdateFinishedTrialError:
                    raise TakenAway(f"trial {claim.number} is no longer this worker's") from None
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

    def put_back(self, claim: Claim, lost: str = "") -> bool:
        """Let the trial wait again: this worker ends, and the trial goes on from its checkpoint.

        `lost`: its training was ended by somebody else, and so. Returns False when that happened so
        often that the trial has failed.
        """
        return self._write(claims.put_back, claim, lost) is not False

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
        return self.database.read(lambda c: stored.progress(c, self.study_id))

    def trials(self) -> list[Trial]:
        """All trials, by number."""
        return trials_of(self.database.read(lambda c: trials_in(c, self.study_id)))

    def best(self) -> Trial | None:
        """The complete trial with the best value of the first metric that breaks no constraint."""
        maximize = self.sweep.metrics[0].goal == "maximize"

        def read(connection: Connection) -> list[Row]:
            found = tables.best_id(connection, self.study_id, maximize)
            return [] if found is None else trials_in(connection, self.study_id, [found])

        return next(iter(trials_of(self.database.read(read))), None)

    def out_of_time(self) -> bool:
        """Whether the hours of the sweep are over, counted from its first trial."""
        return self.database.read(lambda c: stored.out_of_time(c, self.study_id, self.sweep))

    @property
    def optuna(self) -> optuna.Study:
        """A new object of Optuna's, for its reports, samplers and pruners; not for asking.

        Its trials are those of this moment, without those that wait. An old object may have kept
        them as they were: Optuna looks again only where its own `ask` began the trial.
        """
        return self._optuna(optuna.samplers.RandomSampler(seed=0))

    # ------------------------------------------------------------------ claiming

    def _write(self, step: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        def work(connection: Connection) -> Any:
            tables.locked(connection, self.study_id)
            return step(connection, self.study_id, *arguments, **options)

        return self.database.write(work)

    def _take(self, connection: Connection, worker: str) -> Row | None:
        tables.locked(connection, self.study_id)
        if tables.study_attr(connection, self.study_id, stored.DIGEST) != self.sweep.digest:
            self._reload(
                Sweep.from_json(tables.study_attr(connection, self.study_id, stored.SWEEP))
            )
        budget = None if self.sweep.enumerated else self.sweep.trials or tables.NO_LIMIT
        over = stored.out_of_time(connection, self.study_id, self.sweep)
        return claims.take(connection, self.study_id, worker, budget, only_begun=over)

    def _optuna(self, sampler: optuna.samplers.BaseSampler) -> optuna.Study:
        return self.database.through_optuna(
            lambda: optuna.load_study(
                study_name=self.sweep.name,
                storage=self.database.storage,
                sampler=sampler,
                pruner=self._pruner,
            )
        )

    @cached_property
    def _pruner(self) -> optuna.pruners.BasePruner:
        return methods.pruner(self.sweep)

    def _reload(self, sweep: Sweep) -> None:
        """The sweep was extended meanwhile."""
        self.sweep = sweep
        self.__dict__.pop("_space", None)

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
        seed = self.database.read(lambda c: tables.study_attr(c, self.study_id, stored.SEED))

        def suggested() -> dict[str, Any]:
            study = self._optuna(methods.sampler(self.sweep, seed, row.attrs["draw"]))
            study.get_trials(deepcopy=False)  # Optuna sets parameters only of trials that it knows
            trial = optuna.Trial(study, row.trial_id)
            distributions = self._space.distributions()
            return {name: methods.suggest(trial, name, d) for name, d in distributions.items()}

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
