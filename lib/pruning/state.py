# SPDX-License-Identifier: MIT
"""A pruner in a checkpoint: its step, its masks packed to bits, and the memory of its score."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .masks import pack, unpack

Named = Mapping[str, Tensor]


def packed(step: int, masks: Named, memory: Named) -> dict[str, Any]:
    """The state as tensors and plain values, which torch.load(weights_only=True) accepts."""
    bits = {name: pack(mask) for name, mask in masks.items()}
    return {"step": step, "masks": bits, "memory": dict(memory)}


def checked(state: Mapping[str, Any], masks: Named, memory: Named) -> dict[str, Any]:
    """What `packed` gave, with the masks unpacked, if it fits these masks and this memory.

    Changes nothing. Raises ValueError naming what is missing or belongs to other weights.
    """
    if missing := [key for key in ("step", "masks", "memory") if key not in state]:
        raise ValueError(f"the pruning state lacks {', '.join(missing)}")
    for kind, own in (("masks", masks), ("memory", memory)):
        if state[kind].keys() != own.keys():
            differing = ", ".join(sorted(state[kind].keys() ^ own.keys()))
            raise ValueError(f"these pruning {kind} belong to other weights: {differing}")
    found = {}
    for name, mask in masks.items():
        try:
            found[name] = unpack(state["masks"][name], mask.shape)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    for name, tensor in memory.items():
        if (shape := state["memory"][name].shape) != tensor.shape:
            raise ValueError(
                f"{name}: the memory of its score has the shape {tuple(shape)}, "
                f"not {tuple(tensor.shape)}"
            )
    return {"step": int(state["step"]), "masks": found, "memory": state["memory"]}
