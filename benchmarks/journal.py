# SPDX-License-Identifier: MIT
"""What one logged row of four scalars costs the training process.

    make bench-journal
    python -m benchmarks.journal [--rows N] [--dir DIR]

Times in turn: Journal.log, the same with NumPy scalars, which it converts as it does tensors, the
standard json module with one write per row, and the bare write, the lower bound. The last line is
JSON.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from lib.runs.journal import Journal, read_rows

ROUNDS = 5


def metrics(step: int) -> dict[str, float]:
    """Four scalars as a training loop has them."""
    return {"train/loss": 2.3 / (1 + step), "train/accuracy": 0.97, "lr": 1e-3, "grad_norm": 1.25}


def contenders(folder: Path) -> tuple[dict[str, Callable[[int], Any]], Journal]:
    """name → f(step), which writes one row so that it survives kill -9."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    json_fd = os.open(folder / "json.jsonl", flags)
    bare_fd = os.open(folder / "bare", flags)
    journal = Journal(folder / "journal.jsonl")
    converting = Journal(folder / "numpy.jsonl")
    fixed = b"x" * 120 + b"\n"

    def log_numpy(step: int) -> None:
        converting.log({name: np.float32(value) for name, value in metrics(step).items()}, step)

    def log_json(step: int) -> None:
        row = {"step": step, "time": time.time(), "metrics": metrics(step)}
        os.write(json_fd, (json.dumps(row) + "\n").encode())

    return {
        "Journal.log": lambda step: journal.log(metrics(step), step),
        "Journal.log, NumPy scalars": log_numpy,
        "standard json, one write": log_json,
        "bare write of 121 bytes": lambda step: os.write(bare_fd, fixed),
    }, journal


def measure(call: Callable[[int], Any], rows: int) -> list[int]:
    """Nanoseconds of each of `rows` calls."""
    clock = time.perf_counter_ns
    times = [0] * rows
    for step in range(rows):
        begin = clock()
        call(step)
        times[step] = clock() - begin
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=20_000, help="rows a round (%(default)s)")
    parser.add_argument("--dir", help="where to write (a temporary directory)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        calls, journal = contenders(Path(folder))
        times: dict[str, list[int]] = {name: [] for name in calls}
        for _ in range(ROUNDS):
            for name, call in calls.items():
                times[name] += measure(call, arguments.rows)
        journal.close()
        begin = time.perf_counter()
        read = sum("metrics" in row for row, _ in read_rows(journal.path))
        reading = read / (time.perf_counter() - begin)
    report(times, reading)


def report(times: dict[str, list[int]], rows_read_per_s: float) -> None:
    """The table and the line of JSON."""
    table = Table("", "p50 µs", "p99 µs", "rows/s", box=None, title="one row of four scalars")
    result: dict[str, Any] = {"bench": "journal"}
    for name, values in times.items():
        cuts = statistics.quantiles(values, n=100)
        p50, p99, rate = cuts[49] / 1e3, cuts[98] / 1e3, 1e9 * len(values) / sum(values)
        table.add_row(name, f"{p50:.2f}", f"{p99:.2f}", f"{rate:,.0f}")
        result[name] = {"p50_us": round(p50, 2), "p99_us": round(p99, 2), "rows_per_s": round(rate)}
    table.add_row("read_rows", "", "", f"{rows_read_per_s:,.0f}")
    result["rows_read_per_s"] = round(rows_read_per_s)
    Console().print(table)
    print(json.dumps(result))


if __name__ == "__main__":
    run_main(main)
