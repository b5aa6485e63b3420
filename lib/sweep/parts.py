# SPDX-License-Identifier: MIT
"""The parts of a sweep's description, each checked in itself.

    PARTS["metric"]({"name": "val/loss"})    # (Metric("val/loss", "minimize", "last"),)

Each function of PARTS raises ValueError that says what is wrong; its `path`, if it has one, names
what in the part is meant.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..config.dotconfig import shorten
from ..config.tree import text_of
from ..errors import did_you_mean
from ..runs.direction import lower_is_better
from .distributions import Axis, axis_of, number

ENUMERATED = ("grid", "random")  # methods whose cells are known beforehand
SEARCHES = ("tpe", "gp", "cmaes", "nsga2")
METHODS = (*ENUMERATED, *SEARCHES)
GOALS = ("minimize", "maximize")
AT = ("last", "best")
OPERATORS = ("<=", ">=")
# The options of each pruner and the least of each: whole numbers where that is one.
PRUNERS: dict[str, dict[str, float]] = {
    "median": {"startup_trials": 0, "warmup_steps": 0, "interval_steps": 1},
    "hyperband": {"min_steps": 1, "max_steps": 1, "reduction_factor": 2},
    "patient": {"patience": 0, "min_delta": 0.0},
}
_ARM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./^+-]{0,39}")
_METRIC = re.compile(r"[!-~]{1,100}")
_CONSTRAINT = re.compile(r"\s*(\S+?)\s*(<=|>=|[<>=!~]+)\s*(\S+)\s*")
_LARGEST = 1_000_000  # trials


@dataclass(frozen=True)
class Metric:
    """What is compared: `name` of the run `at` its last or best evaluation."""

    name: str
    goal: str  # of GOALS
    at: str = "last"


@dataclass(frozen=True)
class Pruner:
    """What ends a trial early that looks bad: a name of PRUNERS and its options."""

    name: str
    options: Mapping[str, float]


@dataclass(frozen=True)
class Constraint:
    """What a trial must keep to count: `name` is at most, or at least, `limit`."""

    name: str
    operator: str  # of OPERATORS
    limit: float

    def __str__(self) -> str:
        return f"{self.name} {self.operator} {self.limit}"

    def violation(self, value: float) -> float:
        """By how much `value` breaks it: more than 0 where it does, NaN for NaN."""
        return value - self.limit if self.operator == "<=" else self.limit - value


class _At(ValueError):
    """A ValueError about what is at `path` within the part."""

    def __init__(self, path: tuple[str, ...], problem: object):
        super().__init__(problem)
        self.path = path + getattr(problem, "path", ())


def _text(given: Any) -> str:
    if not isinstance(given, str) or not given.isprintable() or not given.strip():
        raise ValueError("must be one line of text (in quotes, if it is a word such as yes)")
    return given.strip()


def _mapping(given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise ValueError("must be a mapping: {NAME: value, …}")
    return given


def _settings(given: Any) -> dict[str, str]:
    found = {}
    for symbol, value in _mapping(given).items():
        if value is None or isinstance(value, (list, Mapping)):
            raise _At((symbol,), "must be one word or number")
        found[symbol] = text_of(value)
    return found


def _arms(given: Any) -> dict[str, dict[str, str]]:
    found = {}
    for arm, settings in _mapping(given).items():
        if not _ARM.fullmatch(arm):
            raise _At((arm,), "a name of an arm has up to 40 letters, digits and _ . / ^ + -")
        try:
            found[arm] = _settings({} if settings is None else settings)
        except ValueError as error:
            raise _At((arm,), error) from None
    if not found:
        raise ValueError("has no arm")
    return found


def _axes(given: Any) -> dict[str, Axis]:
    found = {}
    for symbol, axis in _mapping(given).items():
        try:
            found[symbol] = axis_of(axis)
        except ValueError as error:
            raise _At((symbol,), error) from None
    return found


def _seeds(given: Any) -> tuple[int, ...]:
    words = given if isinstance(given, list) else [given]
    seeds = tuple(_whole(word, 0, 2**63) for word in words)
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed is there twice")
    return seeds


def _whole(given: Any, low: int, high: int) -> int:
    found = number(given, "it")
    if type(found) is not int or not low <= found <= high:
        raise ValueError(f"must be a whole number from {low} to {high}")
    return found


def _hours(given: Any) -> float:
    found = float(number(given, "it"))
    if found <= 0:
        raise ValueError("must be more than 0")
    return found


def _one_of(names: tuple[str, ...]) -> Callable[[Any], str]:
    def read(given: Any) -> str:
        if given not in names:
            hint = did_you_mean(str(given), names)
            raise ValueError(f"`{shorten(str(given))}`: must be of {', '.join(names)}{hint}")
        return given

    return read


def _keys(given: Any, allowed: tuple[str, ...]) -> Mapping[str, Any]:
    for key in _mapping(given):
        if key not in allowed:
            hint = did_you_mean(key, allowed)
            raise _At((key,), f"there is no `{shorten(key)}`, only {', '.join(allowed)}{hint}")
    return given


def _metrics(given: Any) -> tuple[Metric, ...]:
    metrics = tuple(_metric(item) for item in (given if isinstance(given, list) else [given]))
    names = {metric.name for metric in metrics}
    if not 1 <= len(metrics) <= 2 or len(names) < len(metrics):
        raise ValueError("must be one metric, or a list of two different ones")
    return metrics


def _metric(given: Any) -> Metric:
    given = _keys(given, ("name", "goal", "at"))
    name = given.get("name")
    if not isinstance(name, str) or not _METRIC.fullmatch(name):
        raise ValueError("needs the name of a metric: {name: val/loss}")
    goal, at = given.get("goal"), given.get("at", "last")
    if goal is None:
        lower = lower_is_better(name)
        if lower is None:
            raise ValueError(f"{name}: say which is better: goal: minimize, or goal: maximize")
        goal = GOALS[not lower]
    return Metric(name, _one_of(GOALS)(goal), _one_of(AT)(at))


def _pruner(given: Any) -> Pruner:
    given = {"name": given} if isinstance(given, str) else _mapping(given)
    name = _one_of(tuple(PRUNERS))(given.get("name"))
    _keys(given, ("name", *PRUNERS[name]))
    options = {key: number(value, key) for key, value in given.items() if key != "name"}
    for key, value in options.items():
        least = PRUNERS[name][key]
        whole = type(least) is int
        if value < least or (whole and type(value) is not int):
            raise _At((key,), f"must be a {'whole ' if whole else ''}number, {least} or more")
    return Pruner(name, options)


def _constraints(given: Any) -> tuple[Constraint, ...]:
    return tuple(_constraint(item) for item in (given if isinstance(given, list) else [given]))


def _constraint(given: Any) -> Constraint:
    match = _CONSTRAINT.fullmatch(given) if isinstance(given, str) else None
    if match is None:
        raise ValueError(f"`{shorten(str(given))}`: write it as sparsity >= 0.9")
    name, operator, limit = match.groups()
    if not _METRIC.fullmatch(name):
        raise ValueError(f"`{shorten(given)}`: a name has no spaces and is in ASCII")
    return Constraint(name, _one_of(OPERATORS)(operator), float(number(limit, name)))


PARTS: dict[str, Callable[[Any], Any]] = {
    "description": _text,
    "set": _settings,
    "arms": _arms,
    "axes": _axes,
    "seeds": _seeds,
    "metric": _metrics,
    "method": _one_of(METHODS),
    "trials": lambda given: _whole(given, 1, _LARGEST),
    "hours": _hours,
    "pruner": _pruner,
    "constraints": _constraints,
    "retries": lambda given: _whole(given, 0, 100),
}
