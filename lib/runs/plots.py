# SPDX-License-Identifier: MIT
"""The curves of a run, drawn from its journal into plots/*.png.

    plot_run("outputs/training/<run>")

Train and validation share a figure, so that overfitting shows: beyond the dotted line, which marks
the best evaluation (lib/runs/best.py), only the train curve improves. The journal is read as a
stream, and each curve keeps at most one point for each pixel column, so that memory does not grow
with the length of a run. matplotlib is imported only when something is drawn.
"""

import io
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import text
from ..advice import need
from ..files import write_atomic
from . import metadata
from .best import Evaluation, best_evaluation
from .curve import Curve, Points
from .directory import make_private
from .journal import current_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BLUE, _RED = "#4477aa", "#ee6677"  # the colour-blind can tell them apart, too
_WIDTH, _HEIGHT, _DPI = 8.0, 4.5, 120  # inches, inches, pixels an inch
_LARGEST = 1e100  # matplotlib cannot lay out axes for values near the end of float's range
_MAX_POINTS = int(_WIDTH * _DPI)  # of a curve; even, since points are merged in pairs
_SMOOTHED_SHARE = 40  # the running mean takes 1/40 of the curve each way
_LONG_TITLE = 90  # characters that fit above the axes


@dataclass(frozen=True)
class _Plot:
    """One figure: `train` and `validation` are metric names."""

    file: str
    title: str
    unit: str
    train: str
    validation: str | None = None


_PLOTS = (
    _Plot("loss", "Loss", "cross-entropy", "train/loss", "val/loss"),
    _Plot("accuracy", "Accuracy", "fraction correct", "train/accuracy", "val/accuracy"),
    _Plot("perplexity", "Perplexity", "exp(loss)", "train/perplexity", "val/perplexity"),
    _Plot("learning_rate", "Learning rate", "learning rate", "lr"),
    _Plot("sparsity", "Sparsity", "fraction of weights that are zero", "sparsity"),
)


def plot_run(
    directory: str | Path, *, log_loss: bool | None = None, say: Callable[[str], None] = print
) -> list[Path]:
    """Draw every figure that the run in `directory` has metrics for; returns the files.

    log_loss: the loss on a logarithmic axis, if it is above 0 throughout; None: as the run's
    PLOTS_LOG_LOSS says. `say` is told once when rows of the journal are damaged. Raises
    FileNotFoundError when the run has no journal, OSError when the files cannot be written, and
    Failure without Matplotlib.
    """
    directory = Path(directory)
    journal = directory / "logs" / "metrics.jsonl"
    curves, damaged = _read_curves(journal)
    if damaged:
        rows = "row is" if damaged == 1 else "rows are"
        say(text.one_line(f"warning: {damaged:,} {rows} damaged and left out: {journal}"))
    best = best_evaluation(journal, _metadata(directory))
    if log_loss is None:
        log_loss = _configured_log_loss(directory)
    make_private(directory / "plots")
    written = []
    for plot in _PLOTS:
        if plot.train in curves or plot.validation in curves:
            log = log_loss and plot.file == "loss"
            path = directory / "plots" / f"{plot.file}.png"
            write_atomic(path, _draw(plot, curves, directory.name, best, log))
            written.append(path)
    return written


def _metadata(directory: Path) -> dict[str, Any]:
    """The metadata; empty if it is missing or damaged; the curves are drawn all the same."""
    try:
        return metadata.load(directory / "metadata.yaml")
    except (OSError, ValueError):
        return {}


def _configured_log_loss(directory: Path) -> bool:
    path = directory / ".config"
    try:
        content = path.read_text("utf-8", "replace") if path.is_file() else ""
    except OSError:
        return False
    return "CONFIG_PLOTS_LOG_LOSS=y" in content.splitlines()


