# SPDX-License-Identifier: MIT
"""The scale of the loss in float16, whose gradients would vanish without it.

    loss_scale = loss_scale_for("float16", device)
    loss_scale.scaled(loss).backward()
    apply_update(optimizer, …, scaler=loss_scale.scaler)
    loss_scale.note_update()
    loss_scale.is_void, loss_scale.metrics()

The smallest number of float16 is 6e-8 and the largest 65,504. Gradients of a loss that is
multiplied by a power of two stay between them (Micikevicius et al. 2018, section 3.2). It is
halved by each step whose gradients overflow, which then changes no weight, and doubled after 2,000
steps without one. In other precisions the loss is Unscaled.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .guard import Diverged

KEY = "loss_scale"  # in a checkpoint


class LossScale:
    """`scaler` multiplies the loss, divides the gradients, and skips a step when they overflow.

    `is_void` says whether the latest step was skipped; `skipped` is how many were. Both are the
    same on all ranks, whose gradients are averaged, or searched together for overflows, before.
    """

    def __init__(self, device: torch.device) -> None:
        self.scaler = torch.amp.GradScaler(device.type)
        self.value = self.scaler.get_scale()
        self.skipped = 0
        self.is_void = False

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss whose gradients are to be computed."""
        return self.scaler.scale(loss)

    def note_update(self) -> None:
        """Find out what became of the step; waits for the device.

        Raises Diverged when gradients overflow although nothing is left to scale down.
        """
        before, self.value = self.value, self.scaler.get_scale()
        self.is_void = self.value < before
        self.skipped += self.is_void
        if self.value < 1.0:
            raise Diverged(
                f"gradients are not finite in float16 whatever the loss scale, which is {before:g} "
                "by now. Try PRECISION=float32, or bfloat16 where the device has it, or a lower "
                "LEARNING_RATE"
            )

    def metrics(self) -> dict[str, float]:
        """By name: what a run logs at its intervals."""
        return {"loss_scale": self.value, "skipped_steps": self.skipped}

    def contents(self) -> dict[str, Any]:
        """What a checkpoint has of it, as plain values."""
        return {KEY: {"scaler": self.scaler.state_dict(), "skipped": self.skipped}}

    def restore(self, contents: Mapping[str, Any]) -> None:
        """Load what `contents` gave; a run that was in another precision begins anew here."""
        if KEY in contents:
            self.scaler.load_state_dict(contents[KEY]["scaler"])
            self.value, self.skipped = self.scaler.get_scale(), contents[KEY]["skipped"]


class Unscaled:
    """Takes the place of a LossScale where the loss needs none."""

    scaler = None
    is_void = False

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss itself."""
        return loss

    def note_update(self) -> None:
        """Nothing to find out: each step counts."""

    def metrics(self) -> dict[str, float]:
        """Nothing."""
        return {}

    def contents(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def restore(self, contents: Mapping[str, Any]) -> None:
        """Nothing to restore."""


def loss_scale_for(precision: str, device: torch.device) -> LossScale | Unscaled:
    """What `precision` needs on `device`."""
    return LossScale(device) if precision == "float16" else Unscaled()
