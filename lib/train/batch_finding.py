# SPDX-License-Identifier: MIT
"""How a batch is divided: over ranks, and on each rank into micro-batches that fit its memory.

    plan = BatchPlan(effective=480, world_size=4, micro=12)     # 10 micro-steps on each rank
    plan = fit(guess, try_step)                                 # the largest that runs
    plan = plan.halved()                                        # after running out of memory

The effective batch, on which learning rate and results depend, is exactly what was asked for;
only the way there changes.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

import torch

from lib.errors import BadUse, Failure
from lib.train.ranks import any_rank

HEADROOM = 0.08  # share of a GPU's memory left free, for fragmentation and evaluation


@dataclass(frozen=True)
class BatchPlan:
    """`effective` sequences a step: world_size ranks × micro-steps × `micro` sequences.

    Raises BadUse when they do not divide.
    """

    effective: int
    world_size: int
    micro: int

    def __post_init__(self) -> None:
        if self.effective % (self.world_size * self.micro):
            raise BadUse(
                f"an effective batch of {self.effective} sequences does not divide into "
                f"micro-batches of {self.micro} on {self.world_size} ranks: choose a multiple of "
                f"{self.world_size * self.micro}"
            )

    @property
    def micro_steps(self) -> int:
        """Forward and backward passes of one rank in one step: the gradient accumulation."""
        return self.effective // (self.world_size * self.micro)

    def __str__(self) -> str:
        return (
            f"{self.effective} sequences a step = {self.world_size} rank(s) × "
            f"{self.micro_steps} micro-step(s) × {self.micro}"
        )

    def as_dict(self) -> dict[str, int]:
        """For metadata.yaml."""
        return {**asdict(self), "micro_steps": self.micro_steps}

    def at_most(self, micro: int) -> "BatchPlan":
        """The same batch in the largest equal micro-batches of at most `micro` sequences."""
        per_rank = self.effective // self.world_size
        fitting = (m for m in range(min(micro, per_rank), 0, -1) if per_rank % m == 0)
        return replace(self, micro=next(fitting, 1))

    def halved(self) -> "BatchPlan":
        """Micro-batches of half the size, or the next smaller that divides the batch.

        Raises Failure when they are of a single sequence already.
        """
        if self.micro == 1:
            raise Failure(
                "out of memory with a single example at a time: choose a smaller model, shorter "
                "sequences, or SHARD=y on several GPUs"
            )
        return self.at_most(self.micro // 2)


def transformer_memory(parameters: int, n_layer: int, width: int, context: int) -> tuple[int, int]:
    """(bytes whatever the batch, bytes a sequence) of training in bfloat16 with Adam.

    16 bytes a parameter: float32 weight, gradient and two moments. Per token and layer some 18
    activations of the width in two bytes each: inputs and outputs of the norms (4), queries, keys
    and values (3), attention (1), projections (2), and the MLP's two of fourfold width (8).
    """
    return 16 * parameters, 36 * n_layer * width * context


def first_guess(plan: BatchPlan, device: torch.device, fixed: int, per_sequence: int) -> BatchPlan:
    """The largest micro-batch that should fit, by the formulas of `transformer_memory`."""
    memory = torch.cuda.get_device_properties(device).total_memory * (1 - HEADROOM)
    return plan.at_most(max(1, math.floor((memory - fixed) / per_sequence)))


def fit(
    plan: BatchPlan,
    try_step: Callable[[BatchPlan], None],
    device: torch.device,
    headroom: float = HEADROOM,
) -> BatchPlan:
    """The first of `plan`, `plan.halved()`, … that runs on all ranks and leaves `headroom` free.

    `headroom` is a share of a GPU's memory. `try_step(plan)` makes a real forward and backward
    pass without communication between ranks; it may raise torch.OutOfMemoryError. Raises Failure
    when nothing fits.
    """
    while True:
        too_large = False
        try:
            try_step(plan)
        except torch.OutOfMemoryError:
            too_large = True
        if any_rank(too_large or _is_tight(device, headroom)):
            release(device)
            plan = plan.halved()
        else:
            return plan


def release(device: torch.device) -> None:
    """Give cached memory back and forget the peak, before trying again with less."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _is_tight(device: torch.device, headroom: float) -> bool:
    if device.type != "cuda":
        return False
    total = torch.cuda.get_device_properties(device).total_memory
    return torch.cuda.max_memory_allocated(device) > (1 - headroom) * total
