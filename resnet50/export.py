# SPDX-License-Identifier: MIT
"""A ResNet for others: who reads its exported weights, and what `make register` stores of a run."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from lib.registry.program import Program, of_images
from lib.runs.stored import StoredRun
from resnet50.prepare import build_model
from resnet50.pretrained import recognise


def read_by(weights: Mapping[str, Tensor]) -> str:
    """Which network of torchvision takes the exported weights, or why none does."""
    network = recognise(weights)
    if network is None:
        return "these weights are not of a ResNet"
    if network.width == 64 and network.stem == "imagenet":
        return (
            f"torchvision.models.resnet{network.depth}(num_classes={network.classes}) takes it: "
            "load_state_dict(safetensors.torch.load_file(…))"
        )
    return (
        f"torchvision's names, but it has no such network: this is {network}, torchvision's are of "
        "width 64 with the imagenet stem. RESNET_PRETRAINED reads it"
    )


def program(settings: Any, run: StoredRun, weights: Mapping[str, Tensor]) -> Program:
    """Images in colour, float32 [n, 3, size, size] in [0, 1], to logits. See of_images."""
    return of_images(partial(build_model, settings), weights, settings, run, channels=3)
