# SPDX-License-Identifier: MIT
"""Random numbers of a step, such as dropout's, as a function of (seed, step, rank).

A step that is repeated, after running out of memory or in a resumed run, draws the same numbers.
"""

import torch

_MASK = 2**64 - 1


def seed_step(seed: int, step: int, rank: int, device: torch.device) -> None:
    """Seed PyTorch's generators of the CPU and of `device` for update number `step`."""
    value = _mix(_mix(_mix(seed) + step) + rank)
    torch.default_generator.manual_seed(value)
    if device.type == "cuda":
        torch.cuda.manual_seed(value)
    elif device.type == "mps":
        torch.mps.manual_seed(value)


def _mix(x: int) -> int:
    """SplitMix64 (Steele, Lea and Flood 2014): each bit of `x` changes half of the result's."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _MASK
    return x ^ (x >> 31)
