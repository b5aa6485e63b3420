# SPDX-License-Identifier: MIT
"""The configurations of a sweep, each resolved and checked by Kconfig.

    space = Space(sweep)
    space.cells()                       # of a grid, or drawn at random: all, checked
    space.resolve({"LEARNING_RATE": 1e-3}, seed)    # what a search asks for
    space.remarks                       # what was left out, what is one cell

A cell is named by its key, the hash of its science: two cells that would train the same are one.
A symbol of `set` or of an axis that has an unmet dependency in a cell (the sparsity, where nothing
is pruned) is left out of that cell. Anything else that Kconfig refuses is an error.
"""

import itertools
import math
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from ..config import dotconfig
from ..config.assign import apply
from ..config.dotconfig import Assignment, ConfigError
from ..config.science import hash_of
from ..config.settings import Settings
from ..config.symbols import unmet
from ..config.tree import PREFIX, Value, text_of
from ..errors import BadUse
from . import remarks
from .description import Sweep
from .distributions import Range, Values, distribution
from .symbols import ARM, SEED, Symbols

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_MOST = 100_000  # cells
_SEED_LINE = re.compile(rf"^{PREFIX}{SEED}=.*$", re.MULTILINE)
_PROBES = 200  # configurations that are tried before a search begins

Point = Mapping[str, str]  # {axis: text}, with the arm as ARM


@dataclass(frozen=True)
class Cell:
    """One configuration of a sweep.

    `params`: typed values of the axes that apply, with the arm as "arm". `settings`: what the sweep
    sets in it, as text, apart from the seed. `config_text`: the full .config. `label` says the
    params, and not the seed.
    """

    key: str
    params: Mapping[str, Value]
    settings: Mapping[str, str]
    seed: int
    label: str
    config_text: str


class Settled(NamedTuple):
    """What applies of a point that Kconfig took, and what was left out: {symbol: what it needs}."""

    point: dict[str, str]
    settings: dict[str, str]
    left_out: dict[str, str]


