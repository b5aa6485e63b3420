# SPDX-License-Identifier: MIT
"""Trial steps before a training, to find the faster precision on this CPU."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from gpt2.model import GPT
from lib.train.batch_finding import try_step


def faster_precision(model: GPT, x: Tensor, y: Tensor, repeats: int = 3) -> str:
    """ "float32" or "bfloat16", whichever is faster for a step with this batch on this CPU.

    Units for bfloat16 are faster from a certain width on, which depends on the processor.
    """
    seconds = {}
    for precision in ("bfloat16", "float32"):
        model.dtype = getattr(torch, precision)
        _step(model, x, y)  # the first step sets up the libraries
        seconds[precision] = min(_seconds(lambda: _step(model, x, y)) for _ in range(repeats))
    return min(seconds, key=seconds.__getitem__)


def _step(model: GPT, x: Tensor, y: Tensor) -> None:
    try_step(model, lambda: model(x, y), x.device, copies=0)


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
