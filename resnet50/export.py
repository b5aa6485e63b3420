# SPDX-License-Identifier: MIT
"""A ResNet for others: what `make register` stores of a run."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from lib.registry.program import Program, of_images
from lib.runs.stored import StoredRun
from resnet50.prepare import build_model


def program(settings: Any, run: StoredRun, weights: Mapping[str, Tensor]) -> Program:
    """Images in colour, float32 [n, 3, size, size] in [0, 1], to logits. See of_images."""
    return of_images(partial(build_model, settings), weights, settings, run, channels=3)
