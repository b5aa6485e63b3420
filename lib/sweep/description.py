# SPDX-License-Identifier: MIT
"""A sweep: what is to be trained, many times, and what of it is compared.

    sweep = read_sweep("some-sweep")            # lib/sweep/reading.py: sweeps/some-sweep.yaml
    Sweep.from_json(sweep.to_json()) == sweep
    sweep.digest                                # equal where everything is but the words

A description names symbols and values; lib/sweep/cells.py resolves them by Kconfig.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..config.dotconfig import ConfigError, shorten
from ..errors import did_you_mean
from .distributions import Axis, Range
from .parts import ENUMERATED, PARTS, SEARCHES, Constraint, Metric, Pruner

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,59}")


@dataclass(frozen=True)
class Sweep:
    """A description that was checked in itself; whether Kconfig takes it, Space says.

    `fixed`, each of `arms` and `axes` are by symbol; values are texts as in a .config. Without
    `seeds` the seed is that of the defconfig. `trials`: how many configurations are drawn or
    tried; None for all (grid) and for no limit. `places`: where things stand in the file.
    """

    name: str
    defconfig_text: str
    fixed: Mapping[str, str]
    arms: Mapping[str, Mapping[str, str]]
    axes: Mapping[str, Axis]
    seeds: tuple[int, ...]
    metrics: tuple[Metric, ...]  # one or two
    method: str = "grid"
    trials: int | None = None
    hours: float | None = None
    pruner: Pruner | None = None
    constraints: tuple[Constraint, ...] = ()
    retries: int = 1
    description: str = ""
    places: Mapping[tuple[str, ...], str] = field(default_factory=dict, compare=False, repr=False)

    @property
    def metric(self) -> Metric:
        """The first metric."""
        return self.metrics[0]

    @property
    def enumerated(self) -> bool:
        """Whether all cells are known before the first is trained."""
        return self.method in ENUMERATED

    def place(self, *path: str) -> str:
        """Where the part at `path` is written: file:line, or the sweep's name."""
        return place_of(self.places, path) or f"sweep {self.name}: {'.'.join(path)}"

    def plain(self) -> dict[str, Any]:
        """In dict, list, text and numbers, in the form of the file."""
        every = {
            "description": self.description,
            "set": dict(self.fixed),
            "arms": {name: dict(settings) for name, settings in self.arms.items()},
            "axes": {name: axis.plain for name, axis in self.axes.items()},
            "seeds": list(self.seeds),
            "metric": [vars(metric).copy() for metric in self.metrics],
            "method": self.method,
            "trials": self.trials,
            "hours": self.hours,
            "pruner": {"name": self.pruner.name, **self.pruner.options} if self.pruner else None,
            "constraints": [str(constraint) for constraint in self.constraints],
            "retries": self.retries,
        }
        return {name: value for name, value in every.items() if value or value == 0}

    def to_json(self) -> str:
        """All but `places`, for `from_json`."""
        return json.dumps({"name": self.name, "defconfig": self.defconfig_text} | self.plain())

    @staticmethod
    def from_json(text: str) -> "Sweep":
        """The sweep that `to_json` wrote. Raises BadUse for what no version of it writes."""
        try:
            given = json.loads(text)
            name, defconfig = str(given.pop("name")), str(given.pop("defconfig"))
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
            raise ConfigError([f"the stored description of a sweep is damaged: {error}"]) from None
        return sweep_of(given, name, defconfig)

    @property
    def digest(self) -> str:
        """16 hex digits, equal where all is but the description and the order of names."""
        text = replace(self, description="").to_json()
        canonical = json.dumps(json.loads(text), sort_keys=True)
        return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def place_of(places: Mapping[tuple[str, ...], str], path: tuple[str, ...]) -> str:
    """The place of `path`, or of what it is part of; empty if none is known."""
    while path and path not in places:
        path = path[:-1]
    return places.get(path, "")


