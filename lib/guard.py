# SPDX-License-Identifier: MIT
"""Stops a training whose loss is no number any more.

    guard = LossGuard()
    guard.check(loss.item(), step)

Once a weight is NaN it stays so, and every later step would be wasted.
"""

import math

from lib.cli import Failure


class Diverged(Failure):
    """The loss became NaN or infinite."""


class LossGuard:
    """Remembers the last finite loss, which tells how the training went wrong."""

    def __init__(self) -> None:
        self._last: tuple[float, int] | None = None

    def check(self, loss: float, step: int, kind: str = "training") -> None:
        """Raise Diverged when `loss`, of the `kind` named and after `step` updates, is not finite.

        The caller decides how often: reading a loss back makes a GPU wait.
        """
        if math.isfinite(loss):
            self._last = loss, step
            return
        before = "" if self._last is None else "; last it was {:.4g} at step {}".format(*self._last)
        raise Diverged(
            f"the {kind} loss is {loss} at step {step}{before}. Try a lower LEARNING_RATE, more "
            "WARMUP_STEPS, GRAD_CLIP=1.0, or PRECISION=float32"
        )
