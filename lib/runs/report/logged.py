# SPDX-License-Identifier: MIT
"""All that a report shows of a journal, read in one pass: curves, their ranges, recent media.

    logged = read_journal(run.journal, run.metadata)
    logged.curves["val/loss"].values        # float64 [n], with NaN and infinities
    logged.media["sample"].latest           # [(step, item), …], the last few of `count`

100,000 rows of 20 metrics take about 2 s. Of media only the latest of each name are kept, so that
memory does not grow with the histograms of a long run.
"""

import contextlib
import math
from array import array
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..best import BestSoFar, Evaluation
from ..journal import current_rows

if TYPE_CHECKING:
    import numpy as np

KEPT_MEDIA = 4  # of each name
LARGEST = 1e100  # what is beyond cannot be laid out on an axis, and counts as infinite


@dataclass
class Curve:
    """One metric: the steps, values and times (epoch seconds, NaN if unknown) of its rows."""

    steps: "np.ndarray"  # float64 [n]
    values: "np.ndarray"  # float64 [n]
    times: "np.ndarray"  # float64 [n]

    def __len__(self) -> int:
        return len(self.values)

    def finite(self) -> "Curve":
        """Without NaN, infinities and values beyond LARGEST."""
        import numpy as np

        keep = np.abs(self.values) < LARGEST  # False for NaN
        return self if keep.all() else self[keep]

    def __getitem__(self, index: Any) -> "Curve":
        return Curve(self.steps[index], self.values[index], self.times[index])


@dataclass
class Media:
    """What was logged under one name: how often, and the latest, oldest of them first."""

    count: int = 0
    latest: deque[tuple[int, dict[str, Any]]] = field(
        default_factory=lambda: deque(maxlen=KEPT_MEDIA)
    )


@dataclass
class Logged:
    """What a journal holds; empty without one. `damaged` rows are left out."""

    curves: dict[str, Curve] = field(default_factory=dict)
    media: dict[str, Media] = field(default_factory=dict)
    rows: int = 0
    damaged: int = 0
    first_time: float = math.nan  # epoch seconds of the first row
    best: Evaluation | None = None

    def count_damaged(self) -> None:
        """For `on_damage` of the journal's readers."""
        self.damaged += 1


def read_journal(path: Path, metadata: Mapping[str, Any]) -> Logged:
    """The rows that count; a journal in progress is read up to its last complete row."""
    logged, best = Logged(), BestSoFar(metadata)
    blocks: dict[tuple[str, ...], _Block] = {}
    with contextlib.suppress(OSError):
        for row, _ in current_rows(path, on_damage=lambda _: logged.count_damaged()):
            logged.rows += 1
            time = row.get("time", math.nan)
            if math.isnan(logged.first_time):
                logged.first_time = float(time)
            step = row.get("step")
            if step is None:
                continue
            if metrics := row.get("metrics"):
                names = tuple(metrics)
                if names not in blocks:
                    blocks[names] = _Block(names)
                blocks[names].add(logged.rows, step, time, metrics.values())
                best.see(step, metrics)
            for name, item in row.get("media", {}).items():
                media = logged.media.setdefault(name, Media())
                media.count += 1
                media.latest.append((step, item))
    logged.best = best.found
    logged.curves = _curves(blocks.values())
    return logged


class _Block:
    """The rows with the same metrics, which nearly all rows of a journal share."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.about, self.values = array("d"), array("d")

    def add(self, number: int, step: int, time: float, values: Iterable[float]) -> None:
        self.about.extend((number, step, time))
        self.values.extend(values)


def _curves(blocks: Iterable[_Block]) -> dict[str, Curve]:
    """The curve of each metric, its rows in the order of the journal."""
    import numpy as np

    parts: dict[str, list[tuple[Any, Any]]] = {}
    for block in blocks:
        about = np.frombuffer(block.about).reshape(-1, 3)
        values = np.frombuffer(block.values).reshape(len(about), -1)
        for column, name in enumerate(block.names):
            parts.setdefault(name, []).append((about, values[:, column]))
    curves = {}
    for name, found in parts.items():
        about = np.concatenate([part for part, _ in found])
        order = about[:, 0].argsort()
        values = np.concatenate([part for _, part in found])
        curves[name] = Curve(about[order, 1], values[order], about[order, 2])
    return curves
