# SPDX-License-Identifier: MIT
"""How the values of a parameter lie on an axis: numbers, or names side by side.

scale = scales(board, points, ["LEARNING_RATE"])["LEARNING_RATE"]
scale.numeric, scale.log, scale.place("0.01")       # True, True, 0.33: between the ends
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .board import Board, value_text

_FAR = 10.0  # positive numbers this many times apart are shown on a logarithmic scale


@dataclass(frozen=True)
class Scale:
    """`values` are different, numbers in their order, names in that of their first use."""

    name: str
    values: tuple[Any, ...]
    numeric: bool
    log: bool

    def typed(self, value: Any) -> float | str:
        """The value as it is in `values`."""
        return _number(value) if self.numeric else value_text(value)

    def place(self, value: Any) -> float:
        """From 0, the first, to 1, the last; a single value is in the middle."""
        if len(self.values) == 1:
            return 0.5
        typed = self.typed(value)
        if not self.numeric:
            return self.values.index(typed) / (len(self.values) - 1)
        low, high, at = self.values[0], self.values[-1], typed
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return (at - low) / (high - low)


def scales(
    board: Board, points: Sequence[Mapping[str, Any]], names: Iterable[str]
) -> dict[str, Scale]:
    """The scale of each parameter, over the points that have it."""
    return {name: _scale(board, name, [p[name] for p in points if name in p]) for name in names}


def _scale(board: Board, name: str, values: Sequence[Any]) -> Scale:
    numbers = [_number(value) for value in values]
    if name == "seed" or not all(map(math.isfinite, numbers)):
        return Scale(name, tuple(dict.fromkeys(map(value_text, values))), False, False)
    found = tuple(sorted(set(numbers)))
    asked = getattr(board.sweep.axes.get(name), "log", None)  # of a range, not of a list
    log = found[0] > 0 and (found[-1] >= _FAR * found[0] if asked is None else asked)
    return Scale(name, found, True, log)


def _number(value: Any) -> float:
    """NaN for what is not a number."""
    if isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
