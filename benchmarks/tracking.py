# SPDX-License-Identifier: MIT
"""What tracking costs: one row, a million rows, and the speed of LeNet-5.

    make bench-tracking
    python -m benchmarks.tracking [--rows 1000000] [--replay-rows 100000] [--pairs 5]

What is compared is measured in turn, so that the ratios mean something on a busy machine. The
trackers are real; everything they write stays in a temporary directory. The last line is JSON.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import yaml
from rich.console import Console
from rich.table import Table

from lib.config.trackers import SYMBOLS
from lib.files import ROOT
from lib.runs import metadata
from lib.runs.run import Run
from lib.tracking import cursor as cursors
from lib.tracking.launch import environment, forwarder_command, launch

TRACKERS = tuple(SYMBOLS)
SETTINGS = {
    "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db",
    "SYSTEM_METRICS_INTERVAL": 15,
    "TRACKER_FINISH_TIMEOUT": 600,
    "TRACKER_PROJECT": "bench",
}
_ROUND = 250  # consecutive calls of one system before the next one's turn


def make_run(name: str) -> Run:
    """A run in the current directory."""
    run = Run.create("runs", name, files={"config.yaml": yaml.safe_dump({"All": SETTINGS})})
    assert isinstance(run, Run)
    return run


def scalars(step: int) -> dict[str, float]:
    """Four metrics of a training."""
    return {"train/loss": 2 / (step + 1), "lr": 1e-3, "sparsity": 0.5, "perf/step_ms": 3.1}


def timed(log: Callable[[dict[str, float], int], Any], start: int, calls: int) -> list[float]:
    """Microseconds of each call."""
    times = []
    for step in range(start, start + calls):
        row = scalars(step)
        before = time.perf_counter_ns()
        log(row, step)
        times.append((time.perf_counter_ns() - before) / 1000)
    return times


def one_row(rounds: int) -> dict[str, dict[str, float]]:
    """run.log with four trackers on, and Trackio and W&B called directly."""
    import trackio
    import wandb

    direct_trackio = trackio.init(project="direct", auto_log_cpu=False, auto_log_gpu=False)
    settings = wandb.Settings(silent=True, x_disable_stats=True, console="off")
    direct_wandb = wandb.init(project="direct", mode="offline", settings=settings)
    times: dict[str, list[float]] = {"run.log": [], "trackio.log": [], "wandb.log": []}
    with make_run("one-row") as run:
        run.track(partial(launch, trackers=TRACKERS, settings=SETTINGS))
        systems = {
            "run.log": run.log,
            "trackio.log": direct_trackio.log,
            "wandb.log": lambda row, step: direct_wandb.log(row, step=step),
        }
        for number in range(rounds):
            for name, log in systems.items():
                times[name] += timed(log, number * _ROUND, _ROUND)
            time.sleep(0.05)  # as a training does other things between
    direct_trackio.finish()
    direct_wandb.finish()
    return {
        name: {"p50_us": statistics.median(t), "p99_us": statistics.quantiles(t, n=100)[98]}
        for name, t in times.items()
    }


def write_journal(name: str, rows: int) -> tuple[Path, float]:
    """(run directory, rows written a second)."""
    with make_run(name) as run:
        row = scalars(1)
        started = time.perf_counter()
        for step in range(rows):
            run.log(row, step)
        seconds = time.perf_counter() - started
    return run.dir, rows / seconds


def replay(run_dir: Path, tracker: str) -> dict[str, float]:
    """Forward a finished run in a process of its own: rows a second, its largest memory."""
    started, peak = time.perf_counter(), 0
    process = psutil.Popen(forwarder_command(run_dir, [tracker]), env=environment({}))
    while process.poll() is None:
        try:
            peak = max(peak, process.memory_info().rss)
        except psutil.Error:  # it has just ended
            break
        time.sleep(0.1)
    process.wait()
    seconds = time.perf_counter() - started
    done = cursors.load(run_dir, tracker)
    if done is None or done.condition != "finished":
        raise SystemExit(f"{tracker}: {done and done.error}")
    return {"rows": done.rows, "rows_per_s": done.rows / seconds, "peak_mb": peak / 1e6}


def lenet5(tracker: str, name: str, epochs: int) -> float:
    """Training steps a second of LeNet-5 on the digits, as the run itself measured them."""
    program = [sys.executable, str(ROOT / "lenet5" / "train.py"), "--config", os.devnull]
    flags = {"tracker": tracker, "tracker-run-name": name, "output-dir": str(Path.cwd() / "runs")}
    flags |= {"num-epochs": str(epochs), "data-dir": str(Path.cwd() / "data")}
    flags |= {"mlflow-tracking-uri": f"sqlite:///{Path.cwd()}/mlflow.db"}
    options = [text for key, value in flags.items() for text in (f"--{key}", value)]
    subprocess.run([*program, *options, "--no-plots"], check=True, stdout=subprocess.DEVNULL)
    final = metadata.load(Path("runs") / name / "metadata.yaml")["final_metrics"]
    return epochs / final["final/training_time_s"]


def training_speed(pairs: int, epochs: int) -> dict[str, float]:
    """Ratio of the speed with all trackers to that with none, in pairs of trainings."""
    lenet5("none", "warm-up", 1)
    ratios = []
    for number in range(pairs):
        order = ("none", "all") if number % 2 == 0 else ("all", "none")
        speed = {tracker: lenet5(tracker, f"{tracker}-{number}", epochs) for tracker in order}
        ratios.append(speed["all"] / speed["none"])
    return {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)}


def print_table(title: str, results: Mapping[str, Mapping[str, float]]) -> None:
    """One line for each result."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 3, 0, 0))
    table.add_column("")
    columns = list(next(iter(results.values())))
    for column in columns:
        table.add_column(column, justify="right")
    for name, values in results.items():
        table.add_row(name, *(f"{values[column]:,.2f}" for column in columns))
    Console(highlight=False).print(table, "")


def main() -> int:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--rows", type=int, default=1_000_000, help="written to the journal")
    flags.add_argument("--replay-rows", type=int, default=100_000, help="sent to each tracker")
    flags.add_argument("--rounds", type=int, default=40, help=f"of {_ROUND} calls each")
    flags.add_argument("--pairs", type=int, default=5, help="of LeNet-5 trainings")
    flags.add_argument("--epochs", type=int, default=20, help="of each training")
    arguments = flags.parse_args()
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        os.chdir(scratch)
        os.environ |= {"TRACKIO_DIR": f"{scratch}/trackio", "WANDB_DIR": scratch}
        os.environ |= {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        results["row"] = one_row(arguments.rounds)
        print_table("One row of four scalars", results["row"])
        _, rate = write_journal("journal", arguments.rows)
        results["journal"] = {"rows": arguments.rows, "rows_per_s": rate}
        run_dir, _ = write_journal("replay", arguments.replay_rows)
        print_table("Writing the journal", {"journal": results["journal"]})
        results["replay"] = {tracker: replay(run_dir, tracker) for tracker in TRACKERS}
        print_table("Replay into a tracker", results["replay"])
        if arguments.pairs:
            speed = training_speed(arguments.pairs, arguments.epochs)
            results["lenet5_all_over_none"] = speed
            print_table("LeNet-5, speed with four trackers over none", {"ratio": speed})
        os.chdir(ROOT)
    print(json.dumps(results))
    return 0


if __name__ == "__main__":
    run_main(main)