class Space:
    """What `sweep` ranges over. Raises ConfigError for symbols and values that cannot be.

    `seeds` are those of the sweep, or that of its defconfig. `axes` have canonical values, and the
    arm as the first. One Kconfig tree serves all cells: a Space is for one thread.
    """

    def __init__(self, sweep: Sweep):
        self.sweep = sweep
        self.remarks: list[str] = []
        self._symbols = Symbols(sweep)
        self._tree = self._symbols.tree
        self.axes = self._symbols.axes
        self.seeds = self._symbols.seeds

    def cells(self) -> list[Cell]:
        """All cells of a grid, or those drawn at random, in order; none of a search.

        Of a search a sample is checked. Raises ConfigError that says each reason once.
        """
        cells: dict[str, Cell] = {}
        settled: dict[tuple[tuple[str, str], ...], Settled] = {}
        refused: dict[str, list[str]] = {}
        same: dict[str, str] = {}  # by the label of what is another cell: the label of that
        count = 0
        for point in self._points():
            count += 1
            try:
                one = self._settle(point, self.seeds[0])
            except ConfigError as error:
                for problem in error.problems:
                    refused.setdefault(problem, []).append(self._label(point))
                continue
            known = settled.setdefault(tuple(one.point.items()), one)
            known.left_out.update(one.left_out)
            if known is one and self.sweep.enumerated:
                for cell in self._cells_of(one, self.seeds):
                    first = cells.setdefault(cell.key, cell)
                    if first.label != cell.label:
                        same[cell.label] = first.label
        if refused:
            raise ConfigError(remarks.refusals(refused, count))
        if unused := remarks.unused(self.sweep, list(settled.values())):
            raise ConfigError(unused)
        found = [(self._label(one.point), one.left_out) for one in settled.values()]
        self.remarks = [*remarks.left_out(found), *remarks.equal(count, len(settled), same)]
        return list(cells.values())

    def resolve(self, params: Mapping[str, Value], seed: int) -> Cell:
        """The cell at `params`, the values of all axes but those that do not apply in it.

        Raises BadUse where Kconfig refuses it.
        """
        if wrong := params.keys() - self.axes.keys():
            axes = ", ".join(self.axes)
            raise BadUse(
                f"sweep {self.sweep.name}: {', '.join(sorted(wrong))}: the axes are {axes}"
            )
        one = self._settle({n: text_of(params[n]) for n in self.axes if n in params}, seed)
        return self._cells_of(one, [seed])[0]

    def retry(self, cell: Cell, changes: Mapping[str, str]) -> Cell:
        """`cell`, to be tried again with other settings: it keeps its key.

        Raises ConfigError for a change that does not take.
        """
        if not changes:
            return cell
        assignments, problems = dotconfig.parse(cell.config_text, f"cell {cell.key}")
        if problems:
            raise ConfigError(problems)
        self._tree.unset_values()
        apply(self._tree, [assignments])
        self._tree.follow_defaults()
        apply(self._tree, [[Assignment(n, text, "retry") for n, text in changes.items()]])
        text = self._tree.config_text()
        return replace(cell, settings={**cell.settings, **changes}, config_text=text)

    def distributions(self) -> "dict[str, BaseDistribution]":
        """Optuna's distribution of each axis, with the arm as "arm"."""
        typed, integer = self._symbols.typed, self._symbols.is_integer
        return {
            name: distribution(axis, lambda text, name=name: typed(name, text), integer(name))
            for name, axis in self.axes.items()
        }

    # ------------------------------------------------------------------ from points to cells

    def _points(self) -> Iterator[Point]:
        """What is to be resolved: the grid, what is drawn, or a sample of a search."""
        sweep, names = self.sweep, list(self.axes)
        if sweep.method == "random":
            for i in range(sweep.trials or 0):
                generator = random.Random(f"{sweep.name} {i}")
                yield {name: self.axes[name].draw(generator) for name in names}
            return
        choices = [
            axis.values if isinstance(axis, Values) else (text_of(axis.low), text_of(axis.high))
            for axis in self.axes.values()
        ]
        count = math.prod(map(len, choices)) * len(self.seeds)
        if sweep.method == "grid" and count > _MOST:
            raise BadUse(
                f"{sweep.place('axes')}: {count:,} cells, more than {_MOST:,}: use fewer values, "
                "or method: random with trials"
            )
        if sweep.method == "grid" or count <= _PROBES:
            for texts in itertools.product(*choices):
                yield dict(zip(names, texts, strict=True))
            return
        generator = random.Random(sweep.name)
        for _ in range(_PROBES):
            yield {n: generator.choice(c) for n, c in zip(names, choices, strict=True)}

    def _settle(self, point: Point, seed: int) -> Settled:
        """Give the tree the configuration at `point` with `seed`. Raises ConfigError."""
        layers = self._layers(point)
        left_out = self._unmet(layers)
        kept = [[a for a in layer if a.name not in left_out] for layer in layers]
        self._symbols.reset()
        apply(self._tree, [*kept, [self._symbols.seed(seed)]], followers=False)
        settings = {a.name: a.value for layer in kept for a in layer}
        applied = {name: text for name, text in point.items() if name not in left_out}
        return Settled(applied, settings, left_out)

    def _layers(self, point: Point) -> list[list[Assignment]]:
        """What the sweep sets at `point`: `set`, the arm, the axes."""
        place = self.sweep.place
        axes = [Assignment(n, text, place("axes", n)) for n, text in point.items() if n != ARM]
        fixed, arms = self._symbols.fixed, self._symbols.arms
        return [fixed, arms[point[ARM]] if ARM in point else [], axes]

    def _unmet(self, layers: list[list[Assignment]]) -> dict[str, str]:
        """The symbols, but for those of the arm, that cannot be set at present: what they need."""
        self._symbols.reset()
        targets = [(a.name, *self._symbols.target(a)) for layer in layers for a in layer]
        for _, symbol, value in targets:
            symbol.set_value(value)
        of_the_arm = {a.name for a in layers[1]}
        return {
            name: " and ".join(unmet(symbol))
            for name, symbol, _ in targets
            if name not in of_the_arm and not (symbol.choice or symbol).visibility
        }

    def _cells_of(self, one: Settled, seeds: Iterable[int]) -> list[Cell]:
        """The cells of the point that the tree has just been given, one for each seed.

        Nothing depends on the seed, so that it is all that differs.
        """
        params = {name: self._symbols.typed(name, text) for name, text in one.point.items()}
        science, label = Settings(self._tree).science, self._label(one.point)
        before, after = _SEED_LINE.split(self._tree.config_text(), maxsplit=1)
        return [
            Cell(
                key=hash_of({**science, SEED: seed}),
                params=params,
                settings=one.settings,
                seed=seed,
                label=label,
                config_text=f"{before}{PREFIX}{SEED}={seed}{after}",
            )
            for seed in seeds
        ]

    def _label(self, point: Point) -> str:
        """`bitter7, TARGET_SPARSITY=0.9`; what a search suggests with six digits."""
        words = []
        for name, text in point.items():
            axis = self.axes[name]
            if not self.sweep.enumerated and isinstance(axis, Range) and not axis.whole:
                text = f"{float(text):.6g}"
            words.append(text if name == ARM else f"{name}={text}")
        return ", ".join(words) or "base"
