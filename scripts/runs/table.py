# SPDX-License-Identifier: MIT
"""List the training runs, newest last: all, or those for which WHERE holds.

    make runs
    make runs WHERE="optimizer=adamw and val/loss<3" SORT=val/loss LIMIT=20
    make runs COLS="name val/loss val/loss:min LEARNING_RATE" FORMAT=csv

    WHERE   comparisons with = != < <= > >= ~ (a pattern) and !~, joined by and, or, not, ( )
    SORT    names, the most important first; -name for the largest first
    LIMIT   at most so many: the first of SORT, without it the newest
    COLS    names; the default is a table of the most important
    FORMAT  table, or json and csv: complete, with plain numbers and ISO times

A name is that of a field (name, status, model, started, …), of a metric, with :last, :min, :max or
:mean if need be, or of a setting in capitals; docs/runs.md lists the fields. A run whose process is
gone is marked interrupted.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import math
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from lib import text
from lib.errors import BadUse
from lib.runs.index.catalog import open_catalog
from lib.runs.open import CatalogNames, limited
from lib.runs.query.fields import FIELDS
from lib.runs.query.select import Column, Names, select
from lib.runs.stored_run import StoredRun
from scripts.common import output_dir, parser

COLUMNS = "name model optimizer status val/loss val/accuracy best_epoch device precision duration"
COLUMNS += " age size"
FORMATS = ("table", "json", "csv")
_LEFT = ("text", "list", "flag", "time")  # aligned to the left


def chosen_columns(names: Names, given: str, every: bool) -> list[Column]:
    """The columns `given`; without it the usual ones, or `every` field and metric.

    Raises BadUse for a name that no run has.
    """
    if given.strip():
        try:
            return [names.column(name) for name in given.replace(",", " ").split()]
        except BadUse as error:
            raise BadUse(f"COLS: {error}") from None
    if every:
        return [names.column(name) for name in (*FIELDS, *sorted(names.metrics()))]
    usual = COLUMNS.split()
    return [names.column(name) for name in usual if name in FIELDS or names.has_metric(name)]


def print_table(runs: Sequence[StoredRun], columns: Sequence[Column]) -> None:
    """The table; what is not completed stands out in colour on a terminal."""
    rows = [[column.name for column in columns]]
    rows += [[cell(column, column.of(run)) for column in columns] for run in runs]
    right = [i for i, column in enumerate(columns) if column.kind not in _LEFT]
    heading, *lines = text.columns(rows, right=right)
    print(heading)
    for run, line in zip(runs, lines, strict=True):
        print(text.coloured(line, run.status, sys.stdout))
    for run in runs:
        if run.status == "unreadable":
            print("unreadable:", text.one_line(run.metadata.get("error", "")))


def cell(column: Column, value: Any) -> str:
    """A value as people read it."""
    if value is None:
        return ""
    if column.kind == "list":
        return ", ".join(value)
    if column.kind == "flag":
        return "yes" if value else "no"
    if column.kind == "time":
        return local_time(value).replace("T", " ")[:16]
    if column.kind == "duration":
        return text.age(value) if column.name == "age" else text.duration(value)
    if column.kind == "size":
        return text.size(value)
    if column.kind == "number" and isinstance(value, float):
        return text.metric(column.name.partition(":")[0], value)
    return str(value)


def local_time(seconds: float) -> str:
    """ISO 8601 with the offset; empty outside the years that have one."""
    try:
        return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return ""


def plain(column: Column, value: Any) -> Any:
    """A value for programs: a time in ISO 8601, NaN and the infinities as text, as in journals."""
    if column.kind == "time" and value is not None:
        return local_time(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def print_json(runs: Sequence[StoredRun], columns: Sequence[Column]) -> None:
    """A list with an object a run, one a line; what a run does not have is null."""
    import json

    rows = ({column.name: plain(column, column.of(run)) for column in columns} for run in runs)
    print("[" + ",\n ".join(json.dumps(row, ensure_ascii=True) for row in rows) + "]")


def print_csv(runs: Sequence[StoredRun], columns: Sequence[Column]) -> None:
    """A heading and a line a run; what a run does not have is empty, lists have spaces between."""
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([column.name for column in columns])
    for run in runs:
        cells = [plain(column, column.of(run)) for column in columns]
        writer.writerow([_in_csv(value) for value in cells])


def _in_csv(value: Any) -> Any:
    if isinstance(value, list):
        return " ".join(value)
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else value


def options() -> Any:
    """The flags, by default what make puts into the environment."""
    given = parser(__doc__)
    for name in ("where", "sort", "limit", "cols"):
        given.add_argument(f"--{name}", default=os.environ.get(name.upper(), ""))
    given.add_argument("--format", default=os.environ.get("FORMAT") or "table")
    return given.parse_args()


def main() -> int:
    given = options()
    if given.format not in FORMATS:
        raise BadUse(f"FORMAT={given.format} must be {', '.join(FORMATS)}")
    limit = None
    if given.limit:
        if not given.limit.isascii() or not given.limit.isdigit():
            raise BadUse(f"LIMIT={given.limit} must be a whole number, 0 or more")
        limit = int(given.limit)
    where = output_dir(given.output_dir)
    names = CatalogNames(open_catalog(where))
    runs = limited(select(names, given.where, given.sort), given.sort, limit)
    if given.format != "table":
        columns = chosen_columns(names, given.cols, every=True) if names.runs else []
        (print_json if given.format == "json" else print_csv)(runs, columns)
    elif not names.runs:
        print(f"no runs in {where} yet: train one with `make`")
    elif not runs:
        print(f"none of the {len(names.runs)} runs in {where} fits")
    else:
        print_table(runs, chosen_columns(names, given.cols, every=False))
    return 0


if __name__ == "__main__":
    run_main(main)
