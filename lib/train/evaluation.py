# SPDX-License-Identifier: MIT
"""Evaluation whose result does not depend on the number of ranks; histograms of the weights.

total = torch.zeros((), device=runtime.device)
for rows, weight in eval_batches(len(images), batch_size, runtime, stop):
    total += weight * mean_loss(images[rows])
mean = mean_over_examples(total, len(images))
"""

import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from .ranks import sum_over_ranks, whole
from .runtime import Runtime
from .stop import StopRequest


def eval_batches(
    n: int, batch_size: int, runtime: Runtime, stop: StopRequest
) -> Iterator[tuple[slice, int]]:
    """`eval_shares`, with a check for a stop request before each batch."""
    for share in eval_shares(n, batch_size, runtime):
        stop.check()
        yield share


def eval_shares(n: int, batch_size: int, runtime: Runtime) -> Iterator[tuple[slice, int]]:
    """(rows, weight) of each batch that this rank evaluates; the ranks share `n` examples.

    `weight` is the number of rows. Every rank gets equally many batches, since the ranks of a
    sharded model compute together: a rank without a batch of its own repeats the first one with
    weight 0.
    """
    batches = math.ceil(n / batch_size)
    for turn in range(math.ceil(batches / runtime.world_size)):
        number = turn * runtime.world_size + runtime.rank
        start = number * batch_size if number < batches else 0
        rows = slice(start, min(start + batch_size, n))
        yield rows, rows.stop - rows.start if number < batches else 0


def mean_over_examples(total: Tensor, n: int) -> float:
    """The mean over `n` examples; `total` is the sum over those of this rank."""
    return sum_over_ranks(total).item() / n


def log_weights(run: Any, model: nn.Module, step: int) -> None:
    """Log a histogram of each parameter as weights/<name>; all ranks must call."""
    for name, parameter in model.named_parameters():
        name = name.removeprefix("module.")  # of DistributedDataParallel
        run.log_histogram(f"weights/{name}", whole(parameter.detach()), step)
