# SPDX-License-Identifier: MIT
"""The ways in which GPT-2 can compute an operation on a CPU, of which a training takes the fastest.

    model.arithmetic.use("bfloat16", {"attention": "whole"})

All give the same values and gradients up to the last bits. Which is fastest depends on the
processor: lib/train/precision.py finds out, unless KERNELS names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

# operation: its implementations, of which the first is the default
TABLE: dict[str, tuple[str, ...]] = {
    # a block of queries at a time · the whole score matrix at once · PyTorch's own (attention.py)
    "attention": ("blocks", "whole", "sdpa"),
    # x σ(z) in float32, a piece that fits the cache at a time · PyTorch's own (kernels.py)
    "gelu": ("sigmoid", "pytorch"),
    # the sum that runs through the blocks: in the precision of the products · in float32
    "residual": ("same", "float32"),
    # of matrices with more inputs than outputs: dyᵀ x · (xᵀ dy)ᵀ
    "weight_gradient": ("direct", "transposed"),
}
# Matrix units (AMX) want few large products, and leave little else that could be slow.
WITH_MATRIX_UNITS = {"attention": "whole", "gelu": "pytorch"}


@dataclass
class Arithmetic:
    """How a model computes. All its layers share one, so that a change concerns all of them.

    `dtype` is the precision of products and activations, the others are keys of TABLE.
    """

    dtype: torch.dtype = torch.float32
    attention: str = "blocks"
    gelu: str = "sigmoid"
    residual: str = "same"
    weight_gradient: str = "direct"

    def use(self, precision: str, kernels: Mapping[str, str]) -> None:
        """Compute in `precision` and as `kernels` says; by default what it does not name."""
        self.dtype = getattr(torch, precision)
        for operation, names in TABLE.items():
            setattr(self, operation, kernels.get(operation, names[0]))

    @property
    def residual_dtype(self) -> torch.dtype:
        """Of the sum that runs through the blocks."""
        is_wide = self.residual == "float32"
        return torch.promote_types(self.dtype, torch.float32) if is_wide else self.dtype
