# SPDX-License-Identifier: MIT
"""The metrics of a journal as arrays, and the numbers that sum each of them up.

    series = read_series(journal, "val/loss")
    series.steps, series.values, series.times
    numbers = Numbers(metadata)             # what a listing needs, in one pass over the journal
    for row, _ in current_rows(journal):
        numbers.add(row)
    numbers.summary()["val/loss"].min

Rows that a resume superseded do not count.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from .best import BestSoFar, Evaluation
from .journal import DamagedRow, current_rows

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Series:
    """A metric: `steps` int64 [n], `values` float64 [n], `times` float64 [n], seconds since 1970.

    In the order of logging. A row without a time has NaN there.
    """

    steps: "np.ndarray"
    values: "np.ndarray"
    times: "np.ndarray"

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True)
class Summary:
    """A metric in numbers: `count` values, of which `last` was logged last.

    `min`, `max` and `mean` leave NaN out; they are NaN, and `min_step` and `max_step` those of the
    first value, if nothing else was logged. Of equal extremes the first one counts.
    """

    last: float
    min: float
    max: float
    mean: float
    count: int
    first_step: int
    last_step: int
    min_step: int
    max_step: int


@dataclass
class Tally:
    """What a Summary is made of, value by value; `total` is the sum of the `numbers` not NaN."""

    last: float
    min: float
    max: float
    total: float
    numbers: int
    count: int
    first_step: int
    last_step: int
    min_step: int
    max_step: int

    @staticmethod
    def first(step: int) -> "Tally":
        """Before the first value, which is of `step`."""
        return Tally(math.nan, math.nan, math.nan, 0.0, 0, 0, step, step, step, step)

    def add(self, value: float, step: int) -> None:
        """Count a value."""
        self.count += 1
        self.last, self.last_step = value, step
        if value != value:
            return
        if not self.numbers or value < self.min:
            self.min, self.min_step = value, step
        if not self.numbers or value > self.max:
            self.max, self.max_step = value, step
        self.total += value
        self.numbers += 1

    def summary(self) -> Summary:
        """So far."""
        mean = self.total / self.numbers if self.numbers else math.nan
        return Summary(
            self.last, self.min, self.max, mean, self.count,
            self.first_step, self.last_step, self.min_step, self.max_step,
        )  # fmt: skip


class Numbers:
    """What a run has logged so far: `tallies` by metric, and the `best` evaluation.

    `metadata` says which evaluation is the best one (lib/runs/best.py).
    """

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self.tallies: dict[str, Tally] = {}
        self.best = BestSoFar(metadata)

    def add(self, row: Mapping[str, Any]) -> None:
        """Count a row of the journal; one without a step is left out."""
        step, metrics = row.get("step"), row.get("metrics")
        if step is None or not metrics:
            return
        self.best.see(step, metrics)
        for name, value in metrics.items():
            tally = self.tallies.get(name)
            if tally is None:
                tally = self.tallies[name] = Tally.first(step)
            tally.add(float(value), step)

    def summary(self) -> dict[str, Summary]:
        """Each metric, in the order of their first values."""
        return {name: tally.summary() for name, tally in self.tallies.items()}


def read_numbers(journal: Path, metadata: Mapping[str, Any]) -> Numbers:
    """The Numbers of all rows that count; those in the metadata if the journal cannot be read."""
    numbers = Numbers(metadata)
    try:
        for row, _ in current_rows(journal, on_damage=ignore):
            numbers.add(row)
    except OSError:
        return numbers_of_results(metadata)
    return numbers


def numbers_of_results(metadata: Mapping[str, Any]) -> Numbers:
    """What `final_metrics` and `best` say of a run whose journal is not here.

    Its metrics have one value each: `val/loss` that of `final/best_val_loss`.
    """
    numbers, final = Numbers(metadata), metadata.get("final_metrics")
    metrics = final if isinstance(final, Mapping) else {}
    metrics = {name: value for name, value in metrics.items() if type(value) in (int, float)}
    best, start = metadata.get("best"), "final/best_val_"
    step = best.get("step") if isinstance(best, Mapping) else metadata.get("best_step")
    step = step if type(step) is int and step >= 0 else 0
    evaluation = {
        f"val/{k.removeprefix(start)}": v for k, v in metrics.items() if k.startswith(start)
    }
    numbers.add({"step": step, "metrics": {**evaluation, **metrics}})
    if evaluation:
        numbers.best.found = Evaluation(step, evaluation)
    return numbers


def read_series(journal: Path, name: str) -> Series:
    """The metric `name`; empty if it was never logged or the journal cannot be read."""
    import numpy as np  # takes 0.1 s, which a listing does not need

    rows = []
    try:
        for row, _ in current_rows(journal, containing=orjson.dumps(name), on_damage=ignore):
            if "step" in row and name in row.get("metrics", ()):
                rows.append((row["step"], row["metrics"][name], row.get("time", math.nan)))
    except OSError:
        pass
    steps, values, times = zip(*rows, strict=True) if rows else ((), (), ())
    return Series(
        np.array(steps, np.int64), np.array(values, np.float64), np.array(times, np.float64)
    )


def read_columns(journal: Path) -> dict[str, dict[int, float]]:
    """name → step → value for every metric; of two values at a step the later one counts."""
    columns: dict[str, dict[int, float]] = {}
    try:
        for row, _ in current_rows(journal, on_damage=ignore):
            if "step" in row:
                for name, value in row.get("metrics", {}).items():
                    columns.setdefault(name, {})[row["step"]] = float(value)
    except OSError:
        pass
    return columns


def ignore(damage: DamagedRow) -> None:
    """Reading numbers is not the place to report a damaged row: `make verify` does."""
