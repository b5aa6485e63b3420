# SPDX-License-Identifier: MIT
"""Show what each tracker has of a run: rows, lag, what it could not take, its last error.

    make track-status RUN=name
    python -m scripts.tracking.status [--output-dir DIR] [RUN]

Rows are lines of the journal: scalars, media and events. What was left out is counted in values: a
metric or a medium of a row. Without RUN: the latest run.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import sys
import time
from pathlib import Path

from lib import text
from lib.config.trackers import SYMBOLS
from lib.errors import Failure
from lib.runs.journal import read_rows
from lib.runs.stored import load_run
from lib.tracking import cursor as cursors
from lib.tracking.cursor import Cursor
from scripts.common import chosen_run, run_parser

HEADER = ("tracker", "rows", "behind", "left out", "updated", "state", "where, or what is wrong")


def count_rows(journal: Path, offset: int = 0) -> int:
    """Rows from byte `offset` on. Raises Failure when there is no journal that can be read."""
    try:
        return sum(1 for _ in read_rows(journal, offset, on_damage=lambda _: None))
    except OSError as error:
        raise Failure(f"{journal}: {error.strerror}") from error


def print_status(run_dir: Path) -> None:
    """The table."""
    run = load_run(run_dir)
    journal = run_dir / "logs" / "metrics.jsonl"
    name = text.one_line(run.name)
    rows = count_rows(journal)
    print(f"{name}, {text.one_line(run.status)}: {rows:,} rows in the journal")
    states = {name: cursors.load(run_dir, name) for name in SYMBOLS}
    known = {name: state for name, state in states.items() if state is not None}
    if not known:
        print(f"sent to no tracker; make track RUN={name} TRACKER=… does it now")
        return
    cells = [HEADER, *(_row(name, state, journal) for name, state in known.items())]
    heading, *lines = text.columns(cells, right=range(1, 5))
    print(heading)
    for state, line in zip(known.values(), lines, strict=True):
        print(text.coloured(line, state.condition, sys.stdout))
    for name, state in known.items():
        for remark in state.remarks():
            print(text.one_line(f"{name}: {remark}"))


def _row(name: str, state: Cursor, journal: Path) -> tuple[str, ...]:
    return (
        name,
        f"{state.rows:,}",
        f"{count_rows(journal, state.offset):,}",
        f"{state.dropped:,}",
        f"{text.duration(max(0.0, time.time() - state.updated))} ago",
        state.condition,
        state.error or state.where,
    )


def main() -> int:
    print_status(chosen_run(run_parser(__doc__).parse_args()))
    return 0


if __name__ == "__main__":
    run_main(main)
