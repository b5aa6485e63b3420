# SPDX-License-Identifier: MIT
"""This rank's share of each step's batch, from a stream that usually reads ahead.

batches = MicroBatches(lambda step, plan: images.training(plan.shares(rank, step), plan.effective))
for x, y in batches.of(step, plan):     # plan.micro_steps of them
    …
"""

from collections.abc import Callable, Iterator

from torch.profiler import record_function

from ..data.prefetch import Batch
from .batch_finding import BatchPlan

WAITING = "waiting for a batch"  # in a profile


class MicroBatches:
    """`stream(step, plan)` yields the micro-batches on the device, from update number `step` on.

    Steps may be asked for in any order. The one after the previous step comes from the same stream;
    any other one (the first, a repeated step, another plan) begins a new one.
    """

    def __init__(self, stream: Callable[[int, BatchPlan], Iterator[Batch]]) -> None:
        self._begin = stream
        self._stream: Iterator[Batch] = iter(())
        self._next: tuple[int, BatchPlan] | None = None  # what the stream gives next

    def of(self, step: int, plan: BatchPlan) -> Iterator[Batch]:
        """The micro-batches of update number `step`, counted from 0."""
        if self._next != (step, plan):
            self._stream = self._begin(step, plan)
        self._next = None  # unknown if the caller does not take all of them
        for _ in range(plan.micro_steps):
            with record_function(WAITING):
                batch = next(self._stream)
            yield batch
        self._next = step + 1, plan
