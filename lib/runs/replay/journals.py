# SPDX-License-Identifier: MIT
"""Two journals, value by value: equal, or how far apart and from which step on.

    for series in compare_journals(run.journal, replayed.journal, until=400):
        print(series.name, series.compared, series.first, series.max_abs)

Compared are the rows that count. What is measured in time is left out (perf/, system/, …): it is
never the same twice.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..journal import current_rows

_TIMED = ("perf/", "system/", "final/training_time_s")

Values = Mapping[int, float]


@dataclass(frozen=True)
class Difference:
    """Where two values differ: at `step`, by the run and by its replay."""

    step: int
    recorded: float
    replayed: float


@dataclass(frozen=True)
class Series:
    """A metric in both: `compared` values at equal steps, `missing` steps that only one has.

    `first` is the earliest step at which they differ. The greatest distances are infinite where
    one of the values is not finite.
    """

    name: str
    compared: int
    missing: int
    first: Difference | None
    max_abs: float
    max_rel: float

    @property
    def equal(self) -> bool:
        """Bit for bit, at the same steps."""
        return self.first is None and not self.missing


def compare_journals(recorded: Path, replayed: Path, until: int | None = None) -> list[Series]:
    """Each metric of either, in the order of the first, up to the step `until`.

    Raises FileNotFoundError.
    """
    one, other = _values(recorded, until), _values(replayed, until)
    names = dict.fromkeys([*one, *other])
    return [_compare(name, one.get(name, {}), other.get(name, {})) for name in names]


def first_difference(series: list[Series]) -> tuple[str, Difference] | None:
    """(the metric, where) of the earliest difference in values; None if there is none."""
    found = [(each.first.step, i) for i, each in enumerate(series) if each.first]
    if not found:
        return None
    chosen = series[min(found)[1]]
    assert chosen.first is not None
    return chosen.name, chosen.first


def _values(journal: Path, until: int | None) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for row, _ in current_rows(journal, on_damage=lambda _: None):
        step = row.get("step")
        if step is None or (until is not None and step > until):
            continue
        for name, value in row.get("metrics", {}).items():
            if not name.startswith(_TIMED):
                found.setdefault(name, {})[step] = value
    return found


def _compare(name: str, one: Values, other: Values) -> Series:
    first, max_abs, max_rel = None, 0.0, 0.0
    steps = sorted(one.keys() & other.keys())
    for step in steps:
        a, b = one[step], other[step]
        if _same(a, b):
            continue
        first = first or Difference(step, a, b)
        apart, relative = distance(a, b)
        max_abs, max_rel = max(max_abs, apart), max(max_rel, relative)
    missing = len(one.keys() ^ other.keys())
    return Series(name, len(steps), missing, first, max_abs, max_rel)


def _same(a: float, b: float) -> bool:
    """Bit for bit; any NaN is the same."""
    if a != a and b != b:
        return True
    if type(a) is int and type(b) is int:
        return a == b
    return struct.pack("d", a) == struct.pack("d", b)


def distance(a: float, b: float) -> tuple[float, float]:
    """(absolute, relative to the greater one); infinite where either is not finite."""
    apart = abs(a - b)
    if not math.isfinite(apart):
        return math.inf, math.inf
    return apart, apart / max(abs(a), abs(b)) if apart else 0.0
