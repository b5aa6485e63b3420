# SPDX-License-Identifier: MIT
"""Comparing a value of a run with what was typed after an operator.

fits = comparer("duration", "<", "2h")      # raises ValueError that says what is allowed
fits(3600.0)                                # True

A missing value (None) and NaN fit no `=`, `<`, `<=`, `>`, `>=` and `~`, except that NaN fits
`=nan`. `!=` and `!~` are what `=` and `~` are not.
"""

import fnmatch
import math
import operator
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

_ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_OPPOSITE = {"!=": "=", "!~": "~"}
_SECONDS = {"": 1, "ms": 0.001, "s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_BYTES = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_BYTES |= {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_FLAGS = {"y": True, "yes": True, "true": True, "n": False, "no": False, "false": False}

Fits = Callable[[Any], bool]


def comparer(kind: str, operator: str, typed: str) -> Fits:
    """Whether a value of `kind` stands in the relation `operator` to `typed`.

    Raises ValueError, with what is allowed, when `typed` is not such a value or the kind lacks the
    operator.
    """
    if operator in _OPPOSITE:
        fits = comparer(kind, _OPPOSITE[operator], typed)
        return lambda value: not fits(value)
    if kind == "list":
        fits = _text(operator, typed)
        return lambda values: any(map(fits, values))
    if kind == "text":
        return _text(operator, typed)
    if operator == "~":
        raise ValueError("~ compares text with a pattern; this is not text")
    if kind == "flag":
        return _flag(operator, typed)
    if kind == "time":
        return _time(operator, typed)
    units = {"duration": _SECONDS, "size": _BYTES}.get(kind, {"": 1})
    return _number(operator, number(typed, units))


def number(typed: str, units: dict[str, float] = {"": 1}) -> float:  # noqa: B006, never changed
    """The number `typed`, with a unit. Raises ValueError."""
    found = re.fullmatch(r"(.*?[0-9.]|[+-]?(?:nan|inf|infinity))\s*([a-z]*)", typed.strip(), re.I)
    by_case = {unit.lower(): factor for unit, factor in units.items()}
    with_unit = "" if len(units) == 1 else f", with {', '.join(filter(None, units))} or without"
    try:
        if found is None or found[2].lower() not in by_case:
            raise ValueError
        return float(found[1]) * by_case[found[2].lower()]
    except ValueError:
        raise ValueError(f"expected a number{with_unit}") from None


def _number(operator: str, wanted: float) -> Fits:
    if operator in _ORDER:
        holds = _ORDER[operator]
        return lambda value: value is not None and holds(value, wanted)
    if math.isnan(wanted):
        return lambda value: value is not None and value != value
    return lambda value: value is not None and value == wanted


def _text(operator: str, typed: str) -> Fits:
    wanted = typed.casefold()
    if operator in _ORDER:
        raise ValueError(f"{operator} compares numbers and times; this is text: =, !=, ~ and !~")
    if operator == "=":
        return lambda value: value is not None and value.casefold() == wanted
    if not set("*?[") & set(wanted):
        return lambda value: value is not None and wanted in value.casefold()
    pattern = re.compile(fnmatch.translate(wanted))
    return lambda value: value is not None and pattern.match(value.casefold()) is not None


def _flag(operator: str, typed: str) -> Fits:
    if operator != "=":
        raise ValueError(f"{operator} compares numbers and times; this is yes or no: = and !=")
    if typed.lower() not in _FLAGS:
        raise ValueError("expected yes or no")
    wanted = _FLAGS[typed.lower()]
    return lambda value: value is wanted


def _time(operator: str, typed: str) -> Fits:
    begin, end = _interval(typed)
    if operator == "<":
        return lambda value: value is not None and value < begin
    if operator == "<=":
        return lambda value: value is not None and value < end
    if operator == ">":
        return lambda value: value is not None and value >= end
    if operator == ">=":
        return lambda value: value is not None and value >= begin
    return lambda value: value is not None and begin <= value < end


def _interval(typed: str) -> tuple[float, float]:
    """When the time `typed` begins and ends: a date is a day, 12:30 is a minute."""
    digits = re.fullmatch(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(:\d\d)?)?(.*)", typed.strip())
    try:
        if digits is None:
            raise ValueError
        begin = datetime.fromisoformat(typed.strip())
        if len(typed.strip()) == len("2025-01-31"):
            end = begin + timedelta(days=1)
        elif digits[1] is None:
            end = begin + timedelta(minutes=1)
        else:
            end = begin + timedelta(seconds=1)
        return begin.timestamp(), end.timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError("expected a date, 2025-01-31, or a time, 2025-01-31T12:30") from None
