# SPDX-License-Identifier: MIT
"""What an axis of a sweep ranges over: a list of values, or an interval to draw numbers from.

    axis_of(["0.5", "0.9"])                              # Values(("0.5", "0.9"))
    axis_of({"min": "1e-4", "max": "1e-2", "log": True})    # Range(0.0001, 0.01, log=True)
    distribution(axis, typed)                            # the same for Optuna

Values are texts, as they are written in a .config; Kconfig gives them their types.
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..config.dotconfig import shorten
from ..config.intervals import parse_real
from ..config.tree import Value, text_of
from ..errors import did_you_mean

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_KEYS = ("min", "max", "log", "step", "values")
_DIGITS = 4  # significant digits of a number drawn at random: more say nothing


@dataclass(frozen=True)
class Values:
    """Any of these, in this order; at least one, none twice."""

    values: tuple[str, ...]

    @property
    def plain(self) -> list[str]:
        """As a description has it."""
        return list(self.values)

    def draw(self, generator: random.Random) -> str:
        """One of them, each with the same probability."""
        return self.values[generator.randrange(len(self.values))]


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both included; whole numbers if both are int.

    `log`: evenly on a logarithmic scale. `step`: only low, low + step, … high.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def plain(self) -> dict[str, Any]:
        """As a description has it."""
        step = {} if self.step is None else {"step": self.step}
        return {"min": self.low, "max": self.high, "log": self.log, **step}

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return type(self.low) is int and type(self.high) is int

    def draw(self, generator: random.Random) -> str:
        """A number of the range, evenly distributed, as text with few digits."""
        share = generator.random()
        if self.step is not None:
            count = round((self.high - self.low) / self.step) + 1
            number = self.low + self.step * int(share * count)
        elif self.log:
            number = self.low * (self.high / self.low) ** share
        elif self.whole:
            number = self.low + int(share * (self.high - self.low + 1))
        else:
            number = self.low + (self.high - self.low) * share
        if self.whole:
            return str(min(max(round(number), int(self.low)), int(self.high)))
        number = float(f"{number:.{_DIGITS if self.step is None else 12}g}")
        return repr(float(min(max(number, self.low), self.high)))


Axis = Values | Range


def axis_of(given: object) -> Axis:
    """The axis that a description writes as a list, or as {min, max, log, step} or {values}.

    Raises ValueError that says what is wrong.
    """
    if isinstance(given, Mapping):
        return _of_mapping(given)
    if isinstance(given, list):
        return _values(given)
    raise ValueError("must be a list of values, or {min: …, max: …} in a search")


def _of_mapping(given: Mapping[str, object]) -> Axis:
    for key in given:
        if key not in _KEYS:
            raise ValueError(
                f"`{shorten(key)}`: must be of {', '.join(_KEYS)}{did_you_mean(key, _KEYS)}"
            )
    if "values" in given:
        if len(given) > 1:
            raise ValueError("values does not go with min, max, log or step")
        return axis_of(given["values"] if isinstance(given["values"], list) else None)
    if missing := [key for key in ("min", "max") if key not in given]:
        raise ValueError(f"{missing[0]} is missing: {{min: …, max: …}}, or a list of values")
    log = given.get("log", False)
    if log in ("y", "n"):
        log = log == "y"
    if not isinstance(log, bool):
        raise ValueError("log must be true or false")
    step = number(given["step"], "step") if "step" in given else None
    return _range(number(given["min"], "min"), number(given["max"], "max"), log, step)


def _range(low: float, high: float, log: bool, step: float | None) -> Range:
    if low >= high:
        raise ValueError(f"min {low} must be less than max {high}")
    if log and low <= 0:
        raise ValueError(f"min {low} must be more than 0 with log")
    if step is None:
        return Range(low, high, log)
    if log:
        raise ValueError("step does not go with log")
    if step <= 0:
        raise ValueError(f"step {step} must be more than 0")
    steps = (high - low) / step
    if not math.isfinite(steps) or steps < 1 or abs(steps - round(steps)) > 1e-6:
        raise ValueError(f"max {high} must be min {low} and a whole number of steps of {step}")
    if type(low) is int and type(high) is int and type(step) is not int:
        low = float(low)
    return Range(low, high, log, step)


def _values(given: list[object]) -> Values:
    if not given:
        raise ValueError("the list is empty")
    if any(item is None or isinstance(item, (list, Mapping)) for item in given):
        raise ValueError("each value must be a word or a number")
    texts = tuple(text_of(item) for item in given)
    if twice := [text for i, text in enumerate(texts) if text in texts[:i]]:
        raise ValueError(f"{shorten(twice[0])} is there twice")
    return Values(texts)


def number(given: object, name: str) -> float:
    """The finite number `given` as text or number: an int where it is written as one.

    Raises ValueError that calls it `name`.
    """
    if type(given) in (int, float):
        found = given
    else:
        found = parse_real(given) if isinstance(given, str) else None
        if found is not None and given.lstrip("+-").isdigit() and len(given) < 19:
            found = int(given)
    if found is None or not math.isfinite(found):
        raise ValueError(f"{name} must be a number, not `{shorten(str(given))}`")
    return found


def distribution(axis: Axis, typed: Callable[[str], Value], integer: bool) -> "BaseDistribution":
    """The axis as Optuna's distribution; `typed` gives the value of a text.

    `integer`: whole numbers only, which the range then must have. Raises ValueError.
    """
    from optuna import distributions as optuna  # takes a second

    if isinstance(axis, Values):
        return optuna.CategoricalDistribution([typed(text) for text in axis.values])
    if not integer:
        return optuna.FloatDistribution(float(axis.low), float(axis.high), axis.log, axis.step)
    return optuna.IntDistribution(int(axis.low), int(axis.high), axis.log, int(axis.step or 1))
