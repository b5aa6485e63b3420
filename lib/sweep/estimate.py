# SPDX-License-Identifier: MIT
"""What a sweep will take, in time and on disk, from runs that were made before.

    shapes = Shapes()
    estimate(shapes_of(cells, shapes), past_runs(output_dir, shapes)).seconds

A run tells about a cell if it has the same shape: everything that decides how long a step takes and
how large a checkpoint is (model, data, device, batch). The time of its steps is scaled
by the length of the training. Runs that differ in nothing but the seed are preferred.
"""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import dotconfig
from ..config.assign import apply
from ..config.science import is_science
from ..config.tree import Tree
from ..runs.open import open_runs
from .cells import Cell

_SHAPE_MENUS = ("Model", "Data", "Device")
_SHAPE_SYMBOLS = ("BATCH_SIZE", "GRAD_ACCUM", "HYPER_PARAM_AUTO", "TARGET_EFFECTIVE_BATCH")
_LENGTHS = ("MAX_STEPS", "NUM_EPOCHS")  # the first that is not 0 counts
_SEED = "SEED"
_MOST = 300  # past runs of a model that are looked at, the newest

Settings = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Shape:
    """A configuration as far as it decides about time and space.

    `same`: all of its science but the seed; `shape`: see the module; `length` of the training in
    `unit`, one of MAX_STEPS and NUM_EPOCHS.
    """

    same: Settings
    shape: Settings
    unit: str
    length: float


@dataclass(frozen=True)
class Past:
    """What a completed run took: `seconds`, of which `fixed` do not depend on the length."""

    shape: Shape
    seconds: float
    size: int
    fixed: float = 0.0

    def scaled(self, length: float) -> float:
        """Seconds of a training of this length."""
        return self.fixed + (self.seconds - self.fixed) * length / self.shape.length


@dataclass(frozen=True)
class Estimate:
    """`seconds` of all cells that `known` counts, one after another, and `size` in bytes.

    `runs`: how many past runs say so; `equal`: of how many cells there was a run that differs in
    the seed alone. `cells`: how many there are.
    """

    cells: int
    known: int
    equal: int
    runs: int
    seconds: float
    size: int


class Shapes:
    """Finds the shape in the text of a .config."""

    def __init__(self) -> None:
        self._tree = Tree()
        titles = self._tree.titles
        every = {s.name: menus for s, menus in titles.items() if is_science(s.name, menus)}
        self._science = every.keys() - {_SEED}
        self._shape = {
            name
            for name, menus in every.items()
            if menus[0] in _SHAPE_MENUS or name in _SHAPE_SYMBOLS
        } - {_SEED, *_LENGTHS}

    def of(self, config_text: str) -> Shape:
        """The shape of the configuration; what cannot be read of it is left out."""
        values = {a.name: a.value for a in dotconfig.parse(config_text, "")[0]}
        for unit in _LENGTHS:
            length = _positive(values.get(unit, ""))
            if length:
                break
        science = [(n, v) for n, v in values.items() if n in self._science and v != "n"]
        shape = frozenset(pair for pair in science if pair[0] in self._shape)
        return Shape(frozenset(science), shape, unit, length)

    def model(self, config_text: str) -> str:
        """The name of the model. Raises ConfigError for what does not take."""
        self._tree.unset_values()
        apply(self._tree, [dotconfig.parse(config_text, "cell")[0]], followers=False)
        return self._tree.syms["MODEL"].str_value


def past_runs(output_dir: str | Path, shapes: Shapes) -> list[Past]:
    """The completed runs in `output_dir`, the newest last."""
    found = []
    for run in open_runs(output_dir, where="status=completed", limit=_MOST):
        seconds, steps = run.field("duration"), run.value("final/training_time_s")
        try:
            text = (run.dir / ".config").read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue
        shape, size = shapes.of(text), int(run.field("size") or 0)
        if seconds and shape.length:
            fixed = 0.0 if steps is None else max(0.0, seconds - steps)
            found.append(Past(shape, float(seconds), size, fixed))
    return found


def estimate(cells: Sequence[Shape], past: Iterable[Past]) -> Estimate:
    """What the `cells` will take by what the runs of the `past` took."""
    by_same: dict[Settings, list[Past]] = {}
    by_shape: dict[tuple[Settings, str], list[Past]] = {}
    for run in past:
        by_same.setdefault(run.shape.same, []).append(run)
        by_shape.setdefault((run.shape.shape, run.shape.unit), []).append(run)
    known = equal = 0
    seconds = size = 0.0
    used: set[int] = set()
    for cell in cells:
        same = by_same.get(cell.same, [])
        alike = same or by_shape.get((cell.shape, cell.unit), [])
        if not alike or not cell.length:
            continue
        known, equal = known + 1, equal + bool(same)
        used |= {id(run) for run in alike}
        seconds += statistics.median(run.scaled(cell.length) for run in alike)
        size += statistics.median(run.size for run in alike)
    return Estimate(len(cells), known, equal, len(used), seconds, round(size))


def shapes_of(cells: Iterable[Cell], shapes: Shapes) -> list[Shape]:
    """The shape of each cell; seeds share the one of the first."""
    found: dict[str, Shape] = {}
    return [
        found.setdefault(cell.label, found.get(cell.label) or shapes.of(cell.config_text))
        for cell in cells
    ]


def _positive(text: str) -> float:
    try:
        return max(0.0, float(text))
    except ValueError:
        return 0.0
