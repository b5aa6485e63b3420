# SPDX-License-Identifier: MIT
"""The curves of a run, drawn from its journal into plots/*.png.

    plot_run("outputs/training/lenet5_adamw_20250101-120000")

Train and validation share a figure, so that overfitting shows: from the dotted line on, the best
validation value, only the train curve still improves. matplotlib is imported when drawing.
"""

import io
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lib.files import write_atomic
from lib.runs.journal import read_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE, _RED = "#4477aa", "#ee6677"  # told apart by the colour-blind too
_MAX_POINTS = 2000  # of one curve; more than a figure has pixels
_SMOOTHED_SHARE = 40  # means reach 1/40 of the curve each way; values of single batches are noisy


@dataclass(frozen=True)
class _Plot:
    """One figure: `train` and `validation` are metric names; `best` is min, max or None."""

    file: str
    title: str
    unit: str
    train: str
    validation: str | None = None
    best: str | None = None


_PLOTS = (
    _Plot("loss", "Loss", "cross-entropy", "train/loss", "val/loss", "min"),
    _Plot("accuracy", "Accuracy", "fraction correct", "train/accuracy", "val/accuracy", "max"),
    _Plot("perplexity", "Perplexity", "exp(loss)", "train/perplexity", "val/perplexity", "min"),
    _Plot("learning_rate", "Learning rate", "learning rate", "lr"),
    _Plot("sparsity", "Sparsity", "fraction of weights that are zero", "sparsity"),
)

Curve = list[tuple[int, float]]  # (step, value)


def plot_run(directory: str | Path) -> list[Path]:
    """Draw every figure that the run in `directory` has metrics for; returns the files.

    Raises FileNotFoundError when the run has no journal and OSError when it cannot be written.
    """
    directory = Path(directory)
    curves = _read_curves(directory / "logs" / "metrics.jsonl")
    (directory / "plots").mkdir(exist_ok=True)
    written = []
    for plot in _PLOTS:
        if curves.get(plot.train) or curves.get(plot.validation or ""):
            path = directory / "plots" / f"{plot.file}.png"
            write_atomic(path, _draw(plot, curves, directory.name))
            written.append(path)
    return written


def _read_curves(journal: Path) -> dict[str, Curve]:
    wanted = {name for plot in _PLOTS for name in (plot.train, plot.validation) if name}
    curves: dict[str, Curve] = defaultdict(list)
    for row, _ in read_rows(journal):
        metrics = row.get("metrics", {})
        for name in wanted & metrics.keys():
            if "step" in row and math.isfinite(metrics[name]):
                curves[name].append((row["step"], metrics[name]))
    return curves


def _draw(plot: _Plot, curves: dict[str, Curve], run_name: str) -> bytes:
    """The figure as a PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=120)
    figure.subplots_adjust(0.11, 0.11, 0.98, 0.93)  # a layout engine doubles the time
    axes = figure.subplots()
    train = curves.get(plot.train, [])
    validation = curves.get(plot.validation or "", [])
    if plot.validation:
        _draw_noisy(axes, train, _BLUE, "train")
        _draw_validation(axes, plot, validation)
        axes.legend(frameon=False)
    else:
        axes.plot(*_columns(_thin(train)), color=_BLUE)
    axes.set_title(f"{plot.title} of {run_name}", loc="left", fontsize=11)
    axes.set_xlabel("step")
    axes.set_ylabel(plot.unit)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _draw_noisy(axes: "Axes", curve: Curve, colour: str, label: str) -> None:
    """The points pale, their running mean strong."""
    points = _thin(curve)
    half_width = len(points) // _SMOOTHED_SHARE
    if half_width:
        axes.plot(*_columns(points), color=colour, alpha=0.3, linewidth=0.8)
    axes.plot(*_columns(_running_mean(points, half_width)), color=colour, label=label)


def _draw_validation(axes: "Axes", plot: _Plot, curve: Curve) -> None:
    if not curve:
        return
    marker = "o" if len(curve) <= 60 else None
    axes.plot(*_columns(_thin(curve)), color=_RED, marker=marker, markersize=4, label="validation")
    choose = min if plot.best == "min" else max
    step, value = choose(curve, key=lambda point: point[1])
    axes.axvline(step, color=_RED, linestyle=":", linewidth=1, zorder=1)
    axes.plot([], [], color=_RED, linestyle=":", label=f"best: {value:.4g} at step {step}")


def _thin(curve: Curve) -> Curve:
    """At most _MAX_POINTS points, each the mean of its neighbours."""
    width = -(-len(curve) // _MAX_POINTS)
    if width <= 1:
        return curve
    chunks = (curve[i : i + width] for i in range(0, len(curve), width))
    return [(chunk[-1][0], _mean([value for _, value in chunk])) for chunk in chunks]


def _running_mean(curve: Curve, half_width: int) -> Curve:
    """The mean of each point and as many before as after it, which does not lag behind."""
    values = [value for _, value in curve]
    smooth = []
    for i, (step, _) in enumerate(curve):
        reach = min(half_width, i, len(curve) - 1 - i)
        smooth.append((step, _mean(values[i - reach : i + reach + 1])))
    return smooth


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _columns(curve: Curve) -> tuple[list[int], list[float]]:
    return [step for step, _ in curve], [value for _, value in curve]
