# SPDX-License-Identifier: MIT
"""This rank's share of each step's batch, read ahead and copied to the device.

batches = MicroBatches(read, runtime.device)
for x, y in batches.of(step, plan):     # plan.micro_steps of them
    …
"""

from collections.abc import Callable, Iterator
from itertools import count

import torch

from lib.data.prefetch import Batch, prefetch
from lib.train.batch_finding import BatchPlan


class MicroBatches:
    """`read(plan, step, micro_step)` is a pure function, called in a separate thread.

    Steps may be asked for in any order. The one after the previous step has been read already;
    any other one (the first, a repeated step, another plan) restarts the thread.
    """

    def __init__(
        self, read: Callable[[BatchPlan, int, int], Batch], device: torch.device | str
    ) -> None:
        self._read, self._device = read, device
        self._stream: Iterator[Batch] = iter(())
        self._next: tuple[int, BatchPlan] | None = None  # what the stream gives next

    def of(self, step: int, plan: BatchPlan) -> Iterator[Batch]:
        """The micro-batches of update number `step`, counted from 0."""
        if self._next != (step, plan):
            self._stream = prefetch(self._from(step, plan), self._device)
        self._next = None  # unknown if the caller does not take all of them
        for _ in range(plan.micro_steps):
            yield next(self._stream)
        self._next = step + 1, plan

    def _from(self, first: int, plan: BatchPlan) -> Iterator[Batch]:
        for step in count(first):
            for micro_step in range(plan.micro_steps):
                yield self._read(plan, step, micro_step)
