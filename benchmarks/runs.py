# SPDX-License-Identifier: MIT
"""How long looking at many runs takes, by way of the index and without it.

    make bench-runs [N=10000]
    python -m benchmarks.runs [--runs N] [--repeats N] [--dir DIR] [--keep]

Makes N run directories with metadata, configurations and journals like those of a real training,
and times the first look, which reads them all and makes the index, and what one types afterwards:
medians, on the clock and of the processor. Times of commands are those of whole processes,
make included. The last line is JSON.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import contextlib
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import yaml

from lib.files import ROOT
from lib.runs import open_runs
from lib.runs.choose import chosen_runs
from lib.runs.index.catalog import NAME
from lib.runs.metadata import environment
from lib.runs.stored import latest_interrupted, resolve

WHERE = "model=m1 and val/loss<1.2 and tag=baseline and LEARNING_RATE<0.01"


class Times(NamedTuple):
    """Seconds on the clock and of the processor."""

    seconds: float
    busy: float


_BEGAN = datetime(2025, 1, 1, tzinfo=timezone.utc)


def make_runs(output_dir: Path, count: int, seed: int = 0) -> None:
    """`count` run directories; what differs between them is drawn from `seed`."""
    chance, packages = random.Random(seed), environment()
    for number in range(count):
        name = f"m{number % 3}_{chance.choice(('sgd', 'adamw'))}_{number:05}"
        directory = output_dir / name
        (directory / "logs").mkdir(parents=True)
        (directory / "checkpoints").mkdir()
        lr = 10 ** chance.uniform(-4, -1)
        started = _BEGAN + timedelta(minutes=7 * number)
        rows, losses = _journal(chance, started.timestamp())
        (directory / "logs" / "metrics.jsonl").write_bytes(rows)
        fields = _metadata(number, name, started, losses, packages, chance)
        for file, content in {
            "metadata.yaml": fields,
            "config.yaml": _settings(number, lr),
            "origins.yaml": {"LEARNING_RATE": {"value": lr, "origin": "flag --learning-rate"}},
        }.items():
            text = yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False)
            (directory / file).write_text(text)


def _journal(chance: random.Random, time_: float) -> tuple[bytes, list[float]]:
    """120 rows, of which every tenth is an evaluation, and its losses."""
    lines, losses = [], []
    for step in range(1, 121):
        loss = 2.3 / (1 + step / 40) * chance.uniform(0.9, 1.1)
        metrics = {"train/loss": loss, "lr": 0.001, "grad_norm": 1.25, "perf/step_ms": 8.1}
        if step % 10 == 0:
            losses.append(loss * 1.1)
            metrics = {"val/loss": loss * 1.1, "val/accuracy": 1 / (1 + loss)}
        lines.append(orjson.dumps({"step": step, "time": time_ + step, "metrics": metrics}))
    return b"\n".join(lines) + b"\n", losses


def _metadata(
    number: int,
    name: str,
    started: datetime,
    losses: list[float],
    machine: dict[str, Any],
    chance: random.Random,
) -> dict[str, Any]:
    status = chance.choices(("completed", "interrupted", "failed"), (90, 7, 3))[0]
    return {
        "run_name": name,
        "run_id": f"{number:012x}",
        "description": f"Run number {number} of a long week",
        "tags": chance.choices(("baseline", "wip", "colder"), k=2),
        "status": status,
        "start_time": started.isoformat(),
        "end_time": (started + timedelta(minutes=5)).isoformat(),
        "duration_s": 300.0,
        "git": {"commit": f"{number:040x}", "branch": "main", "dirty": False},
        "science_hash": f"{number // 4:016x}",
        "command": f"python train.py --seed {number % 4}",
        "launch": f"launch-{number}",
        "seed": number % 4,
        "environment": machine,
        "dataset": {"name": "digits", "fingerprint": "8" * 64, "sizes": {"train": 1295}},
        "model": {"name": f"m{number % 3}", "parameters": 61706},
        "optimizer": "adamw",
        "device": "cpu",
        "precision": "float32",
        "steps_per_epoch": 20,
        "final_metrics": {"final/best_val_loss": min(losses), "final/training_time_s": 300.0},
        "results": {},
    }


def _settings(number: int, lr: float) -> dict[str, dict[str, Any]]:
    """As many settings as a configuration has."""
    many = {f"SYMBOL_{i}": (i, f"text {i}", i / 7, i % 2 == 0)[i % 4] for i in range(100)}
    return {"Model": {"MODEL": f"m{number % 3}"}, "General": {"LEARNING_RATE": lr, **many}}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=int(os.environ.get("N") or 10_000))
    parser.add_argument("--repeats", type=int, default=5, help="of each (%(default)s)")
    parser.add_argument("--dir", help="where to make them (a temporary directory)")
    parser.add_argument("--keep", action="store_true", help="use and leave those in DIR")
    arguments = parser.parse_args()
    with _folder(arguments.dir, arguments.keep) as folder:
        if not any(folder.iterdir()):
            make_runs(folder, arguments.runs)
        report(measure(folder, arguments.repeats), arguments.runs)


@contextlib.contextmanager
def _folder(given: str | None, keep: bool) -> Iterator[Path]:
    if keep and given:
        Path(given).mkdir(exist_ok=True)
        yield Path(given)
        return
    with tempfile.TemporaryDirectory(dir=given) as folder:
        yield Path(folder)


def measure(folder: Path, repeats: int) -> dict[str, Times]:
    """What was done → how long it took."""
    (folder / NAME).unlink(missing_ok=True)
    times = {"first look, which makes the index": _timed(lambda: open_runs(folder))}
    runs = open_runs(folder)
    one, pattern = runs[len(runs) // 2].name, "m1_sgd_*7"
    chosen = ["runs", f"WHERE={WHERE}", "SORT=val/loss", "LIMIT=20"]
    typed = {
        "make runs": ["runs"],
        "make runs WHERE=… SORT=val/loss LIMIT=20": chosen,
        "make runs FORMAT=json": ["runs", "FORMAT=json"],
        "make leaderboard": ["leaderboard"],
        "make compare of two": ["compare", f"RUNS={one} {runs[0].name}"],
        "make show": ["show"],
        "make show RUN=name": ["show", f"RUN={one}"],
    }
    called: dict[str, Callable[[], Any]] = {
        "open_runs()": lambda: open_runs(folder),
        "open_runs(where, sort)": lambda: open_runs(folder, WHERE, "-val/loss"),
        "chosen_runs(pattern)": lambda: chosen_runs(folder, pattern),
        "the latest run": lambda: resolve(folder),
        "the latest interrupted run": lambda: latest_interrupted(folder),
    }
    with _tree(folder) as tree:
        for name, words in typed.items():
            times[name] = _median(lambda words=words: _make(tree, words), repeats)
    for name, call in called.items():
        times[name] = _median(call, repeats)
    return times


@contextlib.contextmanager
def _tree(folder: Path) -> Iterator[Path]:
    """A tree without a configuration whose runs are those in `folder`."""
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch)
        for path in ROOT.iterdir():
            if path.name not in (".config", "config.py", "outputs", ".git"):
                (tree / path.name).symlink_to(path)
        (tree / "outputs").mkdir()
        (tree / "outputs" / "training").symlink_to(folder.resolve())
        yield tree


def _make(tree: Path, words: list[str]) -> None:
    python = ["VENV=system", f"PYTHON3={sys.executable}"]
    subprocess.run(["make", *python, *words], cwd=tree, stdout=subprocess.DEVNULL, check=True)


def _timed(call: Callable[[], Any]) -> Times:
    begin, busy = time.perf_counter(), _busy()
    call()
    return Times(time.perf_counter() - begin, _busy() - busy)


def _busy() -> float:
    """Seconds of the processor that this process and its children have taken."""
    own, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _median(call: Callable[[], Any], repeats: int) -> Times:
    times = [_timed(call) for _ in range(repeats)]
    return Times(*(statistics.median(each) for each in zip(*times, strict=True)))


def report(times: dict[str, Times], count: int) -> None:
    """The table and the line of JSON."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "s", "of them CPU", box=None, title=f"{count:,} runs")
    for name, (seconds, busy) in times.items():
        table.add_row(name, f"{seconds:.2f}", f"{busy:.2f}")
    Console().print(table)
    result = {name: [round(each, 3) for each in taken] for name, taken in times.items()}
    print(json.dumps({"bench": "runs", "runs": count, **result}))


if __name__ == "__main__":
    run_main(main)
