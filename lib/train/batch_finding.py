# SPDX-License-Identifier: MIT
"""How a batch is divided: over ranks, and on each rank into micro-batches that fit its memory.

    plan = plan_batch(settings, runtime)            # e.g. 480 examples on 4 ranks, 12 at a time
    plan = find_batch(settings, runtime, plan, attempt, guess)      # the largest that runs
    plan = smaller_batch(plan, model, runtime, step)                # after running out of memory

The effective batch, on which learning rate and results depend, is exactly what was configured, on
any number of ranks; only its division changes.
"""

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BadUse, Failure
from .batch_norm import trial_statistics
from .ranks import any_rank
from .runtime import Runtime

HEADROOM = 0.08  # share of a GPU's memory left free, for fragmentation and evaluation


@dataclass(frozen=True)
class BatchPlan:
    """`effective` examples a step: world_size ranks × micro-steps × `micro` examples.

    Raises BadUse when they do not divide.
    """

    effective: int
    world_size: int
    micro: int

    def __post_init__(self) -> None:
        if self.effective % (self.world_size * self.micro):
            raise BadUse(
                f"an effective batch of {self.effective} examples does not divide into "
                f"micro-batches of {self.micro} on {self.world_size} ranks: choose a multiple of "
                f"{self.world_size * self.micro}"
            )

    @property
    def micro_steps(self) -> int:
        """Forward and backward passes of one rank in one step: the gradient accumulation."""
        return self.effective // (self.world_size * self.micro)

    def rows(self, rank: int, micro_step: int) -> slice:
        """The part of a step's batch that `rank` computes in `micro_step`."""
        start = (rank * self.micro_steps + micro_step) * self.micro
        return slice(start, start + self.micro)

    def shares(self, rank: int, first_step: int) -> Iterator[tuple[int, slice]]:
        """(step, `rows`) of each micro-step of `rank`, from `first_step` on, without end."""
        for step in count(first_step):
            for micro_step in range(self.micro_steps):
                yield step, self.rows(rank, micro_step)

    def __str__(self) -> str:
        return (
            f"{self.effective} examples a step = {self.world_size} rank(s) × "
            f"{self.micro_steps} micro-step(s) × {self.micro}"
        )

    def as_dict(self) -> dict[str, int]:
        """As plain values, for metadata.yaml and checkpoints."""
        return {**asdict(self), "micro_steps": self.micro_steps}

    def at_most(self, micro: int) -> "BatchPlan":
        """The same batch in the largest equal micro-batches of at most `micro` examples."""
        per_rank = self.effective // self.world_size
        fitting = (m for m in range(min(micro, per_rank), 0, -1) if per_rank % m == 0)
        return replace(self, micro=next(fitting, 1))

    def halved(self) -> "BatchPlan":
        """Micro-batches of half the size, or of the next smaller size that divides the batch.

        Raises Failure when they have a single example already.
        """
        if self.micro == 1:
            raise Failure(
                "out of memory with a single example at a time: choose a smaller model, shorter "
                "sequences, or SHARD=y on several GPUs"
            )
        return self.at_most(self.micro // 2)


def plan_batch(settings: Any, runtime: Runtime) -> BatchPlan:
    """The batch of a step and each rank's share, before any trial for memory.

    BATCH_SIZE × GRAD_ACCUM examples, or TARGET_EFFECTIVE_BATCH with HYPER_PARAM_AUTO, over all
    ranks together. Raises BadUse when the ranks cannot have equal shares.
    """
    ranks = runtime.world_size
    if settings.HYPER_PARAM_AUTO:
        effective = settings.TARGET_EFFECTIVE_BATCH
        asked = f"TARGET_EFFECTIVE_BATCH={effective}"
        micro = settings.BATCH_SIZE
    else:
        effective = settings.BATCH_SIZE * settings.GRAD_ACCUM
        asked = f"BATCH_SIZE={settings.BATCH_SIZE} × GRAD_ACCUM={settings.GRAD_ACCUM}"
        micro = settings.BATCH_SIZE // ranks
    if effective % ranks:
        below, above = effective // ranks * ranks, -(-effective // ranks) * ranks
        near = " or ".join(str(n) for n in (below, above) if n)
        raise BadUse(
            f"{asked}: {effective} examples a step cannot be shared equally by {ranks} ranks; make "
            f"it a multiple of {ranks}, such as {near}, or change the number of processes (NPROC)"
        )
    return BatchPlan(effective, ranks, 1).at_most(max(1, micro))


def transformer_memory(
    parameters: int,
    n_layer: int,
    width: int,
    context: int,
    *,
    outputs: int,
    precision: str = "bfloat16",
    checkpoint_every: int = 0,
) -> tuple[int, int]:
    """(bytes independent of the batch, bytes an example) of training a transformer with Adam.

    16 bytes a parameter: float32 weight, gradient and two moments; in 16 bits 2 more, for the cast
    that the backward pass needs. The gradient of the output projection (outputs × width, float32)
    once more, because it is computed ahead.

    Per token and layer 16 activations of the width, in `precision`: inputs and outputs of the norms
    (4), queries, keys and values (3), attention (1), the MLP's two of fourfold width (8); and two
    at the output. Of every `checkpoint_every`-th layer only the input stays, and one layer at a
    time is computed again. What lives for a moment is left to the headroom of `first_guess`.
    """
    size = 4 if precision == "float32" else 2
    recomputed = -(-n_layer // checkpoint_every) if checkpoint_every else 0
    activations = 16 * (n_layer - recomputed + bool(recomputed)) + recomputed + 2
    casts = 0 if size == 4 else size * parameters
    fixed = 16 * parameters + casts + 4 * outputs * width
    return fixed, size * activations * width * context


def first_guess(plan: BatchPlan, device: torch.device, fixed: int, per_example: int) -> BatchPlan:
    """The largest micro-batch that should fit, by the formulas of `transformer_memory`."""
    memory = torch.cuda.get_device_properties(device).total_memory * (1 - HEADROOM)
    return plan.at_most(max(1, math.floor((memory - fixed) / per_example)))


def fit(
    plan: BatchPlan,
    attempt: Callable[[BatchPlan], None],
    device: torch.device,
    headroom: float = HEADROOM,
) -> BatchPlan:
    """The first of `plan`, `plan.halved()`, … that runs on all ranks and leaves `headroom` free.

    `headroom` is a share of a GPU's memory. `attempt(plan)` runs a real forward and backward pass
    without communication between ranks; it may raise torch.OutOfMemoryError. Raises Failure when
    nothing fits.
    """
    while True:
        too_large = False
        try:
            attempt(plan)
        except torch.OutOfMemoryError:
            too_large = True
        if any_rank(too_large or _is_tight(device, headroom)):
            release(device)
            plan = plan.halved()
        else:
            return plan


def find_batch(
    settings: Any,
    runtime: Runtime,
    plan: BatchPlan,
    attempt: Callable[[BatchPlan], None],
    guess: Callable[[], BatchPlan],
) -> BatchPlan:
    """On a GPU, the plan with a micro-batch for which all ranks have memory, found by trial.

    With HYPER_PARAM_AUTO it is the largest one, searched from `guess()` down; otherwise BATCH_SIZE,
    halved as often as necessary. `attempt`: see `fit`. A single process with a fixed BATCH_SIZE
    needs no trial: it halves the micro-batch when a step fails (`smaller_batch`).
    """
    if runtime.device.type != "cuda" or (runtime.world_size == 1 and not settings.HYPER_PARAM_AUTO):
        return plan
    if settings.HYPER_PARAM_AUTO:
        return fit(guess(), attempt, runtime.device)
    fitting = fit(plan, attempt, runtime.device, headroom=0.0)
    if fitting != plan and runtime.is_main:
        print(f"out of memory with {plan}: now {fitting}", file=sys.stderr)
    return fitting


def try_step(
    model: nn.Module, loss: Callable[[], Tensor], device: torch.device, copies: int = 2
) -> None:
    """Forward and backward pass of `loss()`, with memory allocated for `copies` of the parameters.

    Adam's two moments, which the first update will allocate, are such copies. `model` is not yet
    spread over ranks, so that nothing here waits for another rank. Leaves no gradients behind, and
    buffers and random number generators as they were.
    """
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), trial_statistics(model):
            _room = [torch.empty_like(p) for p in model.parameters() for _ in range(copies)]
            loss().backward()
    finally:
        model.zero_grad(set_to_none=True)


def smaller_batch(plan: BatchPlan, model: nn.Module, runtime: Runtime, step: int) -> BatchPlan:
    """Half the micro-batch and twice the micro-steps, after running out of memory in `step`.

    Drops the gradients of the micro-steps that succeeded. Running statistics of batch norm keep
    what they took from these, so that such examples count twice in them, once: restoring them would
    need a copy at every step. Call it after the exception is gone, and with its traceback the
    activations. Raises Failure when there is nothing smaller, or when other ranks are already
    waiting for the gradients of this one.
    """
    if runtime.world_size > 1:
        raise Failure(
            f"rank {runtime.rank} ran out of memory in step {step}, in which the other ranks wait "
            f"for it. Restart with less than {plan.micro} examples a micro-step (a smaller "
            "BATCH_SIZE and a larger GRAD_ACCUM), or HYPER_PARAM_AUTO=y"
        )
    model.zero_grad(set_to_none=True)
    smaller = plan.halved()
    release(runtime.device)
    return smaller


def release(device: torch.device) -> None:
    """Free cached memory and reset the peak, before another attempt with less."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _is_tight(device: torch.device, headroom: float) -> bool:
    if device.type != "cuda":
        return False
    total = torch.cuda.get_device_properties(device).total_memory
    return torch.cuda.max_memory_allocated(device) > (1 - headroom) * total