def _read_curves(journal: Path) -> tuple[dict[str, Points], int]:
    """The values of each metric that is drawn, and how many rows are damaged.

    NaN, infinities and what is as good as one are left out, and so are metrics without any value.
    """
    damage: Counter[str] = Counter()
    wanted = [name for plot in _PLOTS for name in (plot.train, plot.validation) if name]
    curves = {name: Curve(_MAX_POINTS) for name in wanted}
    for row, _ in current_rows(journal, on_damage=lambda _: damage.update(("row",))):
        metrics, step = row.get("metrics"), row.get("step")
        if metrics is None or step is None:
            continue
        for name in wanted:
            value = metrics.get(name)
            if value is not None and abs(value) < _LARGEST:
                curves[name].add(step, value)
    found = {name: curve.points() for name, curve in curves.items()}
    return {name: points for name, points in found.items() if points}, damage["row"]


def _draw(
    plot: _Plot, curves: dict[str, Points], run_name: str, best: Evaluation | None, log: bool
) -> bytes:
    """The figure as a PNG file."""
    Figure = need("matplotlib.figure", "a plot").Figure

    figure = Figure(figsize=(_WIDTH, _HEIGHT), dpi=_DPI)
    axes = figure.subplots()
    train, validation = curves.get(plot.train, []), curves.get(plot.validation or "", [])
    if plot.validation:
        _draw_noisy(axes, train, _BLUE, "train")
        _draw_validation(axes, validation)
        _draw_best(axes, plot.validation, best)
        axes.legend(frameon=False)
    else:
        axes.plot(*_columns(train), color=_BLUE)
    if log and all(value > 0 for _, value in [*train, *validation]):
        use_log_axis(axes)
    title = text.one_line(f"{plot.title} of {run_name}")
    title = title if len(title) <= _LONG_TITLE else f"{title[: _LONG_TITLE - 1]}…"
    axes.set_title(title, loc="left", fontsize=11, parse_math=False)  # a name may hold dollars
    axes.set_xlabel("step")
    axes.set_ylabel(plot.unit)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    _fit_margins(figure, axes)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def use_log_axis(axes: "Axes") -> None:
    """Plain numbers at the decades; also between them if there are fewer than two."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.set_yscale("log")
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_formatter(plain if high < 20 * low else NullFormatter())
    axes.grid(which="minor", color="0.96")


def _fit_margins(figure: "Figure", axes: "Axes") -> None:
    """Make room on the left for the tick labels.

    Nothing else varies in size; a layout engine would double the time.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    left = 0.11
    figure.subplots_adjust(left, 0.11, 0.97, 0.93)
    renderer = FigureCanvasAgg(figure).get_renderer()
    outside = axes.yaxis.get_tightbbox(renderer).x0 / figure.bbox.width
    figure.subplots_adjust(left=max(left, left - outside + 0.01))


def _draw_noisy(axes: "Axes", points: Points, colour: str, label: str) -> None:
    """Pale points under their running mean."""
    half_width = len(points) // _SMOOTHED_SHARE
    if half_width:
        axes.plot(*_columns(points), color=colour, alpha=0.3, linewidth=0.8)
    axes.plot(*_columns(_running_mean(points, half_width)), color=colour, label=label)


def _draw_validation(axes: "Axes", points: Points) -> None:
    if points:
        marker = "o" if len(points) <= 60 else None
        axes.plot(*_columns(points), color=_RED, marker=marker, markersize=4, label="validation")


def _draw_best(axes: "Axes", name: str, best: Evaluation | None) -> None:
    """A dotted line at the best evaluation; none while a network is not pruned to its target."""
    if best and name in best.metrics:
        axes.axvline(best.step, color=_RED, linestyle=":", linewidth=1, zorder=1)
        label = f"best: {best.metrics[name]:.4g} at step {best.step}"
        axes.plot([], [], color=_RED, linestyle=":", label=label)


def _running_mean(points: Points, half_width: int) -> Points:
    """The mean of each point and equally many on either side, which does not lag."""
    values = [value for _, value in points]
    smooth = []
    for i, (step, _) in enumerate(points):
        reach = min(half_width, i, len(points) - 1 - i)
        part = values[i - reach : i + reach + 1]
        smooth.append((step, math.fsum(part) / len(part)))
    return smooth


def _columns(points: Points) -> tuple[list[int], list[float]]:
    return [step for step, _ in points], [value for _, value in points]
