# SPDX-License-Identifier: MIT
"""What scheduling costs a sweep, and how soon the next trial starts where 10,000 have finished.

    make bench-sweep [N=10000]
    python -m benchmarks.sweep [--trials 200] [--finished 10000] [--jobs 2]

The first is measured with a sweep of 200 trainings of a tiny model (benchmarks/tiny), in a copy of
the tree: how long its slots stood empty between its first training and its last, and the processor
time that the scheduler took, which trainings could have used. Both are shares of the time that the
slots were training; that includes the start of each process. The processes are watched from
outside, every 2 ms.

The second: a grid of which N cells have completed runs, as in the past of a long study, and the
time from typing `make sweep` until the next training is started. It is measured with the files in
the cache of the operating system. The last line is JSON.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import contextlib
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.runs import make_runs
from benchmarks.sweep_tree import Tree, make_tree
from lib.errors import Failure
from lib.text import columns

_POLL_S = 0.002
_LIMIT_S = 1200.0
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_LEFT = 20  # cells that have no run yet


@dataclass
class Watched:
    """What was seen of a program and of its trainings; times in seconds since it was started."""

    first_start: float = 0.0
    last_start: float = 0.0
    last_end: float = 0.0
    ended: float = 0.0
    training_s: float = 0.0  # of all slots together, until the last start
    trainings: int = 0
    own_cpu_s: float = 0.0  # of the program between these starts, without its trainings
    _cpu_before_s: float = 0.0
    _seen: set[int] = field(default_factory=set)

    def empty_share(self, jobs: int) -> float:
        """The time that slots stood empty, as a share of the time that they trained."""
        return (jobs * (self.last_start - self.first_start) - self.training_s) / self.training_s


def watch(process: "subprocess.Popen[str]", until_first: bool = False) -> Watched:
    """Look at `process` and its trainings until it ends, or until the first one starts."""
    began = before = time.monotonic()
    seen, running, since_last_start = Watched(), set[int](), 0.0
    while process.poll() is None:
        now = time.monotonic()
        since_last_start += len(running) * (now - before)
        before = now
        found = set(trainings_of(process.pid))
        if new := found - seen._seen:
            cpu = _cpu(process.pid)
            if not seen.first_start:
                seen.first_start, seen._cpu_before_s = now - began, cpu
            seen.last_start, seen.own_cpu_s = now - began, cpu - seen._cpu_before_s
            seen.training_s, since_last_start = seen.training_s + since_last_start, 0.0
            seen._seen |= new
        if running and not found:
            seen.last_end = now - began
        running = found
        if until_first and seen._seen:
            break
        if now - began > _LIMIT_S:
            raise Failure(f"after {_LIMIT_S:.0f} s the sweep has not ended")
        time.sleep(_POLL_S)
    seen.ended = time.monotonic() - began
    seen.trainings = len(seen._seen)
    return seen


def trainings_of(pid: int) -> Iterator[int]:
    """The processes below `pid` that train, without those that wait to be collected."""
    for thread in _children_of(pid):
        try:
            state = Path(f"/proc/{thread}/stat").read_text().rpartition(") ")[2][0]
            words = Path(f"/proc/{thread}/cmdline").read_bytes().split(b"\0")
        except (OSError, IndexError):
            continue
        if any(word.endswith(b"/train.py") for word in words):
            if state not in "ZX":
                yield thread
        else:
            yield from trainings_of(thread)


def _children_of(pid: int) -> list[int]:
    found: list[int] = []
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:  # it has ended
        return found
    for thread in threads:
        with contextlib.suppress(OSError):
            found += map(int, (thread / "children").read_text().split())
    return found


def _cpu(pid: int) -> float:
    """Processor time of a process in seconds, without its children."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(words[11]) + int(words[12])) * _TICK_S


