# SPDX-License-Identifier: MIT
"""What came out of a sweep: configurations with their seeds aggregated, the best first.

    make sweep-report SWEEP=name [FORMAT=table|html|markdown|latex|csv] [OUT=file]
                      [BASELINE=magnitude] [TABLE=leaderboard|pivot|differences]
                      [LIMIT=20] [STORAGE=postgresql://…]
    python -m scripts.sweep.report [--format …] [--out …] [--baseline …] … SWEEP

A row shows the mean over seeds ± the sample standard deviation. A configuration of which seeds are
missing comes after those with all seeds, one that violates a constraint after both. A grid of two
axes is shown as a table of rows and columns, too.

BASELINE, an arm or parameters ("OPTIMIZER=adamw LEARNING_RATE=0.1"), compares each configuration
with the one that differs from it in these alone, paired by seed: the mean difference, its 95 %
interval by Student's t, a paired t-test corrected by Holm's method for all comparisons, and the
exact sign-flip permutation test.

FORMAT=html is one file that needs no network, OUTPUT_DIR/.sweeps/NAME/report.html unless OUT says
otherwise. The other formats are printed, or written to OUT, whose ending (.html .md .tex .csv) is
the format if FORMAT is not given. CSV has one table, with all digits: that of TABLE, else the
differences, else the pivot table, else the leaderboard.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import os
import re
import sys
from pathlib import Path

from lib import text
from lib.errors import BadUse, Failure, did_you_mean
from lib.files import write_atomic
from lib.runs.compare.export import csv_text
from lib.runs.compare.grid import BEST, Grid, Screen
from lib.runs.report.html import write_page
from lib.sweep.report import records
from lib.sweep.report.board import Board
from lib.sweep.report.differences import Differences, differences
from lib.sweep.report.page import counts, render
from lib.sweep.report.pivot import pivot_of
from lib.sweep.report.tables import Table, difference_table, leaderboard, pivot_table
from lib.sweep.report.writing import as_latex, as_markdown
from scripts.common import output_dir, parser
from scripts.sweep.reading import add_sweep, opened

FORMATS = {"table": "", "html": ".html", "markdown": ".md", "latex": ".tex", "csv": ".csv"}
TABLES = ("leaderboard", "pivot", "differences")
_LIMIT = 20  # rows on a terminal


def tables_of(
    board: Board, found: Differences | None, wanted: str, most: int | None
) -> list[Table]:
    """Those that there are, or the one that is wanted."""
    pivot, metrics = pivot_of(board), range(len(board.sweep.metrics))
    made = {"leaderboard": [leaderboard(board, most)]}
    made["pivot"] = [pivot_table(board, pivot, metric) for metric in metrics] if pivot else []
    made["differences"] = [difference_table(found, board, i) for i in metrics] if found else []
    names = [_there(board, found, wanted)] if wanted else list(made)
    return [table for name in names for table in made[name]]


def csv_of(board: Board, found: Differences | None, wanted: str) -> str:
    """The table that is wanted, or the most telling one."""
    pivot = pivot_of(board)
    usual = "differences" if found else "pivot" if pivot else "leaderboard"
    name = _there(board, found, wanted or usual)
    if name == "differences":
        return csv_text(records.difference_records(board, found))
    if name == "pivot":
        return csv_text(records.pivot_records(board, pivot))
    return csv_text(records.leaderboard_records(board))


def _there(board: Board, found: Differences | None, wanted: str) -> str:
    """`wanted`, if the sweep has this table. Raises BadUse."""
    if wanted == "differences" and found is None:
        raise BadUse('TABLE=differences needs a baseline: BASELINE="arm=dense"')
    if wanted == "pivot" and pivot_of(board) is None:
        raise BadUse("TABLE=pivot: only a grid of two axes or more is a table of rows and columns")
    return wanted


def show(board: Board, tables: list[Table]) -> None:
    """Print the tables, as wide as the terminal is."""
    screen = Screen()
    screen.say(f"{board.sweep.name}: {len(board.rows):,} configurations, {counts(board)}")
    for table in tables:
        cells = [[cell.text + BEST * cell.best for cell in row] for row in table.rows]
        rows = [(row[0], row[1:]) for row in cells]
        title = table.title if len(tables) > 1 else ""
        screen.show(Grid(title, table.heads[1:], rows, corner=table.heads[0], whole=True))
        for note in table.notes:
            screen.say(f"  {note}")


def write(given: argparse.Namespace, board: Board, found: Differences | None) -> None:
    """Print or write the report in the format that was asked for."""
    if given.format == "html":
        path = given.out or _page_of(given, board)
        write_page(render(board, found), path)
        print(text.one_line(path))
        print(f"{len(board.rows):,} configurations, {text.size(path.stat().st_size)}")
        return
    if given.format == "csv":
        made = csv_of(board, found, given.table)
    else:
        as_text = as_latex if given.format == "latex" else as_markdown
        made = "\n".join(map(as_text, tables_of(board, found, given.table, given.limit)))
    if given.out:
        write_atomic(given.out, made)
        print(text.one_line(given.out))
    else:
        sys.stdout.write(made)


def _page_of(given: argparse.Namespace, board: Board) -> Path:
    """Where the page goes without OUT; on this machine, wherever the STORAGE is."""
    folder = Path(output_dir(given.output_dir)) / ".sweeps" / board.sweep.name
    for missing in (folder.parent, folder):
        missing.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder / "report.html"


def options() -> argparse.Namespace:
    flags = parser(__doc__)
    add_sweep(flags)
    for name in ("format", "out", "baseline", "table", "limit"):
        default = os.environ.get(name.upper(), "")
        flags.add_argument(f"--{name}", metavar=name.upper(), default=default)
    given = flags.parse_args()
    given.out = _out(given.out) if given.out else None
    endings = {ending: name for name, ending in FORMATS.items() if ending}
    if not given.format:
        given.format = endings.get(given.out.suffix, "") if given.out else "table"
    if given.format not in FORMATS:
        hint = did_you_mean(given.format, FORMATS)
        what = f"FORMAT={given.format}" if given.format else f"OUT={given.out} without FORMAT"
        raise BadUse(f"{what}: the formats are {', '.join(FORMATS)}{hint}")
    if given.format == "table" and given.out:
        raise BadUse(f"OUT={given.out}: FORMAT=table is for the terminal; give another format")
    if given.table and given.table not in TABLES:
        hint = did_you_mean(given.table, TABLES)
        raise BadUse(f"TABLE={given.table}: the tables are {', '.join(TABLES)}{hint}")
    if given.table and given.format == "html":
        raise BadUse("TABLE: the page has all tables")
    if not re.fullmatch("[1-9][0-9]{0,8}|", given.limit):
        raise BadUse(f"LIMIT={given.limit}: must be a number from 1 on")
    given.limit = int(given.limit) if given.limit else _LIMIT if given.format == "table" else None
    return given


def _out(given: str) -> Path:
    path = Path(given)
    if path.is_dir() or not path.parent.is_dir():
        wrong = "is a directory" if path.is_dir() else f"there is no directory {path.parent}"
        raise BadUse(f"OUT={path}: {wrong}; give the path of a file in a directory that exists")
    return path


def main() -> int:
    given = options()
    board = opened(given)
    found = differences(board, given.baseline) if given.baseline.strip() else None
    if given.format == "table":
        show(board, tables_of(board, found, given.table, given.limit))
        return 0
    try:
        write(given, board, found)
    except OSError as error:
        raise Failure(
            f"cannot write {given.out or 'the report'}: {error.strerror}. Free some space or "
            "choose another place: OUT=file"
        ) from error
    return 0


if __name__ == "__main__":
    run_main(main)
