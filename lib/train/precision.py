# SPDX-License-Identifier: MIT
"""The faster precision of this CPU, found by trial steps; compiling on GPUs.

runtime = choose_precision(settings, start, step)       # step("bfloat16") computes in bfloat16
compile_on_gpu(settings, runtime, [model])
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from torch import nn

from .ranks import any_rank
from .runtime import Runtime
from .start import Start

Step = Callable[[str], None]  # a trial forward and backward pass in this precision

_REPEATS = 3


def choose_precision(settings: Any, start: Start, step: Step) -> Runtime:
    """The runtime of `start`, from now on with the faster precision, if that may be chosen.

    It is found by trial on CPUs with bfloat16 units; all ranks must call. A run that goes on keeps
    its own. `step` must leave everything as it was (lib/train/batch_finding.py, `try_step`).
    """
    runtime = start.runtime
    may_choose = settings.PRECISION == "auto" and not start.resumes
    if may_choose and runtime.device.type == "cpu" and runtime.precision == "bfloat16":
        is_slower = faster_precision(step) == "float32"
        precision = "float32" if any_rank(is_slower) else "bfloat16"
        start.runtime = replace(runtime, precision=precision)
    return start.runtime


def faster_precision(step: Step) -> str:
    """ "float32" or "bfloat16", whichever is faster for `step` on this CPU.

    Units for bfloat16 are faster from a certain width on, which depends on the processor.
    """
    seconds = {}
    for precision in ("bfloat16", "float32"):
        step(precision)  # the first one sets up the libraries
        seconds[precision] = min(_seconds(step, precision) for _ in range(_REPEATS))
    return min(seconds, key=seconds.__getitem__)


def _seconds(step: Step, precision: str) -> float:
    start = time.perf_counter()
    step(precision)
    return time.perf_counter() - start


def compile_on_gpu(settings: Any, runtime: Runtime, modules: Iterable[nn.Module]) -> None:
    """Compile each of `modules` in place on a GPU, if COMPILE asks for it."""
    if settings.COMPILE and runtime.device.type == "cuda":
        for module in modules:
            module.compile()
