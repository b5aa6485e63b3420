# SPDX-License-Identifier: MIT
"""LeNet-5 for others: what `make register` stores of a run."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lenet5.model import LeNet5
from lib.registry.program import Program, of_images
from lib.runs.stored import StoredRun


def program(settings: Any, run: StoredRun, weights: Mapping[str, Tensor]) -> Program:
    """Grey images, float32 [n, 1, size, size] in [0, 1], to logits. See of_images."""
    return of_images(LeNet5, weights, settings, run, channels=1)
