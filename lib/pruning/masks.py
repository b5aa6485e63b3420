# SPDX-License-Identifier: MIT
"""Masks: one byte a weight in memory (uint8, 1 = kept), one bit in checkpoints.

A float tensor is multiplied by a byte mask a slice at a time, by way of a float buffer that stays
in the cache: an operation on mixed types would convert the whole mask in memory first, which
makes it several times slower than the plain product.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lib.pruning.select import SLICE


def apply_mask(mask: Tensor, tensors: Sequence[Tensor]) -> None:
    """Zero the entries of each of the tensors, shaped like the mask, where the mask is 0.

    A pruned entry must be finite (0·inf is NaN); the zero keeps the sign of the entry.
    """
    for tensor in tensors:
        if not tensor.is_contiguous():
            tensor.mul_(mask)
    flats = [tensor.view(-1) for tensor in tensors if tensor.is_contiguous()]
    size = SLICE.get(mask.device.type, SLICE["cuda"])
    for start in range(0, mask.numel(), size):
        part = mask.view(-1)[start : start + size]
        kept = {dtype: part.to(dtype) for dtype in {flat.dtype for flat in flats}}
        for flat in flats:
            flat[start : start + size].mul_(kept[flat.dtype])


def pack(mask: Tensor) -> Tensor:
    """(n,) or any shape of uint8 0/1 → (⌈n/8⌉,) uint8 on the CPU, first entry in the high bit."""
    return torch.from_numpy(np.packbits(mask.detach().cpu().contiguous().numpy()))


def unpack(bits: Tensor, shape: torch.Size) -> Tensor:
    """The mask that `pack` packed; ValueError when the number of bits does not fit the shape."""
    n = shape.numel()
    if bits.dtype != torch.uint8 or bits.numel() != (n + 7) // 8:
        raise ValueError(f"{bits.numel()} packed bytes do not make a mask of shape {tuple(shape)}")
    return torch.from_numpy(np.unpackbits(bits.cpu().numpy(), count=n)).view(shape)
