# SPDX-License-Identifier: MIT
"""What the page of a sweep draws: plotly's data and layout as plain mappings; sweep.js paints.

    figures_of(board, importances)[0].data

Each is left out where it would say nothing: a contour needs two parameters, the Pareto front two
metrics. Parallel coordinates are lines of an ordinary chart: plotly's own need WebGL, which the
policy of the page and many browsers without a screen do not allow.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from .board import COMPLETE, Board, Configuration, value_text
from .importance import Importances
from .scale import Scale, scales

_MOST_LINES = 300  # of parallel coordinates: the best
_SHADES = 12  # colours from the best to the worst
_MOST_CONTOURS = 6
_MOST_TICKS = 6
_GRID = 40  # points along each axis of an interpolated contour
_FEWEST_SCATTERED = 6
_MOST_POINTS = 2000
_HOVER = "%{text}<extra></extra>"


@dataclass(frozen=True)
class Figure:
    """`section` is where on the page; `note` is what a reader has to know."""

    section: str
    title: str
    data: list[dict[str, Any]]
    layout: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    wide: bool = False


def figures_of(board: Board, importances: Importances) -> list[Figure]:
    """All figures in the order of the page."""
    rows = [row for row in board.rows if row.n and math.isfinite(row.mean())][:_MOST_POINTS]
    if not rows:
        return []
    found = scales(board, [row.params for row in board.rows if row.n], board.names)
    varied = {name: scale for name, scale in found.items() if len(scale.values) > 1}
    figures = [] if len(board.sweep.metrics) < 2 else [_pareto(board, rows)]
    figures += [_history(board)]
    if importances.shares:
        figures.append(_importances(importances))
    if varied:
        figures.append(_parallel(board, rows, varied))
    figures += [_slice(board, rows, scale) for scale in varied.values()]
    order = [name for name in importances.shares if name in varied]
    order += [name for name in varied if name not in order]
    for x, y in list(combinations(order, 2))[:_MOST_CONTOURS]:
        figures += filter(None, [_contour(board, rows, varied[x], varied[y])])
    return figures


def _pareto(board: Board, rows: Sequence[Configuration]) -> Figure:
    """Means of the two metrics; the front as steps, behind which everything is dominated."""
    front = sorted((row for row in rows if row.key in board.front), key=lambda row: row.mean(0))
    rest = [row for row in rows if row.key not in board.front]
    first, second = board.sweep.metrics
    steps = "hv" if second.goal == "minimize" else "vh"
    if first.goal == "maximize":
        steps = "vh" if second.goal == "minimize" else "hv"
    data = [
        _points(
            [r.mean(0) for r in rest], [r.mean(1) for r in rest], _texts(board, rest), "others"
        ),
        _points(
            [r.mean(0) for r in front],
            [r.mean(1) for r in front],
            _texts(board, front),
            "Pareto front",
            mode="lines+markers",
            line={"shape": steps, "dash": "dot", "width": 1},
            marker={"size": 10},
        ),
    ]
    layout = {"xaxis": {"title": {"text": first.name}}, "yaxis": {"title": {"text": second.name}}}
    return Figure("pareto", "Pareto front", data, layout, wide=True)


def _history(board: Board) -> Figure:
    """Each trial by its number, and the best feasible value until then."""
    done = [t for t in board.trials if t.state == COMPLETE and math.isfinite(t.values[0])]
    done = sorted(done, key=lambda trial: trial.number)[-_MOST_POINTS:]
    metric = board.sweep.metrics[0]
    data = []
    for name, symbol, some in (
        ("trials", "circle", [t for t in done if t.feasible]),
        ("infeasible", "x", [t for t in done if not t.feasible]),
    ):
        texts = [
            f"trial {t.number}<br>{'<br>'.join(map(_plain, _lines(t.params, seed=t.seed)))}"
            for t in some
        ]
        numbers = [t.number for t in some]
        if some:
            marker = {"symbol": symbol}
            values = [t.values[0] for t in some]
            data.append(_points(numbers, values, texts, name, marker=marker))
    best: list[float] = []
    feasible = [trial for trial in done if trial.feasible]
    choose = min if metric.goal == "minimize" else max
    for trial in feasible:
        best.append(choose(best[-1], trial.values[0]) if best else trial.values[0])
    if len(board.sweep.metrics) == 1 and best:
        line = {"shape": "hv", "width": 2}
        numbers = [trial.number for trial in feasible]
        data.append(
            {"type": "scatter", "mode": "lines", "name": "best so far", "line": line}
            | {"x": numbers, "y": best}
        )
    layout = {"xaxis": {"title": {"text": "trial"}}, "yaxis": {"title": {"text": metric.name}}}
    return Figure("history", f"History of {metric.name}", data, layout, wide=True)


def _importances(found: Importances) -> Figure:
    names, shares = list(found.shares), list(found.shares.values())
    bars = {"type": "bar", "orientation": "h", "x": shares[::-1], "y": names[::-1]}
    note = f"{found.evaluator} of Optuna, {found.trials} trials; the shares add up to 1."
    if "seed" in found.shares:
        note += " What is less important than the seed is lost in the noise."
    if found.left_out:
        note += f" Not in every trial, and left out: {', '.join(found.left_out)}."
    layout = {
        "xaxis": {"title": {"text": "share of the spread"}, "rangemode": "tozero"},
        "yaxis": {"type": "category"},
    }
    return Figure("importance", "Importance of the parameters", [bars], layout, note)


def _parallel(board: Board, rows: Sequence[Configuration], varied: Mapping[str, Scale]) -> Figure:
    """A line for each configuration through its place on each axis; bright lines are the best."""
    metric = board.sweep.metrics[0]
    drawn = rows[:_MOST_LINES]
    means = sorted(row.mean() for row in drawn)
    value = Scale(metric.name, tuple(dict.fromkeys(means)), True, False)
    columns = [*varied, metric.name]
    shades = _shaded(drawn, metric.goal == "minimize")
    data = []
    for shade in sorted(shades, reverse=True):  # the best on top
        x: list[float | None] = []
        y: list[float | None] = []
        texts: list[str] = []
        for row in shades[shade]:
            for i, name in enumerate(columns):
                where = value.place(row.mean()) if name == metric.name else None
                if name in varied and name in row.params:
                    where = varied[name].place(row.params[name])
                x.append(i)
                y.append(where)
                texts.append(_text(board, row))
            x.append(None), y.append(None), texts.append("")
        line = _points(x, y, texts, "", mode="lines+markers", line={"width": 1.5})
        data.append(line | {"shade": shade / max(1, _SHADES - 1), "connectgaps": False})
    marks = [
        mark
        for i, name in enumerate(columns)
        for mark in _ticks(i, value if name == metric.name else varied[name])
    ]
    layout = {
        "annotations": marks,
        "xaxis": {"tickvals": list(range(len(columns))), "ticktext": list(map(_plain, columns))}
        | {"range": [-0.3, len(columns) - 0.7]},
        "yaxis": {"visible": False, "range": [-0.06, 1.06]},
        "showlegend": False,
    }
    note = "Dark lines are the best. A line ends where a parameter has no effect."
    if len(rows) > len(drawn):
        note += f" The best {len(drawn):,} of {len(rows):,} configurations are drawn."
    return Figure("parallel", "Parallel coordinates", data, layout, note, wide=True)


def _shaded(rows: Sequence[Configuration], lower: bool) -> dict[int, list[Configuration]]:
    """The rows by shade, 0 for the best; by rank, since one diverged run may be far off."""
    ordered = sorted(rows, key=lambda row: row.mean() if lower else -row.mean())
    shades: dict[int, list[Configuration]] = {}
    for rank, row in enumerate(ordered):
        shades.setdefault(rank * _SHADES // len(ordered), []).append(row)
    return shades


def _ticks(column: int, scale: Scale) -> list[dict[str, Any]]:
    """The names of some values beside their places on an axis."""
    values = list(scale.values)
    if len(values) > _MOST_TICKS:
        even = (i / (_MOST_TICKS - 1) for i in range(_MOST_TICKS))
        values = [min(values, key=lambda v: abs(scale.place(v) - at)) for at in even]
    common = {"x": column, "xanchor": "left", "xshift": 6, "showarrow": False}
    return [
        {**common, "y": scale.place(value), "text": _plain(_short(value))}
        for value in dict.fromkeys(values)
    ]


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else value_text(value)


def _slice(board: Board, rows: Sequence[Configuration], scale: Scale) -> Figure:
    """The metric against one parameter, whatever the others are."""
    metric = board.sweep.metrics[0].name
    there = [row for row in rows if scale.name in row.params]
    x = [scale.typed(row.params[scale.name]) for row in there]
    deviations = [row.std() for row in there]
    points = _points(x, [row.mean() for row in there], _texts(board, there), "")
    points["marker"] = {"opacity": 0.8}
    if any(map(math.isfinite, deviations)):
        array = [deviation if math.isfinite(deviation) else 0 for deviation in deviations]
        points["error_y"] = {"type": "data", "array": array, "thickness": 1, "width": 2}
    layout = {"xaxis": _axis(scale), "yaxis": {"title": {"text": metric}}, "showlegend": False}
    return Figure("slices", scale.name, [points], layout)


def _contour(board: Board, rows: Sequence[Configuration], x: Scale, y: Scale) -> Figure | None:
    """The metric over two parameters: of a grid its means in squares, else interpolated."""
    there = [row for row in rows if x.name in row.params and y.name in row.params]
    title = f"{x.name} and {y.name}"
    layout = {"xaxis": _axis(x), "yaxis": _axis(y), "showlegend": False}
    numeric = x.numeric and y.numeric
    if numeric and len(there) >= _FEWEST_SCATTERED and len(x.values) * len(y.values) > len(there):
        surface = _interpolated(there, x, y)
        return surface and Figure(
            "contours",
            title,
            surface,
            layout,
            "Interpolated linearly, whatever the other parameters are.",
        )
    cells: dict[tuple[Any, Any], list[float]] = {}
    for row in there:
        place = x.typed(row.params[x.name]), y.typed(row.params[y.name])
        cells.setdefault(place, []).append(row.mean())
    if len(cells) < 2 or 3 * len(cells) < 2 * len(x.values) * len(y.values):
        return None  # mostly empty: numbers drawn at random against names
    z = [
        [sum(c) / len(c) if (c := cells.get((a, b))) else None for a in x.values] for b in y.values
    ]
    names = [[value_text(value) for value in scale.values] for scale in (x, y)]
    squares = {"type": "heatmap", "x": names[0], "y": names[1], "z": z, "hoverongaps": False}
    squares |= {"hovertemplate": "%{x}, %{y}: %{z:.5g}<extra></extra>"}
    for axis in ("xaxis", "yaxis"):
        layout[axis] = {"title": layout[axis]["title"], "type": "category"}
    note = "Means over the other parameters."
    return Figure("contours", title, [squares], layout, note)


def _interpolated(rows: Sequence[Configuration], x: Scale, y: Scale) -> list[dict[str, Any]] | None:
    """A contour through the points, and these; None where they lie on a line."""
    import numpy as np
    from scipy.interpolate import griddata
    from scipy.spatial import QhullError

    places = np.array([[x.place(row.params[x.name]), y.place(row.params[y.name])] for row in rows])
    even = np.linspace(0, 1, _GRID)
    try:
        z = griddata(places, [row.mean() for row in rows], tuple(np.meshgrid(even, even)))
    except QhullError:
        return None
    ends = [(scale.values[0], scale.values[-1]) for scale in (x, y)]
    axes = [
        (np.geomspace if scale.log else np.linspace)(low, high, _GRID).tolist()
        for scale, (low, high) in zip((x, y), ends, strict=True)
    ]
    rounded = [
        [float(f"{v:.5g}") if math.isfinite(v) else None for v in line] for line in z.tolist()
    ]
    surface = {"type": "contour", "x": axes[0], "y": axes[1], "z": rounded, "hoverinfo": "skip"}
    xs = [x.typed(row.params[x.name]) for row in rows]
    ys = [y.typed(row.params[y.name]) for row in rows]
    texts = [f"{_plain(row.label)}<br>{row.mean():.5g}" for row in rows]
    return [surface, _points(xs, ys, texts, "", marker={"size": 5, "opacity": 0.6})]


def _axis(scale: Scale) -> dict[str, Any]:
    kind = ("log" if scale.log else "linear") if scale.numeric else "category"
    return {"title": {"text": _plain(scale.name)}, "type": kind, "exponentformat": "power"}


def _points(x: Sequence, y: Sequence, texts: Sequence[str], name: str, **more) -> dict[str, Any]:
    made = {"type": "scatter", "mode": "markers", "x": list(x), "y": list(y), "name": name}
    return made | {"text": list(texts), "hovertemplate": _HOVER} | more


def _texts(board: Board, rows: Sequence[Configuration]) -> list[str]:
    return [_text(board, row) for row in rows]


def _text(board: Board, row: Configuration) -> str:
    """What a point says when the pointer is on it."""
    metrics = [f"{metric.name} {row.mean(i):.5g}" for i, metric in enumerate(board.sweep.metrics)]
    lines = [*_lines(row.params), *metrics, f"n = {row.n}"]
    return "<br>".join(map(_plain, lines))


def _lines(params: Mapping[str, Any], **more: Any) -> list[str]:
    return [f"{name}={value_text(value)}" for name, value in {**params, **more}.items()]


def _plain(text: Any) -> str:
    """Plotly reads texts as markup."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;")
