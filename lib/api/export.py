# SPDX-License-Identifier: MIT
"""Pruned weights as a file for others: dense, sparse or 2:4.

adamwprune.export(model, "model.sparse", format="sparse", pruner=pruner)
adamwprune.export("outputs/training/digits/checkpoints/best.pt", "model.safetensors")
model.load_state_dict(adamwprune.load_sparse("model.sparse"))
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import BadUse, did_you_mean
from ..pruning.export import FORMATS
from ..pruning.pruner import Pruner
from ..pruning.sparse_file import load_sparse
from ..train.checkpoint import load
from ..train.checkpoint.weights import trained_weights
from .state import bare

__all__ = ["export", "load_sparse"]


def export(
    source: "nn.Module | str | Path",
    path: str | Path,
    *,
    format: str = "dense",
    pruner: Pruner | None = None,
) -> list[str]:
    """Write the weights of `source`, a module or the path of a checkpoint, to `path`.

    format: `dense` is a safetensors file, `sparse` a bitmap and bfloat16 values, which
    `load_sparse` reads, `2to4` the layout of the sparse kernels of NVIDIA GPUs. pruner: that
    of the module, whose pruned weights become zero. A checkpoint has its masks in itself, and of a
    training with a running mean that mean.

    Returns remarks: how small the file is, which layers stay dense. Raises BadUse for an unknown
    format, Failure for a checkpoint that cannot be read, a format whose package is missing or that
    the masks do not fit, and OSError when the file cannot be written.
    """
    if format not in FORMATS:
        hint = did_you_mean(format, FORMATS)
        raise BadUse(f"format {format!r} is unknown: {', '.join(FORMATS)}{hint}")
    weights, masks = (
        _of_module(source, pruner)
        if isinstance(source, nn.Module)
        else trained_weights(load(source))
    )
    return FORMATS[format][1](Path(path), weights, masks)


def _of_module(module: nn.Module, pruner: Pruner | None) -> tuple[dict[str, Any], dict[str, Any]]:
    module = bare(module)  # the pruner has the names of the weights in it
    state = {
        name: value.detach().to("cpu", copy=True)  # tied weights stand in the file twice
        for name, value in module.state_dict().items()
        if torch.is_tensor(value)  # and not the extra state of a module
    }
    masks = {name: mask.bool().cpu() for name, mask in pruner.masks.items()} if pruner else {}
    if unknown := [name for name in masks if name not in state]:
        raise BadUse(f"the pruner belongs to another model: this one lacks {', '.join(unknown)}")
    for name, mask in masks.items():
        state[name] = state[name].masked_fill(~mask, 0.0)
    return state, masks
