# SPDX-License-Identifier: MIT
"""The curves of a report: which metrics share a chart, and as many points as a page can carry.

    charts([logged, …])     # plain data for the script of the page, and for its headings

`train/loss`, `val/loss` and `test/loss` share the chart `loss`; the runs of a report share each
chart. A curve of more than MOST_POINTS values is thinned: of each of equally long stretches the
lowest and the highest value stay, so that no spike is lost, with the mean of each stretch for the
smoothed curve. With many curves they get fewer points each, POINTS_IN_ALL together, but no less
than FEWEST_POINTS.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .logged import LARGEST, Curve, Logged

MOST_POINTS = 2000
FEWEST_POINTS = 200
POINTS_IN_ALL = 250_000
_MOST_REMARKS = 5  # of one kind at a chart
_LAST_STEP = 2**53  # JavaScript counts no further
_DIGITS = 6  # significant; a screen has 4
_SPLITS = ("train", "val", "test")
# Sections by the beginning of the name, in the order of the page.
SECTIONS = {
    "quality": "Quality",
    "training": "Training",
    "pruning": "Pruning",
    "speed": "Speed",
    "system": "System",
}
_BEGINNINGS = {"perf/": "speed", "system/": "system", "pruning/": "pruning", "sparsity": "pruning"}


@dataclass
class Chart:
    """One quantity. `curves` is what the script draws, `remarks` what a reader has to know."""

    quantity: str
    section: str
    curves: list[dict[str, Any]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def charts(names: Sequence[str], all_logged: Sequence[Logged]) -> list[Chart]:
    """The charts of the runs `names`, in the order of the sections; loss and accuracy first."""
    made: dict[str, Chart] = {}
    lost: dict[str, list[str]] = {}  # by quantity, as `thinned`
    thinned: dict[str, list[int]] = {}
    drawn = [{n: c for n, c in x.curves.items() if not n.startswith("final/")} for x in all_logged]
    most = _points_each(sum(map(len, drawn)))
    for number, (name, logged) in enumerate(zip(names, drawn, strict=True)):
        for metric, curve in logged.items():
            quantity, split = _quantity(metric)
            chart = made.setdefault(quantity, Chart(quantity, _section(metric)))
            finite = curve.finite()
            if len(finite) < len(curve):
                whose = metric if len(names) == 1 else f"{metric} of {name}"
                lost.setdefault(quantity, []).append(_lost(whose, curve, finite))
            if len(finite) > most:
                thinned.setdefault(quantity, []).append(len(finite))
            if len(finite):
                drawn_curve = _drawn(finite, all_logged[number].first_time, most)
                chart.curves.append({"run": number, "split": split, **drawn_curve})
    for quantity, chart in made.items():
        chart.remarks = _remarks(lost.get(quantity, []), thinned.get(quantity, []), most)
    order = list(SECTIONS)
    return sorted(made.values(), key=lambda c: (order.index(c.section), _rank(c.quantity)))


def thin(curve: Curve, most: int) -> tuple[Curve, Curve | None]:
    """(at most `most` points of a finite curve, the means of its stretches); None: all are there.

    The first, the last, the lowest and the highest value are among them.
    """
    import numpy as np

    n = len(curve)
    if n <= most:
        return curve, None
    width = -(-n // (most // 2 - 1))
    starts = np.arange(0, n, width)
    padded = np.pad(curve.values, (0, len(starts) * width - n), "edge").reshape(-1, width)
    lows, highs = padded.argmin(1) + starts, padded.argmax(1) + starts
    kept = np.unique(np.concatenate(([0, n - 1], lows, highs)).clip(max=n - 1))
    counts = np.diff(np.append(starts, n))
    means = np.add.reduceat(curve.values, starts) / counts
    middles = starts + counts // 2
    return curve[kept], Curve(curve.steps[middles], means, curve.times[middles])


def _points_each(curves: int) -> int:
    return min(MOST_POINTS, max(FEWEST_POINTS, POINTS_IN_ALL // max(1, curves)))


def _quantity(metric: str) -> tuple[str, str]:
    """(what is measured, on which split or "")"""
    split, _, rest = metric.partition("/")
    return (rest, split) if split in _SPLITS and rest else (metric, "")


def _section(metric: str) -> str:
    if metric.partition("/")[0] in _SPLITS:
        return "quality"
    return next((s for b, s in _BEGINNINGS.items() if metric.startswith(b)), "training")


def _rank(quantity: str) -> int:
    first = ("loss", "accuracy", "perplexity")
    return first.index(quantity) if quantity in first else len(first)


def _lost(whose: str, curve: Curve, finite: Curve) -> str:
    import numpy as np

    first = int(curve.steps[~(np.abs(curve.values) < LARGEST)][0])
    return (
        f"{whose}: {len(curve) - len(finite):,} of {len(curve):,} values are NaN, infinite or "
        f"beyond 1e100 and not drawn, the first at step {first:,}"
    )


def _remarks(lost: list[str], thinned: list[int], most: int) -> list[str]:
    """What a reader has to know of a chart; `thinned` are the lengths of the thinned curves."""
    remarks = lost[:_MOST_REMARKS]
    if len(lost) > _MOST_REMARKS:
        remarks.append(f"the same holds for {len(lost) - _MOST_REMARKS} more curves")
    if thinned:
        which = "a curve" if len(thinned) == 1 else f"{len(thinned)} curves"
        remarks.append(
            f"{which} of up to {max(thinned):,} values, thinned to at most {most:,} points; the "
            "lowest and the highest of each stretch are drawn"
        )
    return remarks


def _drawn(curve: Curve, first_time: float, most: int) -> dict[str, Any]:
    points, means = thin(curve, most)
    made = _points(points, first_time)
    return made | ({"means": _points(means, first_time)} if means else {})


def _points(curve: Curve, first_time: float) -> dict[str, list[Any]]:
    """Steps, values and seconds since the first row, null where unknown."""
    import numpy as np

    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf, in a journal from elsewhere
        seconds = np.round(curve.times - first_time, 1)
    return {
        "steps": [int(min(step, _LAST_STEP)) for step in curve.steps.tolist()],
        "values": [float(f"{value:.{_DIGITS}g}") for value in curve.values.tolist()],
        "seconds": [s if s == s else None for s in seconds.tolist()],
    }
