# SPDX-License-Identifier: MIT
"""What a report says of several runs together: lib/runs/compare, as tables for the page.

    compared = comparison(runs)
    compared.tables[1].rows[0]  # Row("val/loss …", [Cell("0.21", best=True), Cell("0.25")])

A table has a column for each run, in the order of the report.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ... import text
from ..compare.code import Between
from ..compare.comparison import Comparison, compare
from ..compare.differences import Differences, spelt
from ..compare.metrics import Metric, shown
from ..redact import redact, redact_tree
from ..stored import StoredRun


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


@dataclass
class Compared:
    """Tables that are not empty, notes on what could not be compared, and between commits what
    git says of them: (a sentence, the changed files).
    """

    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    commits: list[tuple[str, str]] = field(default_factory=list)


def comparison(runs: Sequence[StoredRun]) -> Compared:
    """The comparison of the runs that can be read; of fewer than two, a note."""
    readable = [run for run in runs if run.status != "unreadable"]
    if len(readable) < 2:
        return Compared(notes=["Fewer than two of the runs can be read: nothing is compared."])
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
    return Compared(tables, _notes(found), [_commits(between) for between in found.code.between])


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
    if found.code.not_here:
        notes.append(f"The checkout lacks these commits: {', '.join(found.code.not_here)}")
    return [redact(note) for note in notes]


def _commits(between: Between) -> tuple[str, str]:
    counts = f"{between.ahead} more and {between.behind} fewer commits"
    title = f"From {between.old} to {between.new}: {counts}"
    return title, redact(text.printable("\n".join(between.stat)))
