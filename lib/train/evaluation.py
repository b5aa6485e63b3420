# SPDX-License-Identifier: MIT
"""An evaluation that gives the same number on any number of ranks.

total = torch.zeros((), device=runtime.device)
for rows, weight in eval_batches(len(images), batch_size, runtime, stop):
    total += weight * mean_loss(images[rows])
mean = mean_over_examples(total, len(images))
"""

import math
from collections.abc import Iterator

from torch import Tensor

from lib.train.ranks import sum_over_ranks
from lib.train.runtime import Runtime
from lib.train.stop import StopRequest


def eval_batches(
    n: int, batch_size: int, runtime: Runtime, stop: StopRequest
) -> Iterator[tuple[slice, int]]:
    """(rows, weight) of each batch that this rank evaluates; the ranks share `n` examples.

    `weight` is the number of rows. Every rank gets equally many batches, since those of a sharded
    model compute together: a rank that has run out repeats the first batch with weight 0.
    Notices a stop request between batches.
    """
    batches = math.ceil(n / batch_size)
    for turn in range(math.ceil(batches / runtime.world_size)):
        stop.check()
        number = turn * runtime.world_size + runtime.rank
        start = number * batch_size if number < batches else 0
        rows = slice(start, min(start + batch_size, n))
        yield rows, rows.stop - rows.start if number < batches else 0


def mean_over_examples(total: Tensor, n: int) -> float:
    """The mean over `n` examples, of which each rank has summed its own into `total`."""
    return sum_over_ranks(total).item() / n
