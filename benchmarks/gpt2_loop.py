# SPDX-License-Identifier: MIT
"""What the loop of gpt2/train.py costs around its forward, backward and update.

    python -m benchmarks.gpt2_loop '{"gpt2-n-layer": 4, …}'      flags of gpt2/train.py

Trains on the CPU with the program's own code and a clock around these three. Both times come from
the same steps, so that other load on the machine does not count as overhead. Prints a line of JSON;
`make bench-gpt2` runs it for each of its models.
"""

import contextlib
import functools
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch

import gpt2.train as program
from gpt2.model import GPT
from lib.config.settings import load_settings
from lib.train.learner import Learner


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


def loop_overhead(flags: dict[str, Any]) -> dict[str, float]:
    """Total time over the time in forward, backward and update, minus one; without the first step.

    Logging is included, as often as `flags` say; evaluation and checkpoints are not, because they
    come after the last step.
    """
    clock, times = Clock(), []

    update = Learner.update

    def timed_update(*args: Any) -> Any:
        result = clock.wrap(update)(*args)
        if not times:
            clock.restart()  # the first step sets up the libraries
        times.append((clock.total_s, clock.inside_s))
        return result

    patches = (
        mock.patch.object(GPT, "forward", clock.wrap(GPT.forward)),
        mock.patch.object(torch.Tensor, "backward", clock.wrap(torch.Tensor.backward)),
        mock.patch.object(Learner, "update", timed_update),
    )
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        flags = {"data-dir": folder, "output-dir": folder, "eval-interval": 10**6} | flags
        flags |= {"device": "cpu", "tracker": "none", "sample-tokens": 0, "eval-windows": 1}
        argv = [text for flag, value in flags.items() for text in (f"--{flag}", str(value))]
        config = Path(folder) / "config"
        config.write_text("CONFIG_MODEL_GPT2=y\n")
        settings = load_settings("gpt2", ["--config", str(config), "--no-plots", *argv])
        for patch in patches:
            stack.enter_context(patch)
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        program.main(settings)
    total, inside = times[-1]
    steps = len(times) - 1
    return {
        "steps": steps,
        "step_ms": round(1000 * total / steps, 2),
        "overhead": round(total / inside - 1, 4),
    }


if __name__ == "__main__":
    print(json.dumps(loop_overhead(json.loads(sys.argv[1]))))
