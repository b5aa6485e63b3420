# SPDX-License-Identifier: MIT
"""The curves of several runs in one picture.

    write_atomic("curves.png", draw([run_a, run_b], ["a", "b"], ["val/loss"], kind="png"))

A panel for each metric, a colour and a line style for each run, one legend for all. A noisy curve
is drawn as its running mean, which does not lag, over pale points as long as there are few runs. A
dot marks the best value, where it is known whether lower or higher is better. matplotlib is
imported only here.
"""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadUse
from ...text import one_line
from ..plots import use_log_axis
from ..series import Series
from ..stored import StoredRun
from .metrics import direction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Paul Tol's bright scheme, which the colour-blind can tell apart, without its grey.
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#aa8800", "#22aacc", "#aa3377", "#222222")
_STYLES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (7, 2, 1.5, 2)))
MOST_RUNS = len(_COLOURS) * len(_STYLES)
_MOST_PALE = 5  # runs whose points are drawn under the mean as well
_POINTS = 1000  # of a curve: about one for each column of pixels
_LARGEST = 1e100  # matplotlib cannot lay out axes for values near the end of float's range
_NOISE = 0.02  # of the range: how far a point lies from the middle of its neighbours
_SMOOTHED_SHARE = 40  # the running mean takes 1/40 of the curve each way
_WIDTH, _PANEL, _ROW, _DPI = 9.0, 4.2, 0.22, 120  # inches, inches, inches, pixels an inch
_LONG = 90  # characters of a label


def draw(
    runs: Sequence[StoredRun],
    labels: Sequence[str],
    metrics: Sequence[str],
    *,
    log: bool = False,
    kind: str = "png",
) -> bytes:
    """The picture as a file of `kind`, png or svg.

    log: the values on a logarithmic axis, in each panel in which all are above 0. Metrics that no
    run has logged are left out. Raises BadUse for more than MOST_RUNS runs, and if there is nothing
    to draw.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    if len(runs) > MOST_RUNS:
        raise BadUse(f"{len(runs)} runs: a picture of more than {MOST_RUNS} cannot be read")
    panels = {name: [thinned(run.metric(name)) for run in runs] for name in metrics}
    panels = {name: curves for name, curves in panels.items() if any(len(s) for s, _ in curves)}
    if not panels:
        raise BadUse(f"none of the runs has logged {', '.join(metrics) or 'anything'}")
    labels = [_short(label) for label in labels]
    columns = _legend_columns(labels)
    legend = _ROW * (math.ceil(len(labels) / columns) + 1)
    height = _PANEL * len(panels) + legend
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, layout="constrained")
    for axes, (name, curves) in zip(
        np.atleast_1d(figure.subplots(len(panels))), panels.items(), strict=True
    ):
        _panel(axes, name, curves, lower=direction(name, runs), log=log)
    _legend(figure, labels, columns)
    picture = io.BytesIO()
    with rc_context({"svg.hashsalt": "runs", "svg.fonttype": "none"}):  # equal runs, equal files
        figure.savefig(picture, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return picture.getvalue()


def thinned(series: Series) -> tuple[np.ndarray, np.ndarray]:
    """(steps, values) without what cannot be drawn; at most _POINTS, each the mean of its part."""
    drawn = np.isfinite(series.values) & (np.abs(series.values) < _LARGEST)
    steps, values = series.steps[drawn], series.values[drawn]
    if len(values) <= _POINTS:
        return steps, values
    first = np.linspace(0, len(values), _POINTS, endpoint=False).astype(int)
    counts = np.diff(np.append(first, len(values)))
    return steps[first + counts - 1], np.add.reduceat(values, first) / counts


def is_noisy(values: np.ndarray) -> bool:
    """Whether points typically lie off the line between their neighbours, for the curve's range."""
    if len(values) < 2 * _SMOOTHED_SHARE:
        return False
    low, high = np.percentile(values, (5, 95))
    off = np.median(np.abs(values[1:-1] - (values[:-2] + values[2:]) / 2))
    return bool(off > _NOISE * (high - low))


def smoothed(values: np.ndarray) -> np.ndarray:
    """The mean of each value and those on either side.

    Near the beginning, where a curve is steep, fewer on both sides; near the end, where single
    values would look like a turn, those that there are.
    """
    index = np.arange(len(values))
    reach = np.minimum(len(values) // _SMOOTHED_SHARE, index)
    end = np.minimum(index + reach + 1, len(values))
    sums = np.concatenate(([0.0], np.cumsum(values)))
    return (sums[end] - sums[index - reach]) / (end - index + reach)


def _panel(
    axes: "Axes",
    name: str,
    curves: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    lower: bool | None,
    log: bool,
) -> None:
    few = sum(bool(len(steps)) for steps, _ in curves) <= _MOST_PALE
    for number, (steps, values) in enumerate(curves):
        if not len(steps):
            continue
        look = style(number)
        noisy = is_noisy(values)
        if noisy and few:
            axes.plot(steps, values, color=look["color"], alpha=0.2, linewidth=0.6)
        axes.plot(steps, smoothed(values) if noisy else values, **look)
        if len(steps) == 1:
            axes.plot(steps, values, "o", color=look["color"], markersize=5)
        elif lower is not None and not noisy:
            best = int(np.argmin(values) if lower else np.argmax(values))
            axes.plot(steps[best], values[best], "o", color=look["color"], markersize=4)
    if log and all((values > 0).all() for _, values in curves):
        use_log_axis(axes)
    axes.set_title(one_line(name), loc="left", fontsize=11, parse_math=False)
    axes.set_xlabel("step")
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def style(number: int) -> dict[str, Any]:
    """Colour and line style of the run `number`: first the colours, then the styles."""
    line = _STYLES[number // len(_COLOURS) % len(_STYLES)]
    return {"color": _COLOURS[number % len(_COLOURS)], "linestyle": line, "linewidth": 1.5}


def _legend(figure: "Figure", labels: Sequence[str], columns: int) -> None:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], **style(number)) for number in range(len(labels))]
    legend = figure.legend(
        lines, labels, loc="outside lower left", ncols=columns, frameon=False, fontsize=9,
        handlelength=3.5,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name may hold dollars


def _legend_columns(labels: Sequence[str]) -> int:
    longest = max(map(len, labels))
    return max(1, min(4, len(labels), int(110 / (longest + 9))))


def _short(label: str) -> str:
    label = one_line(label)
    return label if len(label) <= _LONG else f"{label[: _LONG - 1]}…"