def sweep_of(
    given: Mapping[str, Any],
    name: str,
    defconfig_text: str,
    places: Mapping[tuple[str, ...], str] | None = None,
) -> Sweep:
    """The sweep that `given` describes in the form of the file, without the defconfig's name.

    Scalars are texts, bools or numbers. Raises ConfigError with all problems.
    """
    check = _Check(name, places or {})
    if not _NAME.fullmatch(name):
        check.wrong(
            (), f"`{shorten(name)}`: a sweep's name has lower-case letters, digits and hyphens"
        )
    for key in given:
        if key not in PARTS:
            check.wrong(
                (key,),
                f"there is no `{shorten(key)}`{did_you_mean(key, PARTS)}"
                f"; there are {', '.join(sorted(PARTS))}",
            )
    parts = {
        key: check.part((key,), PARTS[key], value)
        for key, value in given.items()
        if key in PARTS and value is not None
    }
    if given.get("metric") is None:
        check.wrong((), "metric is missing: metric: {name: val/loss}")
    if check.problems:
        raise ConfigError(check.problems)
    sweep = Sweep(
        name=name,
        defconfig_text=defconfig_text,
        fixed=parts.get("set", {}),
        arms=parts.get("arms", {}),
        axes=parts.get("axes", {}),
        seeds=parts.get("seeds", ()),
        metrics=parts["metric"],
        method=parts.get("method", "grid"),
        trials=parts.get("trials"),
        hours=parts.get("hours"),
        pruner=parts.get("pruner"),
        constraints=parts.get("constraints", ()),
        retries=parts.get("retries", 1),
        description=parts.get("description", ""),
        places=places or {},
    )
    if problems := _together(sweep):
        raise ConfigError(problems)
    return sweep


class _Check:
    """Collects what is wrong, with its place."""

    def __init__(self, name: str, places: Mapping[tuple[str, ...], str]):
        self.name, self.places = name, places
        self.problems: list[str] = []

    def wrong(self, path: tuple[str, ...], problem: str) -> None:
        place = place_of(self.places, path) or f"sweep {self.name}"
        self.problems.append(f"{place}: {problem}")

    def part(self, path: tuple[str, ...], read: Callable, given: Any) -> Any:
        """`read(given)`; a ValueError of it becomes a problem."""
        try:
            return read(given)
        except ValueError as error:
            words = path + getattr(error, "path", ())
            self.wrong(words, f"{'.'.join(shorten(w) for w in words)}: {error}")
            return None


def _together(sweep: Sweep) -> list[str]:
    """What does not go together in parts that are each right."""
    checks = (*_axes_problems(sweep), *_method_problems(sweep))
    return [f"{sweep.place(*path)}: {problem}" for path, problem in checks]


def _axes_problems(sweep: Sweep) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, axis in sweep.axes.items():
        holders = [arm for arm, settings in sweep.arms.items() if name in settings]
        if isinstance(axis, Range) and sweep.method == "grid":
            yield (
                ("axes", name),
                f"{name}: a grid has lists of values; a range needs method: random, or a search "
                f"({', '.join(SEARCHES)})",
            )
        if name in sweep.fixed:
            yield ("axes", name), f"{name} is in set, too: keep one of them"
        if holders:
            yield ("axes", name), f"{name} is set by the arm {holders[0]}, too: keep one of them"


def _method_problems(sweep: Sweep) -> Iterator[tuple[tuple[str, ...], str]]:
    method, search, metrics = sweep.method, not sweep.enumerated, len(sweep.metrics)
    if method == "grid" and sweep.trials is not None:
        yield ("trials",), "a grid trains all its cells: leave trials out"
    if method == "random" and sweep.trials is None:
        yield ("method",), "random needs trials: how many configurations to draw"
    if search and sweep.trials is None and sweep.hours is None:
        yield ("method",), f"{method} needs trials or hours: when to end"
    if not sweep.axes and not sweep.arms and method != "grid":
        yield ("method",), f"{method} needs axes"
    if search and len(sweep.seeds) > 1:
        yield ("seeds",), f"{method} has one seed; train its best again with several, as a grid"
    if method == "nsga2" and metrics != 2:
        yield ("metric",), "nsga2 needs a list of two metrics"
    if search and method != "nsga2" and metrics != 1:
        yield ("metric",), f"{method} has one metric; nsga2 searches for two"
    if sweep.pruner and metrics != 1:
        yield ("pruner",), "a pruner compares by one metric, and here are two"
