# SPDX-License-Identifier: MIT
"""The report of a sweep as one HTML file (lib/runs/report/html.py), by the template sweep.html.

write_page(render(board, differences(board, "arm=dense")), Path("report.html"))
"""

import math
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from ... import text
from ...runs.redact import redact
from ...runs.report.html import render_page
from ..trials import Trial
from .board import COMPLETE, FAILED, PRUNED, Board, said
from .differences import ALPHA, Difference, Differences
from .figures import Figure, figures_of
from .importance import importances
from .pivot import pivot_of
from .tables import (
    Cell,
    Table,
    difference_table,
    leaderboard,
    pivot_table,
    spread,
)

_HERE = Path(__file__).parent
_MOST_ROWS = 500  # of trials
_MOST_CONFIGURATIONS = 50
_MOST_BARS = 30
_SECTIONS = {
    "pareto": "Pareto front",
    "parallel": "Parallel coordinates",
    "importance": "Importance",
    "slices": "Slices",
    "contours": "Pairs of parameters",
    "history": "History",
}


def render(board: Board, found: Differences | None = None) -> str:
    """The HTML; `found` are the differences from a baseline, if one was asked for."""
    important, pivot = importances(board), pivot_of(board)
    metrics = range(len(board.sweep.metrics))
    figures = figures_of(board, important)
    figures += [_forest(board, found, metric) for metric in metrics if found and found.rows]
    high = board.sweep.metrics[0].goal == "maximize"
    return render_page(
        _HERE / "sweep.html",
        _HERE / "sweep.js",
        [{**asdict(figure), "high_is_better": high} for figure in figures],
        name=board.sweep.name,
        about=list(_about(board, found)),
        leaderboard=leaderboard(board, _MOST_CONFIGURATIONS),
        pivots=[pivot_table(board, pivot, metric) for metric in metrics] if pivot else [],
        differences=[difference_table(found, board, metric) for metric in metrics] if found else [],
        figures=figures,
        sections={
            key: title
            for key, title in _SECTIONS.items()
            if any(figure.section == key for figure in figures)
        },
        why_no_importance=important.why_not,
        incomplete=_incomplete(board),
        trials=_trials(board),
        description=_description(board),
    )


def _about(board: Board, found: Differences | None) -> Iterator[tuple[str, str]]:
    """What the sweep is, and how far it has come."""
    sweep = board.sweep
    if sweep.description:
        yield "description", sweep.description
    yield "method", sweep.method
    for metric in sweep.metrics:
        yield "metric", f"{metric.name} at the {metric.at} evaluation, {metric.goal}d"
    yield "configurations", f"{len(board.rows):,}"
    yield "trials", counts(board)
    if sweep.constraints:
        yield "constraints", ", ".join(map(str, sweep.constraints))
    if sweep.pruner:
        yield "pruner", sweep.pruner.name
    times = (
        [t.started for t in board.trials if t.started],
        [t.ended for t in board.trials if t.ended],
    )
    if times[0] and times[1]:
        yield "from, to", f"{_when(min(times[0]))}, {_when(max(times[1]))}"
    trained = [_seconds(trial) for trial in board.trials]
    yield "training, all trials", text.duration(float(sum(trained)))
    if board.best and len(sweep.metrics) == 1:
        value = spread(sweep.metrics[0].name, board.best.mean(), board.best.std())
        yield "best", f"{board.best.label}: {value}"
    if found:
        yield "baseline", found.baseline


def counts(board: Board) -> str:
    """`30 complete, 2 of them reused, 1 failed`"""
    parts = [f"{count:,} {state}" for state, count in board.counts.most_common()]
    reused = sum(row.reused for row in board.rows)
    infeasible = sum(not trial.feasible for row in board.rows for trial in row.trials)
    parts += [f"{reused:,} of them reused"] if reused else []
    parts += [f"{infeasible:,} infeasible"] if infeasible else []
    return ", ".join(parts) or "none"


def _forest(board: Board, found: Differences, metric: int) -> Figure:
    """Each difference with its confidence interval, around zero."""
    rows = [d for d in found.rows if d.metric == metric and math.isfinite(d.outcome.difference)]
    count = len(rows)
    rows = rows[:_MOST_BARS]
    reach = [_reach(difference) for difference in rows]
    points = {
        "type": "scatter",
        "mode": "markers",
        "x": [difference.outcome.difference for difference in rows],
        "y": [
            difference.row.label.replace("&", "&amp;").replace("<", "&lt;") for difference in rows
        ],
        "error_x": {"type": "data", "array": reach},
    }
    name = board.sweep.metrics[metric].name
    layout = {
        "xaxis": {"title": {"text": f"{name}, difference from {found.baseline}"}, "zeroline": True},
        "yaxis": {"type": "category", "autorange": "reversed"},
    }
    note = f"Bars are {100 * (1 - ALPHA):g} % intervals, each for itself."
    if count > len(rows):
        note += f" The first {len(rows)} of {count:,} are drawn."
    return Figure("differences", name, [points], layout, note, wide=True)


def _reach(difference: Difference) -> float:
    low, high = difference.outcome.interval(1 - ALPHA)
    return 0.0 if math.isnan(low) else (high - low) / 2


def _incomplete(board: Board) -> Table:
    """What failed or was pruned, with the reason; attempts that a later one made good, too."""
    rows = [
        [str(t.number), t.state, said(t.params), _cell(t.seed), _reason(t), t.run]
        for t in board.trials
        if t.state in (FAILED, PRUNED)
    ]
    heads = ["trial", "state", "configuration", "seed", "reason", "run"]
    return _table("Trials that failed or were pruned", heads, rows)


def _trials(board: Board) -> Table:
    names = [metric.name for metric in board.sweep.metrics]
    rows = [
        [
            str(t.number),
            t.state if t.feasible else f"{t.state}, infeasible",
            said(t.params),
            _cell(t.seed),
            *(f"{v:.6g}" for v in t.values or [math.nan] * len(names)),
            text.duration(_seconds(t)) if t.ended else "",
            t.run + (" (reused)" if t.reused else ""),
        ]
        for t in board.trials
    ]
    heads = ["trial", "state", "configuration", "seed", *names, "duration", "run"]
    return _table("Trials", heads, rows)


def _table(title: str, heads: list[str], rows: list[list[str]]) -> Table:
    notes = [f"{len(rows) - _MOST_ROWS:,} more are not shown."] if len(rows) > _MOST_ROWS else []
    shown = [[Cell(text.one_line(cell)) for cell in row] for row in rows[:_MOST_ROWS]]
    return Table(title, heads, shown, frozenset({0}), notes)


def _reason(trial: Trial) -> str:
    more = " (tried again)" if trial.superseded else ""
    return redact(trial.reason)[:2000] + more


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def _seconds(trial: Trial) -> float:
    """How long it was in progress; 0 of a reused one, which was not trained here."""
    if trial.state != COMPLETE and not trial.ended:
        return 0.0
    ends = trial.started, trial.ended
    return 0.0 if None in ends or trial.reused else max(0.0, ends[1] - ends[0])


def _when(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M}"


def _description(board: Board) -> str:
    """The sweep in the form of its file."""
    import yaml

    plain = {key: value for key, value in board.sweep.plain().items() if value not in ({}, [], "")}
    written = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100)
    defconfig = "".join(f"  {line}\n" for line in board.sweep.defconfig_text.splitlines())
    return redact(text.printable(f"{written}defconfig: |\n{defconfig}"))
