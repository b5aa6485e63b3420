# SPDX-License-Identifier: MIT
"""List the training runs, newest last, with status, best metrics, time, age and size.

    make runs
    python -m scripts.runs [--output-dir DIR]

The runs are looked for in DIR, by default OUTPUT_DIR of config.py. A run whose process is gone is
marked interrupted.
"""

import argparse
from datetime import datetime

from lib import report
from lib.cli import run_main
from lib.runs import StoredRun, disk_usage, find_runs

UNCONFIGURED_OUTPUT_DIR = "outputs/training"


def parser(doc: str) -> argparse.ArgumentParser:
    """The flags that all programs about runs share, under `doc` as their help."""
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--output-dir", metavar="DIR", default=None, help="where the runs are")
    return made


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
    """The table."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("run", overflow="fold")
    for title in ("model", "optimizer", "status"):
        table.add_column(title, no_wrap=True)
    for title in ("best val loss", "accuracy", "time", "age", "size"):
        table.add_column(title, justify="right", no_wrap=True)
    now = datetime.now().astimezone()
    for run in runs:
        fields, started = run.metadata, run.started()
        best = fields.get("final_metrics") or {}
        status = Text(run.status, style=report.STATUS_STYLES.get(run.status, ""))
        table.add_row(
            Text(run.name),
            Text(str((fields.get("model") or {}).get("name", ""))),
            Text(str(fields.get("optimizer", ""))),
            status,
            _metric(best, "final/best_val_loss"),
            _metric(best, "final/best_val_accuracy"),
            report.duration(fields.get("duration_s")),
            report.duration((now - started).total_seconds()) if started else "",
            report.size(disk_usage(run.dir)),
        )
    Console(highlight=False).print(table)


def _metric(metrics: dict[str, float], name: str) -> str:
    return report.metric(name, metrics[name]) if name in metrics else ""


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
