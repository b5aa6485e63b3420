# SPDX-License-Identifier: MIT
"""What each tracker has of a run: rows, lag, dropped rows, last error.

    make track-status RUN=name
    python -m scripts.tracking.status [--output-dir DIR] [RUN]

Rows are lines of the journal: scalars, media and events. Without RUN: the latest run.
"""

import os
import time
from pathlib import Path

from lib import text
from lib.cli import run_main
from lib.config.trackers import SYMBOLS
from lib.runs.journal import read_rows
from lib.runs.stored import load_run, resolve
from lib.tracking import cursor as cursors
from lib.tracking.cursor import Cursor
from scripts.runs.table import output_dir, parser

_STYLES = {"finished": "green", "delivering": "cyan", "failed": "red", "retrying": "yellow"}


def count_rows(journal: Path, offset: int = 0) -> int:
    """Rows from byte `offset` on."""
    return sum(1 for _ in read_rows(journal, offset, on_damage=lambda _: None))


def print_status(run_dir: Path) -> None:
    """The table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    run = load_run(run_dir)
    journal = run_dir / "logs" / "metrics.jsonl"
    console = Console(highlight=False)
    console.print(f"{run.name}, {run.status}: {count_rows(journal):,} rows in the journal")
    states = {name: cursors.load(run_dir, name) for name in SYMBOLS}
    known = {name: state for name, state in states.items() if state is not None}
    if not known:
        console.print(f"sent to no tracker; make track RUN={run.name} TRACKER=… does it now")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("tracker", no_wrap=True)
    for title in ("rows", "behind", "dropped", "updated"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("where, or what is wrong", overflow="fold")
    for name, state in known.items():
        age = text.duration(max(0.0, time.time() - state.updated))
        table.add_row(
            name,
            f"{state.rows:,}",
            f"{count_rows(journal, state.offset):,}",
            f"{state.dropped:,}",
            f"{age} ago",
            Text(state.condition, style=_STYLES.get(state.condition, "")),
            Text(_remark(state)),
        )
    console.print(table)


def _remark(state: Cursor) -> str:
    return state.error or state.where


def main() -> int:
    flags = parser(__doc__)
    flags.add_argument("run", metavar="RUN", nargs="?", default=os.environ.get("RUN", ""))
    arguments = flags.parse_args()
    print_status(resolve(output_dir(arguments.output_dir), arguments.run))
    return 0


if __name__ == "__main__":
    run_main(main)
