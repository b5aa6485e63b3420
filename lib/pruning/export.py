# SPDX-License-Identifier: MIT
"""A trained network as a file for others: dense, sparse, or in the 2:4 layout.

    FORMATS["sparse"][1](Path("model.sparse"), weights, masks)

Each format is a function path, weights, masks → lines to print, and one row of FORMATS. Weights are
tensors by name, masks are bool, of the pruned layers (lib/train/checkpoint/weights.py).
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.sparse import _semi_structured_conversions as two_four

from ..advice import need
from ..errors import Failure
from ..files import write_atomic
from .sparse_file import bound, save_sparse

Weights = Mapping[str, Tensor]


def export_dense(path: Path, weights: Weights, masks: Weights) -> list[str]:
    """Safetensors with all weights, the pruned ones zero."""
    tensors = {name: tensor.contiguous() for name, tensor in weights.items()}
    _write_safetensors(path, tensors, {"format": "pt"})  # transformers refuses a file without it
    return []


def export_sparse(path: Path, weights: Weights, masks: Weights) -> list[str]:
    """Bitmap and bfloat16 values: lib/pruning/sparse_file.py, which also loads it."""
    size = save_sparse(path, weights)
    least = bound(weights)
    n = sum(t.numel() for t in weights.values())
    return [f"{size / least:.3f} times the bound, {100 * size / (2 * n):.1f} % of dense bfloat16"]


def export_2to4(path: Path, weights: Weights, masks: Weights) -> list[str]:
    """Safetensors in bfloat16; layers that are 2:4 as `NAME.packed` and `NAME.meta`.

    That is the CUTLASS layout of torch.sparse.to_sparse_semi_structured. A convolution of 1 × 1
    pixel is a matrix in it. A layer whose shape its kernels do not take stays dense, as do all
    other convolutions. Raises Failure when no layer is 2:4.
    """
    found, stay = {}, []
    for name, tensor in weights.items():
        tensor = tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor
        if name in masks and is_2to4(masks[name]) and _fits(tensor):
            matrix = tensor.flatten(1).contiguous()
            packed, meta = two_four.sparse_semi_structured_from_dense_cutlass(matrix)
            found |= {f"{name}.packed": packed, f"{name}.meta": meta}
        else:
            found[name] = tensor.contiguous()
            stay += [name] if name in masks else []
    if len(found) == len(weights):
        raise Failure(
            "no layer is pruned 2:4 in a shape that the layout takes (a multiple of 32 by one of "
            "64): train with PRUNING_PATTERN=2to4 TARGET_SPARSITY=0.5"
        )
    _write_safetensors(path, found, {"layout": "sparse_semi_structured_cutlass"})
    return [f"stays dense: {', '.join(stay)}"] if stay else []


def _write_safetensors(path: Path, tensors: Weights, about: Mapping[str, str]) -> None:
    save = need("safetensors.torch", "this format").save
    write_atomic(path, save(dict(tensors), dict(about)))


def is_2to4(mask: Tensor) -> bool:
    """Whether at most two of each four weights along the input of a matrix are kept.

    A convolution of 1 × 1 pixel is one; the kernels take no other.
    """
    if mask.ndim < 2 or mask[0, 0].numel() != 1 or mask.shape[1] % 4:
        return False
    return bool((mask.reshape(-1, 4).sum(1) <= 2).all())


def _fits(weight: Tensor) -> bool:
    return weight.shape[0] % 32 == 0 and weight.shape[1] % 64 == 0


FORMATS: dict[str, tuple[str, Callable[[Path, Weights, Weights], list[str]]]] = {
    "dense": (".safetensors", export_dense),
    "sparse": (".sparse", export_sparse),
    "2to4": (".2to4.safetensors", export_2to4),
}
