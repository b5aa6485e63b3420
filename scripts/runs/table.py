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

import csv
import gc
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import orjson

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
    shown = [(column.of, formatter(column)) for column in columns]
    rows = [[column.name for column in columns]]
    for run in runs:
        values = [(of(run), form) for of, form in shown]
        rows.append(["" if value is None else form(value) for value, form in values])
    right = [i for i, column in enumerate(columns) if column.kind not in _LEFT]
    heading, *lines = text.columns(rows, right=right)
    print(heading)
    for run, line in zip(runs, lines, strict=True):
        print(text.coloured(line, run.status, sys.stdout))
    for run in runs:
        if run.status == "unreadable":
            print("unreadable:", text.one_line(run.metadata.get("error", "")))


def formatter(column: Column) -> Callable[[Any], str]:
    """A function that gives a value as people read it."""
    if column.kind == "number":
        name = column.name.partition(":")[0]
        return lambda value: text.metric(name, value) if isinstance(value, float) else str(value)
    if column.name == "age":
        return text.age
    return {
        "text": str,
        "list": ", ".join,
        "flag": lambda value: "yes" if value else "no",
        "time": lambda value: local_time(value).replace("T", " ")[:16],
        "duration": text.duration,
        "size": text.size,
    }[column.kind]


def local_time(seconds: float) -> str:
    """ISO 8601 with the offset; empty outside the years that have one."""
    try:
        return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return ""


def plain_rows(runs: Sequence[StoredRun], columns: Sequence[Column]) -> Iterator[list[Any]]:
    """The values for programs: times in ISO 8601, NaN and the infinities as journals have them."""
    every = [(column.of, column.kind == "time") for column in columns]
    for run in runs:
        row = []
        for of, is_time in every:
            value = of(run)
            if type(value) is float:
                if is_time:
                    value = local_time(value)
                elif not math.isfinite(value):
                    value = "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
            row.append(value)
        yield row


def print_json(runs: Sequence[StoredRun], columns: Sequence[Column]) -> None:
    """A list with an object a run, one a line; what a run does not have is null."""
    names = [column.name for column in columns]
    rows = (_in_json(dict(zip(names, row, strict=True))) for row in plain_rows(runs, columns))
    print("[" + ",\n ".join(rows) + "]")


def _in_json(row: dict[str, Any]) -> str:
    """In ASCII, which any terminal and locale leaves as it is."""
    try:
        return orjson.dumps(row).decode("ascii")
    except (TypeError, UnicodeDecodeError):  # seldom; json takes six times as long
        return json.dumps(row, separators=(",", ":"))


def print_csv(runs: Sequence[StoredRun], columns: Sequence[Column]) -> None:
    """A heading and a line a run; what a run does not have is empty, lists have spaces between."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([column.name for column in columns])
    writer.writerows([_in_csv(value) for value in row] for row in plain_rows(runs, columns))


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
    gc.disable()  # with 10,000 runs it takes a tenth of the time, and finds nothing
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
