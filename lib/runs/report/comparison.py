# SPDX-License-Identifier: MIT
"""What a report says of several runs together: lib/runs/compare, as tables for the page.

    tables, notes = comparison(runs)
    tables[0].rows[0]       # Row("val/loss", [Cell("0.21", best=True), Cell("0.25", best=False)])

A table has a column for each run, in the order of the report.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lib import text
from lib.runs.compare.comparison import Comparison, compare
from lib.runs.compare.differences import Differences, spelt
from lib.runs.compare.metrics import Metric, shown
from lib.runs.redact import redact, redact_tree
from lib.runs.stored import StoredRun


class Cell(NamedTuple):
    """A value of one run; `best` if no other one is better."""

    text: str
    best: bool = False


class Row(NamedTuple):
    """A metric, a setting or another fact of all runs."""

    name: str
    cells: list[Cell]


@dataclass
class Table:
    """Rows under a title; `heads` are the names of the runs that can be compared."""

    title: str
    heads: list[str]
    rows: list[Row]


def comparison(runs: Sequence[StoredRun]) -> tuple[list[Table], list[str]]:
    """The tables that are not empty, and notes on what could not be compared."""
    readable = [run for run in runs if run.status != "unreadable"]
    if len(readable) < 2:
        return [], ["Fewer than two of these runs can be read: there is nothing to compare."]
    found = compare(runs)
    heads = [text.one_line(run.name) for run in found.runs]
    about = [
        _row("status", [run.status for run in found.runs]),
        _row("what is special", found.labels),
        _row("seed", found.seeds),
        _row("duration", [text.duration(run.metadata.get("duration_s")) for run in found.runs]),
        _row("best step", [run.best_step for run in found.runs]),
    ]
    parts = {
        "Runs": about,
        "Metrics": [_metric(metric) for metric in found.metrics],
        "Settings that change the numbers": _rows(found.science),
        "Other settings": _rows(found.others),
        "Data": _rows(found.data),
        "Machine and packages": _rows(found.machine),
        "Code": _rows(found.code.fields),
    }
    tables = [Table(title, heads, rows) for title, rows in parts.items() if rows]
    return tables, _notes(found)


def _metric(metric: Metric) -> Row:
    cells = [
        Cell("–" if value is None else shown(metric.name, value), number in metric.best)
        for number, value in enumerate(metric.values)
    ]
    better = {True: "lower is better", False: "higher is better", None: ""}[metric.lower]
    name = text.one_line(metric.name)
    return Row(f"{name} ({better})" if better else name, cells)


def _rows(differences: Differences) -> list[Row]:
    return [_row(name, values) for name, values in redact_tree(differences).items()]


def _row(name: str, values: Sequence[Any]) -> Row:
    return Row(text.one_line(name), [Cell(redact(text.one_line(spelt(v)))) for v in values])


def _notes(found: Comparison) -> list[str]:
    notes = [text.one_line(note) for note in found.notes]
    for between in found.code.between:
        notes.append(
            f"From commit {between.old} to {between.new}: {between.ahead} more commits, "
            f"{between.behind} fewer; {'; '.join(map(text.one_line, between.stat))}"
        )
    if found.code.not_here:
        notes.append(f"Not in the checkout of the report: {', '.join(found.code.not_here)}.")
    return [redact(note) for note in notes]
