# SPDX-License-Identifier: MIT
"""What the loop of a model's train.py costs around its forward, backward and update.

    python -m benchmarks.loop_overhead gpt2 '{"gpt2-n-layer": 4, …}'      flags of gpt2/train.py

Trains on the CPU with the program's own code and a clock around these three. Both times come from
the same steps, so that other load on the machine does not count as overhead. Prints a line of JSON.
`measure_loop` does it in a fresh process.
"""

import contextlib
import functools
import importlib
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

from benchmarks.flags import as_argv
from lib.config.settings import load_settings
from lib.files import ROOT
from lib.train.learner import Learner
from lib.train.runtime import Runtime


class Clock:
    """Adds up the time spent in the functions it wraps, from `restart` on."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._started = time.perf_counter()
        self.inside_s = 0.0

    @property
    def total_s(self) -> float:
        """Seconds since the restart, in the functions and outside."""
        return time.perf_counter() - self._started

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            result = function(*args, **kwargs)
            self.inside_s += time.perf_counter() - started
            return result

        return timed


def measure_loop(model: str, flags: dict[str, Any]) -> dict[str, float]:
    """`loop_overhead` in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.loop_overhead", model, json.dumps(flags)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def loop_overhead(model: str, flags: dict[str, Any]) -> dict[str, float]:
    """Total time over the time in forward, backward and update, minus one; without the first step.

    Logging is included, as often as `flags` say; evaluation and checkpoints are not, because they
    come after the last step.
    """
    clock, times = Clock(), []
    build, update = Learner.from_settings, Learner.update

    def build_and_time(
        settings: Any, runtime: Runtime, module: nn.Module, trained: nn.Module, steps: int
    ) -> Learner:
        trained.forward = clock.wrap(trained.forward)
        return build(settings, runtime, module, trained, steps)

    def timed_update(*args: Any) -> Any:
        result = clock.wrap(update)(*args)
        if not times:
            clock.restart()  # the first step sets up the libraries
        times.append((clock.total_s, clock.inside_s))
        return result

    patches = (
        mock.patch.object(torch.Tensor, "backward", clock.wrap(torch.Tensor.backward)),
        mock.patch.object(Learner, "from_settings", build_and_time),
        mock.patch.object(Learner, "update", timed_update),
    )
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        flags = {"data-dir": folder, "output-dir": folder, "eval-interval": 10**6} | flags
        flags |= {"device": "cpu", "tracker": "none", "plots": False}
        config = Path(folder) / "config"
        config.write_text(f"CONFIG_MODEL_{model.upper()}=y\n")
        settings = load_settings(model, ["--config", str(config), *as_argv(flags)])
        for patch in patches:
            stack.enter_context(patch)
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        importlib.import_module(f"{model}.train").train(settings)
    total, inside = times[-1]
    steps = len(times) - 1
    return {
        "steps": steps,
        "step_ms": round(1000 * total / steps, 2),
        "overhead": round(total / inside - 1, 4),
    }


if __name__ == "__main__":
    print(json.dumps(loop_overhead(sys.argv[1], json.loads(sys.argv[2]))))
