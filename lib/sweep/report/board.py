# SPDX-License-Identifier: MIT
"""The configurations of a sweep, each with the values of its seeds, the best first.

    board = board_of(study.sweep, study.trials())
    board.rows[0].mean(), board.rows[0].std(), board.rows[0].n

A configuration is what trials have in common that differ in the seed alone. With one metric the
order is that of the means over seeds; with two, the Pareto front of the means comes first. What
could win by missing something cannot: a configuration of which seeds have failed, were pruned or
are not done yet comes after those with all seeds, and after both what violates a constraint.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...runs.compare.significance import mean, std
from ..description import Sweep
from ..trials import Trial

COMPLETE, PRUNED, FAILED, RUNNING, WAITING = "complete", "pruned", "failed", "running", "waiting"
_OPEN = (RUNNING, WAITING, PRUNED, FAILED)  # of a cell that is not complete, the first that it has

Params = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Configuration:
    """`trials` are its complete ones; `values` is seed → a value for each metric.

    `missing` counts the seeds without a value by the state of their trials.
    """

    params: Mapping[str, Any]
    trials: tuple[Trial, ...]
    values: Mapping[Hashable, tuple[float, ...]]
    missing: Counter[str]

    @property
    def key(self) -> Params:
        """Equal for equal parameters, in whatever order."""
        return params_key(self.params)

    @property
    def label(self) -> str:
        """`arm=dense LEARNING_RATE=0.1`"""
        return said(self.params)

    @property
    def n(self) -> int:
        """How many seeds have a value."""
        return len(self.values)

    @property
    def seeds(self) -> int:
        """How many seeds it is to have."""
        return self.n + self.missing.total()

    @property
    def feasible(self) -> bool:
        """Whether no trial violates a constraint."""
        return all(trial.feasible for trial in self.trials)

    @property
    def reused(self) -> int:
        """How many of its runs were there before the sweep."""
        return sum(trial.reused for trial in self.trials)

    def sample(self, metric: int = 0) -> dict[Hashable, float]:
        """seed → value of one metric."""
        return {seed: values[metric] for seed, values in self.values.items()}

    def mean(self, metric: int = 0) -> float:
        """Over the seeds that have a value; NaN without one."""
        return mean(list(self.sample(metric).values())) if self.values else math.nan

    def std(self, metric: int = 0) -> float:
        """The sample standard deviation over seeds; NaN for fewer than two."""
        return std(list(self.sample(metric).values()))


@dataclass(frozen=True)
class Board:
    """`rows` are all configurations, in order. `front` are the keys of those on the Pareto front of
    two metrics. `counts` is the number of trials by state; failed ones that were tried again, and
    those in which a search drew a cell for the second time, are counted apart.
    """

    sweep: Sweep
    rows: tuple[Configuration, ...]
    trials: tuple[Trial, ...]
    front: frozenset[Params]
    counts: Counter[str]

    @property
    def names(self) -> list[str]:
        """The parameters, arms first, in the order of the description."""
        given = [*(["arm"] if self.sweep.arms else []), *self.sweep.axes]
        there = {name for row in self.rows for name in row.params}
        return [name for name in given if name in there] + sorted(there - set(given))

    @property
    def best(self) -> Configuration | None:
        """The first row, if it may be called the best: it has a value and violates nothing."""
        first = self.rows[0] if self.rows else None
        return first if first and first.n and first.feasible else None


def board_of(sweep: Sweep, trials: Iterable[Trial]) -> Board:
    """The configurations of these trials."""
    trials = tuple(trials)
    rows = _configurations([trial for trial in trials if trial.key and not _repeats(trial)])
    lower = [metric.goal == "minimize" for metric in sweep.metrics]
    front = (
        frozenset(row.key for row in pareto_front(rows, lower)) if len(lower) > 1 else frozenset()
    )
    rows.sort(key=lambda row: _place(row, lower[0], row.key in front))
    counts = Counter(_counted_as(trial) for trial in trials)
    return Board(sweep, tuple(rows), trials, front, counts)


def pareto_front(rows: Iterable[Configuration], lower: Sequence[bool]) -> list[Configuration]:
    """The rows to which no other one is at least as good in both metrics and better in one.

    Of rows with all seeds, if there are such; of feasible ones alone.
    """
    there = [row for row in rows if row.n and row.feasible]
    there = [row for row in there if not row.missing] or there
    points = {
        id(row): tuple(row.mean(i) if low else -row.mean(i) for i, low in enumerate(lower))
        for row in there
    }
    front, least = [], math.inf
    previous = None
    for row in sorted(there, key=lambda row: points[id(row)]):
        point = points[id(row)]
        if point[1] < least or point == previous:
            front.append(row)
            least, previous = point[1], point
    return front


def said(params: Mapping[str, Any]) -> str:
    """`arm=dense LEARNING_RATE=0.1`; `base` of a sweep without axes."""
    return " ".join(f"{name}={value_text(value)}" for name, value in params.items()) or "base"


def value_text(value: Any) -> str:
    """As one writes it: y and n, numbers without superfluous digits."""
    if isinstance(value, bool):
        return "y" if value else "n"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def params_key(params: Mapping[str, Any]) -> Params:
    """Equal for equal parameters, in whatever order."""
    return tuple(sorted(params.items()))


def _repeats(trial: Trial) -> bool:
    """Whether a search drew the cell of an earlier trial: it was not trained again."""
    return trial.reused and bool(trial.reason)


def _counted_as(trial: Trial) -> str:
    if _repeats(trial):
        return "drawn again"
    return "tried again" if trial.superseded else trial.state


def _configurations(trials: Sequence[Trial]) -> list[Configuration]:
    cells: dict[Params, dict[Hashable, list[Trial]]] = {}
    for trial in sorted(trials, key=lambda trial: trial.number):
        cells.setdefault(params_key(trial.params), {}).setdefault(trial.seed, []).append(trial)
    return [_configuration(by_seed) for by_seed in cells.values()]


def _configuration(by_seed: Mapping[Hashable, Sequence[Trial]]) -> Configuration:
    """Of a cell that is complete, earlier attempts do not count."""
    done: list[Trial] = []
    values: dict[Hashable, tuple[float, ...]] = {}
    missing: Counter[str] = Counter()
    for seed, attempts in by_seed.items():
        complete = [trial for trial in attempts if trial.state == COMPLETE]
        if complete:
            done.extend(complete)
            columns = zip(*(trial.values for trial in complete), strict=True)
            values[seed] = tuple(mean(column) for column in columns)
        else:
            states = {trial.state for trial in attempts}
            missing[next(state for state in _OPEN if state in states)] += 1
    params = next(iter(by_seed.values()))[0].params
    return Configuration(params, tuple(done), values, missing)


def _place(row: Configuration, lower: bool, on_front: bool) -> tuple:
    centre = row.mean()
    value = centre if lower else -centre
    apart = not row.n, not row.feasible, bool(row.missing), not on_front, not math.isfinite(centre)
    return *apart, value if math.isfinite(value) else 0.0, row.label
