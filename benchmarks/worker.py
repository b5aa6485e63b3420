# SPDX-License-Identifier: MIT
"""Sides of a comparison that train in processes of their own and take turns.

    workers = {side: Worker("benchmarks.gpt2_worker", [side, …]) for side in SIDES}
    seconds = take_turns(workers, rounds=10, steps=3)
    report = summary(seconds)

Each side gets its own memory allocator and its own settings of PyTorch, and other load on the
machine affects both. The other end of a Worker is a program that calls `serve`.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from lib.files import ROOT

REFERENCE, OURS = "reference", "ours"
WARM_UP = 3  # steps, before any that counts


class Worker:
    """A process that runs `module` with the arguments as JSON.

    `precision`: what it trains in; `kernels`: by which implementations, if there are several.
    """

    def __init__(self, module: str, arguments: list[Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        about = json.loads(self._process.stdout.readline())
        self.precision: str = about["precision"]
        self.kernels: dict[str, str] = about["kernels"]

    def ask(self, question: str) -> Any:
        """Send a line and wait for the answer."""
        self._process.stdin.write(question + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        self._process.stdin.close()
        self._process.wait()


def serve(
    precision: str,
    answers: Mapping[str, Callable[..., Any]],
    kernels: Mapping[str, str] | None = None,
) -> None:
    """Be a Worker's process: a line "name 3" calls `answers["name"](3)`; the result goes back."""
    print(json.dumps({"precision": precision, "kernels": kernels or {}}), flush=True)
    for line in sys.stdin:
        name, *numbers = line.split()
        print(json.dumps(answers[name](*map(int, numbers))), flush=True)


def seconds_of(step: Callable[[], None], device: torch.device) -> float:
    """How long a step takes, until the device has finished it."""
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def take_turns(workers: Mapping[str, Worker], rounds: int, steps: int) -> dict[str, list[float]]:
    """Seconds of each side's steps, `steps` of them in each of its `rounds` turns; closes them."""
    seconds: dict[str, list[float]] = {side: [] for side in workers}
    for worker in workers.values():
        worker.ask(f"steps {WARM_UP}")
    for _ in range(rounds):
        for side, worker in workers.items():
            seconds[side] += worker.ask(f"steps {steps}")
    for worker in workers.values():
        worker.close()
    return seconds


def summary(seconds: Mapping[str, list[float]]) -> dict[str, Any]:
    """Fastest and median step of each side in ms; how many times faster each is than REFERENCE."""
    report = {}
    for kind, measure in (("", min), ("median_", statistics.median)):
        of = {side: measure(values) for side, values in seconds.items()}
        report[f"{kind}step_ms"] = {side: round(1000 * s, 2) for side, s in of.items()}
        report[f"{kind}ratio"] = {
            side: round(of[REFERENCE] / s, 3) for side, s in of.items() if side != REFERENCE
        }
    return report


def machine() -> dict[str, Any]:
    """The device and PyTorch, for the report of a benchmark."""
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
    else:
        units = torch.backends.cpu.get_cpu_capability()  # decides about bfloat16
        name = f"{platform.machine()} {units}, {os.cpu_count()} CPUs"
    return {"device": name, "torch": torch.__version__, "threads": torch.get_num_threads()}
