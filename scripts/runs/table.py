# SPDX-License-Identifier: MIT
"""List the training runs, newest last, with status, best metrics, time, age and size.

    make runs
    python -m scripts.runs.table [--output-dir DIR]

The runs are looked for in DIR, by default OUTPUT_DIR of config.py. A run whose process is gone is
marked interrupted.
"""

import argparse
import os
import sys
from datetime import datetime
from pathlib import Path

from lib import text
from lib.cli import run_main
from lib.runs.stored import StoredRun, disk_usage, find_runs, resolve

UNCONFIGURED_OUTPUT_DIR = "outputs/training"
HEADER = ("run", "model", "optimizer", "status", "val loss", "accuracy", "time", "age", "size")


def parser(doc: str) -> argparse.ArgumentParser:
    """The flags that all programs about runs share, under `doc` as their help."""
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--output-dir", metavar="DIR", default=None, help="where the runs are")
    return made


def checkpoint_parser(doc: str) -> argparse.ArgumentParser:
    """`parser` for a program about one checkpoint of one run; see `chosen_checkpoint`."""
    made = parser(doc)
    made.add_argument("--checkpoint", choices=("last", "best"), default="last")
    return made


def chosen_checkpoint(options: argparse.Namespace) -> Path:
    """The checkpoint that the flags and RUN in the environment say."""
    run = resolve(output_dir(options.output_dir), os.environ.get("RUN", ""))
    return run / "checkpoints" / f"{options.checkpoint}.pt"


def output_dir(given: str | None) -> str:
    """`given`, else what the tree is configured for."""
    if given is not None:
        return given
    try:
        from config import config
    except ModuleNotFoundError:
        return UNCONFIGURED_OUTPUT_DIR
    return config.OUTPUT_DIR


def print_runs(runs: list[StoredRun]) -> None:
    """The table; what is not completed stands out in colour on a terminal."""
    now = datetime.now().astimezone()
    rows = [HEADER, *(_row(run, now) for run in runs)]
    heading, *lines = text.columns(rows, right=range(HEADER.index("val loss"), len(HEADER)))
    print(heading)
    for run, line in zip(runs, lines, strict=True):
        before, after = text.status_colour(run.status, sys.stdout)
        print(f"{before}{line}{after}")


def _row(run: StoredRun, now: datetime) -> tuple[str, ...]:
    started = run.started()
    return (
        run.name,
        text.one_line(run.part("model").get("name", "")),
        text.one_line(run.metadata.get("optimizer", "")),
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