def measure_scheduling(tree: Tree, trials: int, jobs: int) -> dict[str, float]:
    """A sweep of so many trials, watched."""
    tree.write_sweep("many", grid(range(trials), {"TINY_STEP_MS": 25}))
    process = tree.popen("-m", "scripts.sweep.run", SWEEP="many", JOBS=str(jobs))
    seen = watch(process)
    if process.returncode or seen.trainings != trials:
        raise Failure(f"{seen.trainings} trainings of {trials}; it said:\n{tree.said[-3000:]}")
    return {
        "trials": trials,
        "jobs": jobs,
        "a training, s": seen.training_s / (trials - 1),
        "until the first training, s": seen.first_start,
        "after the last training, s": seen.ended - seen.last_end,
        "slots empty, %": 100 * seen.empty_share(jobs),
        "processor time of the scheduler, %": 100 * seen.own_cpu_s / seen.training_s,
        "the same a training, ms": 1000 * seen.own_cpu_s / (trials - 1),
    }


def grid(seeds: range, fixed: dict[str, int]) -> dict[str, object]:
    """A sweep with one cell a seed."""
    return {
        "description": "As many cells as seeds",
        "defconfig": "tiny",
        "set": fixed,
        "axes": {"LEARNING_RATE": [0.001]},
        "seeds": list(seeds),
        "metric": {"name": "val/loss", "goal": "minimize", "at": "last"},
    }


def measure_next(tree: Tree, finished: int, repeats: int = 3) -> dict[str, float]:
    """Seconds until a training starts where `finished` trials have."""
    tree.write_sweep("long", grid(range(finished + _LEFT), {"TINY_STEP_MS": 1000}))
    created = _until_training(tree)
    make_runs(tree.output_dir, finished)
    finish_trials(tree, finished)
    indexed = _until_training(tree)
    times = [_until_training(tree) for _ in range(repeats)]
    return {
        "finished": finished,
        "until the first training of a new sweep, s": created,
        "until the next one, which reads all runs, s": indexed,
        "until the next one, s": statistics.median(times),
    }


def _until_training(tree: Tree) -> float:
    """Start the sweep, wait for its first training, stop it, and wait for its end."""
    process = tree.popen("-m", "scripts.sweep.run", SWEEP="long", JOBS="1")
    seen = watch(process, until_first=True)
    if not seen.trainings:
        raise Failure(f"no training was started; it said:\n{tree.said[-3000:]}")
    process.send_signal(signal.SIGINT)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise Failure("the sweep does not end after Ctrl-C") from None
    return seen.first_start


def finish_trials(tree: Tree, finished: int) -> None:
    """Make the first `finished` waiting trials complete, each with a run that is there."""
    names = sorted(path.parent.name for path in tree.output_dir.glob("m*/metadata.yaml"))
    with contextlib.closing(sqlite3.connect(tree.output_dir / ".sweeps/studies.sqlite")) as base:
        query = "SELECT trial_id FROM trials WHERE state = 'WAITING' ORDER BY number LIMIT ?"
        numbers = [row[0] for row in base.execute(query, (finished,))]
        if len(numbers) != finished:
            raise Failure(f"{len(numbers)} trials wait, not {finished}")
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        base.executemany(
            "UPDATE trials SET state = 'COMPLETE', datetime_start = ?, datetime_complete = ? "
            "WHERE trial_id = ?",
            [(now, now, number) for number in numbers],
        )
        base.executemany(
            "INSERT INTO trial_values (trial_id, objective, value, value_type) "
            "VALUES (?, 0, ?, 'FINITE')",
            [(number, 1 + number / finished) for number in numbers],
        )
        base.executemany(
            "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, 'run', ?)",
            [(number, json.dumps(name)) for number, name in zip(numbers, names, strict=True)],
        )
        base.commit()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--finished", type=int, default=int(os.environ.get("N") or 10_000))
    given = parser.parse_args()
    result: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-sweep-") as folder:
        if given.trials:
            tree = make_tree(Path(folder) / "scheduling")
            result |= measure_scheduling(tree, given.trials, given.jobs)
        if given.finished:
            result |= measure_next(make_tree(Path(folder) / "long"), given.finished)
    print(*columns([[name, f"{value:.4g}"] for name, value in result.items()], {1}), sep="\n")
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(load, file=sys.stderr)
    print(json.dumps({"bench": "sweep", **{k: round(v, 4) for k, v in result.items()}}))


if __name__ == "__main__":
    run_main(main)
