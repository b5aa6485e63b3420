# SPDX-License-Identifier: MIT
"""What `make watch` costs, and whether a training feels it.

    make bench-watch [SECONDS=20]
    python -m benchmarks.watch --screenshot docs/images/watch.svg

Makes ten runs, one of them in progress: a process that computes, and logs a row every 50 ms.
Watches them in a terminal of 120 × 40 for SECONDS and says how much of a core that took, and how
much the process computed meanwhile, next to as many seconds without anybody watching. Then 10,000
runs and a journal of a million rows: the time until they are there. With --screenshot it only makes
a picture.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import asyncio
import io
import math
import os
import pty
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import psutil

from lib.runs.run import Run
from lib.runs.watch.app import WatchApp
from lib.runs.watch.listing import Listing
from lib.runs.watch.tail import Tail

STEPS, ROW_S = 2000, 0.05
SIZE = (120, 40)
_MANY, _ROWS = 10_000, 1_000_000
_INFO = {"total_steps": STEPS, "checkpoint": {"metric": "val/loss", "mode": "min"}}


def loss(step: int) -> float:
    """A curve that looks like one."""
    return 0.2 + 2.1 * math.exp(-step / 300) + random.gauss(0, 0.03)


def log_steps(run: Run, first: int, last: int) -> None:
    """Rows as a training logs them."""
    for step in range(first, last):
        row = {"train/loss": loss(step), "lr": 1e-3 * (1 - step / STEPS), "grad_norm": loss(step)}
        run.log({**row, "perf/step_ms": 50.0, "perf/samples_per_s": 2560.0, "perf/mfu": 0.41}, step)
        if step % 100 == 0:
            run.log({"val/loss": loss(step) + 0.05, "val/accuracy": 1 - loss(step) / 3}, step)
            run.log({"system/cpu_percent": 41.0, "system/gpu0_memory_used_gib": 18.2}, step)
            run.say(f"step {step:,}: loss {loss(step):.3f}, 2,560 samples/s")


def train(folder: Path) -> None:
    """Compute, and log a row every ROW_S seconds, until killed; the row says how much was done."""
    with Run.create(folder, "lenet5_adamw_wide", info=_INFO) as run:
        log_steps(run, 0, STEPS // 2)
        step, rounds, due = STEPS // 2, 0, time.monotonic() + ROW_S
        while True:
            sum(math.sqrt(number) for number in range(2000))
            rounds += 1
            if time.monotonic() >= due:
                step, due = step + 1, due + ROW_S
                run.log({"train/loss": loss(step), "perf/step_ms": 50.0, "rounds": rounds}, step)


@contextmanager
def training(folder: Path) -> Iterator[Path]:
    """Nine runs that have ended, and one in progress in a process of its own."""
    random.seed(0)
    names = ("lenet5_sgd", "lenet5_adamw", "lenet5_adamwprune", "lenet5_adamwspam")
    for number in range(9):
        with (
            redirect_stdout(io.StringIO()),
            Run.create(folder, names[number % 4], info=_INFO) as run,
        ):
            log_steps(run, 0, STEPS)
    command = [sys.executable, "-m", "benchmarks.watch", "--train", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        journal = folder / "lenet5_adamw_wide" / "logs" / "metrics.jsonl"
        while not journal.exists() or b'"rounds"' not in journal.read_bytes():
            time.sleep(0.1)
        yield journal
    finally:
        process.kill()
        process.wait()


def rounds(journal: Path) -> int:
    """How much the training has done so far."""
    tail = Tail(journal.parent.parent, {})
    while tail.read(1.0):
        pass
    return int(tail.last["rounds"])


def watched(folder: Path, seconds: float) -> float:
    """Watch in a real terminal for so long; returns the CPU seconds after the start."""
    main, terminal = pty.openpty()
    pty_size = f"stty cols {SIZE[0]} rows {SIZE[1]}"
    subprocess.run(["bash", "-c", pty_size], stdin=terminal, check=True)
    command = [sys.executable, "-m", "scripts.runs.watch", "--output-dir", str(folder)]
    environment = {**os.environ, "TERM": "xterm-256color"}
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    process = subprocess.Popen(command, env=environment, **streams)
    threading.Thread(target=_drain, args=(main,), daemon=True).start()
    time.sleep(5)  # it starts, and reads what there is
    before = sum(psutil.Process(process.pid).cpu_times()[:2])
    time.sleep(seconds)
    used = sum(psutil.Process(process.pid).cpu_times()[:2]) - before
    process.send_signal(signal.SIGTERM)
    process.wait()
    os.close(terminal)
    return used


def _drain(descriptor: int) -> None:
    try:
        while os.read(descriptor, 65536):
            pass
    except OSError:
        return


def many(folder: Path) -> float:
    """Seconds until 10,000 runs are listed, in a terminal's length of lines."""
    with Run.create(folder, "run") as run:
        pass
    text = (run.dir / "metadata.yaml").read_bytes()
    for number in range(_MANY - 1):
        (folder / f"run{number}").mkdir()
        (folder / f"run{number}" / "metadata.yaml").write_bytes(text)
    began = time.perf_counter()
    listing = Listing(folder)
    listing.scan()
    listing.entries(SIZE[1])
    return time.perf_counter() - began


def long(folder: Path) -> tuple[float, float]:
    """(seconds to read a journal of a million rows, MiB that it takes in memory)"""
    with Run.create(folder, "run") as run:
        for step in range(_ROWS):
            run.log({"train/loss": 1.0, "lr": 1e-3, "perf/step_ms": 3.0}, step)
    before, began = psutil.Process().memory_info().rss, time.perf_counter()
    tail = Tail(run.dir, {})
    while tail.read(0.06):
        pass
    used = psutil.Process().memory_info().rss - before
    return time.perf_counter() - began, used / 2**20


async def screenshot(folder: Path, path: Path) -> None:
    """The screen as SVG."""
    listing = Listing(folder)
    listing.scan()
    app = WatchApp(listing)
    async with app.run_test(size=SIZE) as pilot:
        while app.tail is None or app.tail.progress < 1:
            await pilot.pause(0.2)
        await pilot.pause(2.5)
        path.write_text(app.export_screenshot(title="make watch"))


def measure(folder: Path, seconds: float) -> None:
    """Print the figures."""
    with training(folder / "ten") as journal:
        speeds = []
        for who in (None, folder / "ten"):
            cpu = 0.0
            start, began = rounds(journal), time.monotonic()
            if who is None:
                time.sleep(seconds + 5)
            else:
                cpu = watched(who, seconds)
            speeds.append((rounds(journal) - start) / (time.monotonic() - began))
    print(f"10 runs, 1 in progress: watching takes {100 * cpu / seconds:.1f} % of a core")
    print(f"  the training makes {speeds[0]:,.0f} rounds/s alone, {speeds[1]:,.0f} watched")
    print(f"10,000 runs: listed after {many(folder / 'many'):.2f} s")
    took, used = long(folder / "long")
    print(f"a million rows: read in {took:.1f} s, {used:.1f} MiB")


def main() -> int:
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--seconds", type=float, default=float(os.environ.get("SECONDS") or 20))
    flags.add_argument("--screenshot", type=Path)
    flags.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    options = flags.parse_args()
    if options.train:
        train(options.train)
    folder = Path(tempfile.mkdtemp(prefix="adamwprune-watch-"))
    try:
        if options.screenshot:
            picture, runs = options.screenshot.resolve(), Path("outputs/training")
            with training(folder / runs):
                os.chdir(folder)
                asyncio.run(screenshot(runs, picture))
        else:
            measure(folder, options.seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    run_main(main)
