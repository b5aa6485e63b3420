# SPDX-License-Identifier: MIT
"""List the training runs, newest last, with status, best metrics, time, age and size.

    make runs
    python -m scripts.runs.table [--output-dir DIR]

DIR is OUTPUT_DIR of config.py by default. A run whose process is gone is
marked interrupted.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import sys
from datetime import datetime

from lib import text
from lib.runs.stored import StoredRun, disk_usage, find_runs
from scripts.common import output_dir, parser

HEADER = ("run", "model", "optimizer", "status", "val loss", "accuracy", "time", "age", "size")


def print_runs(runs: list[StoredRun]) -> None:
    """The table; what is not completed stands out in colour on a terminal."""
    now = datetime.now().astimezone()
    rows = [HEADER, *(run_row(run, now) for run in runs)]
    heading, *lines = text.columns(rows, right=range(HEADER.index("val loss"), len(HEADER)))
    print(heading)
    for run, line in zip(runs, lines, strict=True):
        print(text.coloured(line, run.status, sys.stdout))
    for run in runs:
        if run.status == "unreadable":
            print("unreadable:", text.one_line(run.metadata.get("error", "")))


def run_row(run: StoredRun, now: datetime) -> tuple[str, ...]:
    """The cells of a run under HEADER."""
    started = run.started()
    return (
        run.name,
        str(run.part("model").get("name", "")),
        str(run.metadata.get("optimizer", "")),
        run.status,
        _best(run, "final/best_val_loss"),
        _best(run, "final/best_val_accuracy"),
        text.duration(run.metadata.get("duration_s")),
        text.age((now - started).total_seconds()) if started else "",
        text.size(disk_usage(run.dir)),
    )


def _best(run: StoredRun, name: str) -> str:
    metrics = run.part("final_metrics")
    return text.metric(name, metrics[name]) if name in metrics else ""


def main() -> int:
    where = output_dir(parser(__doc__).parse_args().output_dir)
    runs = find_runs(where)
    if runs:
        print_runs(runs)
    else:
        print(f"no runs in {where} yet: train one with `make`")
    return 0


if __name__ == "__main__":
    run_main(main)
