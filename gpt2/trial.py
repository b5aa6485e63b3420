# SPDX-License-Identifier: MIT
"""Trial steps before a training: which precision is the faster one here, how large a batch fits.

Both run the model as training will, forward and backward, and leave no trace: no update, no
gradient, the random numbers as they were.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from gpt2.model import GPT


def faster_precision(model: GPT, x: Tensor, y: Tensor, repeats: int = 3) -> str:
    """ "float32" or "bfloat16": whichever takes less time for a step with this batch, on this CPU.

    Units for bfloat16 pay from a certain width on; which, depends on the processor.
    """
    seconds = {}
    for precision in ("bfloat16", "float32"):
        model.dtype = getattr(torch, precision)
        try_step(model, x, y)  # the first one is slower: it sets up the libraries
        seconds[precision] = min(_seconds(lambda: try_step(model, x, y)) for _ in range(repeats))
    return min(seconds, key=seconds.__getitem__)


def try_step(model: torch.nn.Module, x: Tensor, y: Tensor, copies: int = 0) -> None:
    """Forward and backward of one batch, with room taken for `copies` of the parameters.

    Adam's two moments, which the first real update allocates, are such copies.
    """
    devices = [x.device] if x.is_cuda else []
    try:
        with torch.random.fork_rng(devices):
            _room = [torch.empty_like(p) for p in model.parameters() for _ in range(copies)]
            model(x, y).backward()
    finally:
        model.zero_grad(set_to_none=True)


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
