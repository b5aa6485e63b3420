# SPDX-License-Identifier: MIT
"""List the checkpoints of a run: step, metrics, size, age, and which is the last or the best.

    make checkpoints [RUN=name]
    python -m scripts.runs.checkpoints [--output-dir DIR] [RUN]

RUN is the name of a run, its unique beginning, or a path; without it, the latest run. The table is
that of checkpoints/index.json; where the files differ from it, that is said below. Whether they are
whole says `make verify`.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import math
from datetime import datetime
from pathlib import Path

from lib import text
from lib.runs.stored import disk_usage
from lib.train.checkpoint.digest import same
from lib.train.checkpoint.find import BEST, listed, named
from lib.train.checkpoint.index import Entry
from lib.train.checkpoint.verify import disagreements
from scripts.common import chosen_run, run_parser

_METRICS = 4  # columns that fit beside the others


def print_table(folder: Path, entries: list[Entry]) -> None:
    """A line for each checkpoint, the oldest first, with the first metrics of its evaluation."""
    found = dict.fromkeys(name for entry in entries for name in entry.metrics)
    names = sorted(found, key=lambda name: not name.startswith("val/"))[:_METRICS]
    header = ("file", "step", *names, "size", "age", "")
    now = datetime.now().astimezone()
    rows = [_row(folder, entry, names, now) for entry in entries]
    print(*text.columns([header, *rows], right=range(1, len(header) - 1)), sep="\n")


def _row(folder: Path, entry: Entry, names: list[str], now: datetime) -> tuple[str, ...]:
    metrics = [
        text.metric(name, entry.metrics[name]) if name in entry.metrics else "" for name in names
    ]
    marks = [name for name, is_so in _marks(folder, entry) if is_so]
    cells = (text.size(entry.size), _age(entry.time, now), ", ".join(marks))
    return entry.file, str(entry.step), *metrics, *cells


def _marks(folder: Path, entry: Entry) -> list[tuple[str, bool]]:
    path = folder / entry.file
    return [
        ("last", same(path, named(folder, "last"))),
        ("best", entry.best or same(path, folder / BEST)),
        ("milestone", entry.milestone),
    ]


def _age(time: str, now: datetime) -> str:
    try:
        seconds = (now - datetime.fromisoformat(time).astimezone()).total_seconds()
    except (ValueError, OverflowError):
        return ""
    return text.age(seconds) if math.isfinite(seconds) else ""


def main() -> int:
    run = chosen_run(run_parser(__doc__).parse_args())
    folder = run / "checkpoints"
    entries = listed(folder)
    if not entries:
        print(f"{run.name} has no checkpoints")
        return 0
    print_table(folder, entries)
    print(f"{text.size(disk_usage(folder))} in {text.one_line(folder)}")
    for remark in disagreements(folder):
        print("note:", text.one_line(remark))
    return 0


if __name__ == "__main__":
    run_main(main)
