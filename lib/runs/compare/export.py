# SPDX-License-Identifier: MIT
"""Comparisons and leaderboards as JSON and CSV.

A number that is not finite is the text NaN, Infinity or -Infinity, as in the journal; what a run
does not have is null, in CSV empty. In CSV there is a line for each run or row.
"""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from .comparison import Comparison
from .differences import Differences, Missing, spelt
from .leaderboard import Leaderboard, Row


def as_json(value: Any) -> str:
    """JSON in UTF-8 with an indent."""
    return json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)


def comparison_fields(found: Comparison) -> dict[str, Any]:
    """Everything in `found`; lists have a value for each of `runs`."""
    return {
        "runs": [run.name for run in found.runs],
        "labels": found.labels,
        "status": [run.status for run in found.runs],
        "seed": found.seeds,
        "settings": found.science,
        "other_settings": found.others,
        "metrics": {
            row.name: {
                "values": row.values,
                "lower_is_better": row.lower,
                "best": [found.runs[i].name for i in sorted(row.best)],
            }
            for row in found.metrics
        },
        "data": found.data,
        "environment": found.machine,
        "code": {
            "fields": found.code.fields,
            "between": [vars(between) for between in found.code.between],
            "not_here": found.code.not_here,
        },
        "notes": found.notes,
    }


def comparison_csv(found: Comparison) -> str:
    """A line for each run: name, status, seed, what differs, the metrics."""
    parts: list[Differences] = [found.science, found.others, found.data, found.machine]
    parts.append(found.code.fields)
    columns = {name: values for part in parts for name, values in part.items()}
    columns |= {row.name: row.values for row in found.metrics}
    head = ["run", "status", "seed", *columns]
    lines = [
        [run.name, run.status, found.seeds[i], *(values[i] for values in columns.values())]
        for i, run in enumerate(found.runs)
    ]
    return csv_text([head, *lines])


def leaderboard_fields(board: Leaderboard) -> dict[str, Any]:
    """Everything on the board; `rows` in order."""
    return {
        "by": board.by,
        "lower_is_better": board.lower,
        "group": list(board.group) or "all settings but the seed",
        "alpha": board.alpha,
        "correction": "Holm",
        "tested": board.tested,
        "total": board.total,
        "left_out": dict(board.left_out),
        "warnings": board.warnings,
        "rows": [{"rank": i, **_row(row, board)} for i, row in enumerate(board.rows, 1)],
    }


def leaderboard_csv(board: Leaderboard) -> str:
    """A line for each row; what has several parts is joined by spaces."""
    rows = leaderboard_fields(board)["rows"]
    for row in rows:
        row["runs"] = " ".join(row["runs"])
        row["values"] = " ".join(f"{seed}:{value!r}" for seed, value in row["values"].items())
        row["warnings"] = "; ".join(row["warnings"])
    return csv_text([list(rows[0]), *(list(row.values()) for row in rows)])


def _row(row: Row, board: Leaderboard) -> dict[str, Any]:
    outcome = row.outcome
    low, high = outcome.interval(1 - board.alpha) if outcome else (math.nan, math.nan)
    return {
        "label": row.label,
        "n": row.n,
        "mean": row.mean,
        "std": _or_none(row.std),
        "low": _or_none(row.low),
        "high": _or_none(row.high),
        "best": row.best,
        "worst": row.worst,
        "difference": outcome and outcome.difference,
        "difference_low": _or_none(low),
        "difference_high": _or_none(high),
        "test": outcome and (outcome.test or f"not tested: {outcome.why_not}"),
        "statistic": outcome and _or_none(outcome.statistic),
        "df": outcome and _or_none(outcome.df),
        "p": outcome and _or_none(outcome.p),
        "p_holm": outcome and _or_none(outcome.p_holm),
        "significant": outcome.significant if outcome and outcome.test else None,
        "values": {spelt(seed): value for seed, value in row.values.items()},
        "runs": [run.name for run in row.runs],
        "warnings": row.warnings,
    }


def _or_none(value: float) -> float | None:
    """There is no such number for n = 1."""
    return None if math.isnan(value) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Missing):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def csv_text(lines: Sequence[Sequence[Any]]) -> str:
    """Lines of cells; numbers as `as_json` has them."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for line in lines:
        writer.writerow([_plain(cell) for cell in line])
    return out.getvalue()
