# SPDX-License-Identifier: MIT
"""The tables of a sweep as texts, to be read; writing.py writes them, records.py has the numbers.

leaderboard(board).rows[0]          # [Cell("1"), Cell("adamw"), Cell("0.21 ± 0.03"), …]
pivot_table(board, pivot_of(board), metric=0)
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ...runs.compare.metrics import best_of, shown
from .board import Board, Configuration, value_text
from .differences import ALPHA, Difference, Differences
from .pivot import NONE, Pivot


class Cell(NamedTuple):
    """A text; `best` if no other value of the table is better."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Table:
    """`right` are the numbers of the columns that are aligned to the right."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    right: frozenset[int] = frozenset()
    notes: Sequence[str] = field(default_factory=tuple)


def leaderboard(board: Board, most: int | None = None) -> Table:
    """A row for each configuration, at most `most`: parameters, seeds, mean ± std, remarks."""
    metrics = [metric.name for metric in board.sweep.metrics]
    heads = [
        "#",
        *board.names,
        *(f"{name} ({_better(board, i)})" for i, name in enumerate(metrics)),
    ]
    heads += ["seeds", "trials", "remarks"]
    rows = []
    for place, row in enumerate(board.rows[:most], 1):
        best = row is board.best and len(metrics) == 1
        seeds = str(row.n) if row.n == row.seeds else f"{row.n} of {row.seeds}"
        rest = [seeds, _numbers([trial.number for trial in row.trials]), _remarks(board, row)]
        rows.append(
            [
                *map(Cell, [str(place), *(_param(row, name) for name in board.names)]),
                *(Cell(spread(n, row.mean(i), row.std(i)), best) for i, n in enumerate(metrics)),
                *map(Cell, rest),
            ]
        )
    notes = []
    if any(row.seeds > 1 for row in board.rows):
        notes.append("Mean ± sample standard deviation over seeds.")
    if most is not None and len(board.rows) > most:
        notes.append(f"{len(board.rows) - most} more configurations are not shown.")
    right = frozenset({0, *range(1 + len(board.names), len(heads) - 2)})
    return Table("Leaderboard", heads, rows, right, notes)


def pivot_table(board: Board, pivot: Pivot, metric: int) -> Table:
    """One metric of a grid; the best value of each column is marked."""
    name = board.sweep.metrics[metric].name
    lower = board.sweep.metrics[metric].goal == "minimize"
    seeds = Counter(row.n for cells in pivot.cells.values() for row in cells.values() if row.n)
    usual = seeds.most_common(1)[0][0] if seeds else 0
    best: dict[str, frozenset[int]] = {}
    for column in pivot.columns:
        rows = [cells.get(column) for cells in pivot.cells.values()]
        means = [row.mean(metric) if row and row.n and row.feasible else None for row in rows]
        best[column] = best_of(means, lower)
    table = []
    for number, (names, cells) in enumerate(pivot.cells.items()):
        line = [Cell(value) for value in names]
        for column in pivot.columns:
            text = _pivot_cell(name, metric, cells.get(column), usual)
            line.append(Cell(text, number in best[column]))
        table.append(line)
    heads = list(pivot.down)
    heads += [f"{pivot.across}={c}" if c != NONE else c for c in pivot.columns]
    over = f", mean ± sample standard deviation over {usual} seeds" if usual > 1 else ""
    title = f"{name} ({_better(board, metric)}){over}"
    return Table(title, heads, table, frozenset(range(len(pivot.down), len(heads))))


def difference_table(found: Differences, board: Board, metric: int) -> Table:
    """One metric: each configuration minus its baseline, with the tests; says which were made."""
    name = board.sweep.metrics[metric].name
    heads = [*board.names, "difference", "95 % interval", "better", "p (t, Holm)", "p (sign flips)"]
    heads.append("verdict")
    lower = board.sweep.metrics[metric].goal == "minimize"
    rows = []
    for difference in found.rows:
        if difference.metric == metric:
            cells = [Cell(_param(difference.row, parameter)) for parameter in board.names]
            cells += map(Cell, _difference_cells(name, difference, lower))
            rows.append([*cells, Cell(_verdict(difference, lower), difference.outcome.significant)])
    right = frozenset(range(len(board.names), len(heads) - 1))
    title = f"{name} ({_better(board, metric)}): difference from {found.baseline}"
    return Table(title, heads, rows, right, [*_tests(found), *found.notes])


def spread(name: str, mean: float, std: float) -> str:
    """`1.234 ± 0.012`, `97.21 ± 0.35 %`: two digits of the deviation, the mean as far.

    The mean alone where there is no deviation, – without a mean.
    """
    if math.isnan(mean):
        return NONE
    if not std > 0:  # NaN, too
        return shown(name, mean)
    middle, end = rounded(name, [mean, std], std)
    return f"{middle.removesuffix(' %')} ± {end}"


def rounded(name: str, values: Sequence[float], error: float) -> list[str]:
    """Values of a metric with as many places as two digits of `error` have; durations as ever."""
    per_cent = shown(name, 0.5).endswith(" %")
    scale, unit = (100, " %") if per_cent else (1, "")
    finite = all(map(math.isfinite, (*values, error))) and error > 0
    places = 1 - math.floor(math.log10(scale * error)) if finite else -1
    if not 0 <= places <= 8 or not (per_cent or shown(name, 0.5) == "0.5"):
        return [shown(name, value) for value in values]
    return [f"{scale * value:.{places}f}{unit}" for value in values]


def _better(board: Board, metric: int) -> str:
    return "low is better" if board.sweep.metrics[metric].goal == "minimize" else "high is better"


def _param(row: Configuration, name: str) -> str:
    return value_text(row.params[name]) if name in row.params else NONE


def _numbers(numbers: Sequence[int]) -> str:
    few = " ".join(map(str, sorted(numbers)[:6]))
    return few + (" …" if len(numbers) > 6 else "")


def _remarks(board: Board, row: Configuration) -> str:
    said = []
    if row.key in board.front:
        said.append("Pareto front")
    if not row.feasible:
        broken = sum(not trial.feasible for trial in row.trials)
        said.append("infeasible" if broken == len(row.trials) else f"{broken} infeasible")
    said += [f"{count} {state}" for state, count in row.missing.items()]
    if row.reused:
        said.append(f"{row.reused} reused")
    return ", ".join(said)


def _pivot_cell(name: str, metric: int, row: Configuration | None, usual: int) -> str:
    if row is None:
        return NONE
    if not row.n:
        return next(iter(row.missing), NONE)
    said = [f"n = {row.n}"] if row.n != usual else []
    said += ["infeasible"] if not row.feasible else []
    text = spread(name, row.mean(metric), row.std(metric))
    return f"{text} ({', '.join(said)})" if said else text


def _difference_cells(name: str, found: Difference, lower: bool) -> list[str]:
    """Difference, interval, on how many seeds it is better, both p-values."""
    outcome, n = found.outcome, len(found.seeds)
    low, high = outcome.interval(1 - ALPHA)
    numbers = rounded(name, [outcome.difference, low, high], outcome.error)
    middle, *ends = [text if text.startswith("-") else f"+{text}" for text in numbers]
    better = found.lower if lower else found.higher
    return [
        middle if n else NONE,
        f"[{ends[0]}, {ends[1]}]" if outcome.test else NONE,
        f"{better} of {n}",
        p_text(outcome.p_holm),
        p_text(found.p_flip),
    ]


def _verdict(found: Difference, lower: bool) -> str:
    outcome = found.outcome
    if not outcome.test:
        return f"not tested: {outcome.why_not}"
    if not outcome.significant:
        return "no difference shown"
    return "better" if (outcome.difference < 0) == lower else "worse"


def p_text(p: float) -> str:
    """Three digits; – where there is none."""
    if math.isnan(p):
        return NONE
    return f"{p:.3g}" if p >= 1e-4 else f"{p:.0e}"


def _tests(found: Differences) -> list[str]:
    made = len(found.rows)
    flipped = [len(d.seeds) for d in found.rows if not math.isnan(d.p_flip)]
    notes = [
        f"{made} comparison{'' if made == 1 else 's'}, {found.tested} tested, paired by seed at "
        "equal other parameters. The interval is for each alone, by Student's t.",
        f"p (t, Holm): paired t-test, two-sided, corrected for {found.tested} tests by Holm's "
        f"method. better or worse: below {ALPHA:g}.",
    ]
    if flipped:
        least = 2 / 2 ** max(flipped)
        notes.append(
            "p (sign flips): exact sign-flip permutation test, two-sided, not corrected; with "
            f"{max(flipped)} seeds it cannot be below {least:.3g}."
        )
    return notes
