# SPDX-License-Identifier: MIT
"""Masks: uint8, 1 = kept, contiguous; one byte per weight in memory, one bit in checkpoints."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .slices import count_kept, slice_size

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes


def apply_mask(mask: Tensor, tensors: Sequence[Tensor]) -> None:
    """Zero each tensor, in place, where the mask is 0; infinities and NaN become zero as well.

    The tensors have the shape of the mask, and any dtype and memory format. Raises ValueError for a
    sparse tensor.
    """
    if any(tensor.layout != torch.strided for tensor in tensors):
        raise ValueError("a sparse tensor cannot be masked: use layers with dense gradients")
    flats = []
    for tensor in tensors:
        if tensor.is_contiguous():
            # As integers of the same width: 0·x is 0 for every x, while 0.0·inf is NaN, and 1·x
            # keeps every bit.
            flats.append(tensor.view(-1).view(_INTEGERS[tensor.element_size()]))
        else:
            tensor.masked_fill_(mask == 0, 0.0)
    # One slice at a time, through a buffer that stays in the cache: an operation on mixed types
    # would first convert the whole mask in memory, which is several times slower.
    size = slice_size(mask.device)
    for start in range(0, mask.numel() if flats else 0, size):
        part = mask.view(-1)[start : start + size]
        kept = {dtype: part.to(dtype) for dtype in {flat.dtype for flat in flats}}
        for flat in flats:
            flat[start : start + size].mul_(kept[flat.dtype])


def pack(mask: Tensor) -> Tensor:
    """A mask of n entries → (⌈n/8⌉,) uint8 on the CPU, the first entry in the high bit."""
    return torch.from_numpy(np.packbits(mask.detach().cpu().contiguous().numpy()))


def unpack(bits: Tensor, shape: torch.Size) -> Tensor:
    """The mask that `pack` packed. Raises ValueError when the number of bytes does not fit."""
    n = shape.numel()
    if bits.dtype != torch.uint8 or bits.numel() != (n + 7) // 8:
        raise ValueError(f"{bits.numel()} packed bytes do not make a mask of shape {tuple(shape)}")
    return torch.from_numpy(np.unpackbits(bits.cpu().numpy(), count=n)).view(shape)


def count(name: str, mask: Tensor) -> dict[str, Any]:
    """One layer in a table: name, shape, pruned, total, sparsity in [0, 1]."""
    total = mask.numel()
    pruned = total - count_kept(mask)
    sparsity = pruned / total if total else 0.0
    row = {"name": name, "shape": list(mask.shape), "pruned": pruned, "total": total}
    return {**row, "sparsity": sparsity}
