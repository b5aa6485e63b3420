# SPDX-License-Identifier: MIT
"""The state of PyTorch's random number generators, of every rank, for checkpoints.

    states = rng_states(runtime)            # all ranks call; a dict of tensors for each rank
    restore_rng(states, runtime)

Steps do not depend on it: each seeds the generators anew (lib/train/seeding.py). What draws between
two steps finds the generators as they were.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from .runtime import Runtime


def rng_states(runtime: Runtime) -> list[dict[str, Tensor]]:
    """For each rank {device type: uint8 tensor}; all ranks must call."""
    own = {"cpu": torch.get_rng_state()}
    if runtime.device.type == "cuda":
        own["cuda"] = torch.cuda.get_rng_state(runtime.device)
    elif runtime.device.type == "mps":
        own["mps"] = torch.mps.get_rng_state()
    if runtime.world_size == 1:
        return [own]
    states: list[dict[str, Tensor]] = [{} for _ in range(runtime.world_size)]
    for name, state in own.items():
        of_rank = [torch.empty_like(state) for _ in states]
        dist.all_gather(of_rank, state)
        for rank, theirs in zip(states, of_rank, strict=True):
            rank[name] = theirs
    return states


def restore_rng(states: Sequence[Mapping[str, Tensor]], runtime: Runtime) -> None:
    """Restore this rank's state; with more ranks than before, the new ones keep their own."""
    if runtime.rank >= len(states):
        return
    own = states[runtime.rank]
    torch.set_rng_state(own["cpu"])
    if runtime.device.type == "cuda" and "cuda" in own:
        torch.cuda.set_rng_state(own["cuda"], runtime.device)
    elif runtime.device.type == "mps" and "mps" in own:
        torch.mps.set_rng_state(own["mps"])
