# SPDX-License-Identifier: MIT
"""The tables of a sweep with all digits, for CSV: lines of cells under a heading.

csv_text(leaderboard_records(board))
"""

import math
from collections.abc import Mapping
from typing import Any

from ...runs.compare.differences import ABSENT
from .board import Board, Configuration
from .differences import ALPHA, Differences
from .pivot import NONE, Pivot

Lines = list[list[Any]]


def leaderboard_records(board: Board) -> Lines:
    """A line for each configuration: parameters, and of each metric mean, std and all values."""
    lines = []
    for place, row in enumerate(board.rows, 1):
        line: dict[str, Any] = {"place": place, **_params(board, row)}
        for i, metric in enumerate(board.sweep.metrics):
            line |= _numbers(metric.name, row, i)
            values = row.sample(i).items()
            line[f"{metric.name} values"] = " ".join(f"{seed}:{value!r}" for seed, value in values)
        line |= {"n": row.n, "seeds": row.seeds, "feasible": row.feasible, "reused": row.reused}
        line["missing"] = " ".join(f"{state}:{count}" for state, count in row.missing.items())
        line["pareto front"] = row.key in board.front if len(board.sweep.metrics) > 1 else ABSENT
        line["trials"] = " ".join(str(trial.number) for trial in row.trials)
        line["runs"] = " ".join(trial.run for trial in row.trials if trial.run)
        lines.append(line)
    return _lines(lines)


def pivot_records(board: Board, pivot: Pivot) -> Lines:
    """A line for each row: for each column and metric mean, std and n."""
    lines = []
    for cells in pivot.cells.values():
        first = next(iter(cells.values()))
        line = {name: first.params.get(name, ABSENT) for name in pivot.down}
        for column in pivot.columns:
            row = cells.get(column)
            where = "" if column == NONE else f" {pivot.across}={column}"
            for i, metric in enumerate(board.sweep.metrics):
                line |= _numbers(f"{metric.name}{where}", row, i)
            line[f"n{where}"] = row.n if row else 0
        lines.append(line)
    return _lines(lines)


def difference_records(board: Board, found: Differences) -> Lines:
    """A line for each comparison."""
    lines = []
    for difference in found.rows:
        outcome = difference.outcome
        low, high = outcome.interval(1 - ALPHA)
        line = _params(board, difference.row)
        line |= {
            "baseline": difference.baseline.label,
            "metric": board.sweep.metrics[difference.metric].name,
            "n": len(difference.seeds),
            "difference": _number(outcome.difference),
            f"low {1 - ALPHA:g}": _number(low),
            f"high {1 - ALPHA:g}": _number(high),
            "test": outcome.test or f"not tested: {outcome.why_not}",
            "t": _number(outcome.statistic),
            "df": _number(outcome.df),
            "p": _number(outcome.p),
            "p holm": _number(outcome.p_holm),
            "p sign flips": _number(difference.p_flip),
            "tests": found.tested,
            "differences": " ".join(
                f"{seed}:{value!r}"
                for seed, value in zip(difference.seeds, difference.pairs, strict=True)
            ),
        }
        lines.append(line)
    return _lines(lines)


def _params(board: Board, row: Configuration) -> dict[str, Any]:
    return {name: row.params.get(name, ABSENT) for name in board.names}


def _numbers(name: str, row: Configuration | None, metric: int) -> dict[str, Any]:
    if row is None or not row.n:
        return {f"{name} mean": ABSENT, f"{name} std": ABSENT}
    return {f"{name} mean": row.mean(metric), f"{name} std": _number(row.std(metric))}


def _number(value: float) -> Any:
    """ABSENT for what was not computed."""
    return ABSENT if math.isnan(value) else value


def _lines(records: list[Mapping[str, Any]]) -> Lines:
    heads = list(records[0]) if records else []
    return [heads, *([record[head] for head in heads] for record in records)]
