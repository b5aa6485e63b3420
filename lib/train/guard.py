# SPDX-License-Identifier: MIT
"""Stops a training whose loss, gradient or weights are NaN or infinite.

    guard = LossGuard()
    guard.check("training loss", loss.item(), step)
    guard.check_weights(model.parameters(), step)       # before they replace a good checkpoint

A weight that is NaN stays NaN, so every later step would be wasted.
"""

import math
from collections.abc import Iterable

from torch import Tensor
from torch.nn.utils import get_total_norm

from ..errors import Failure
from .ranks import any_rank, local_part


class Diverged(Failure):
    """A loss, a gradient or a weight became NaN or infinite."""


class LossGuard:
    """Remembers the last finite values, which its message gives."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, int]] = {}

    def check(self, name: str, value: float, step: int) -> None:
        """Raise Diverged when `value`, of the quantity `name` after `step` updates, is not finite.

        The caller decides how often: reading a value back makes a GPU wait.
        """
        if math.isfinite(value):
            self._last[name] = value, step
            return
        last = ""
        if name in self._last:
            last = "; last it was {:.4g} at step {}".format(*self._last[name])
        raise Diverged(
            f"the {name} is {value} at step {step}{last}. Try a lower LEARNING_RATE, more "
            "WARMUP_STEPS, GRAD_CLIP=1.0, or PRECISION=float32"
        )

    def check_weights(self, weights: Iterable[Tensor], step: int) -> None:
        """Raise Diverged, on all ranks, when a weight is not finite; all ranks must call.

        Finite gradients can lead to such weights, with ADAM_EPS=0 for instance.
        """
        parts = [local_part(weight.detach()) for weight in weights]
        largest = get_total_norm([p for p in parts if p.numel()], norm_type=math.inf).item()
        if any_rank(not math.isfinite(largest)):
            self.check("largest weight", math.nan, step)
