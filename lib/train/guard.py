# SPDX-License-Identifier: MIT
"""Stops a training whose loss or gradient is no number any more.

    guard = LossGuard()
    guard.check("training loss", loss.item(), step)

Once a weight is NaN it stays so, and every later step would be wasted.
"""

import math

from lib.errors import Failure


class Diverged(Failure):
    """A loss or a gradient became NaN or infinite."""


class LossGuard:
    """Remembers the last finite values, which tell how the training went wrong."""

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
