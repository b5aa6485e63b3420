# SPDX-License-Identifier: MIT
"""The learning rate as a pure function of the step.

    lr = lr_at(step, base_lr=0.002, schedule="cosine", warmup_steps=100, total_steps=2000,
               min_ratio=0.1)

There is no scheduler object: a resumed run has nothing to restore.
"""

import math
from collections.abc import Callable

# Share of the way down, in [0, 1], after a share t of the steps that follow the warm-up.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": lambda t: 0.5 * (1.0 - math.cos(math.pi * t)),  # Loshchilov and Hutter 2017, eq. 5
    "linear": lambda t: t,
    "constant": lambda t: 0.0,
}


def lr_at(
    step: int,
    *,
    base_lr: float,
    schedule: str,
    warmup_steps: int,
    total_steps: int,
    min_ratio: float | None = None,
) -> float:
    """The learning rate of update number `step`, which counts from 0 to `total_steps` - 1.

    It rises in a straight line over the first `warmup_steps` updates, the last of which has
    `base_lr`, and then falls towards `base_lr` · `min_ratio`, which it would reach at
    `total_steps`: no update is wasted on a rate of 0. `min_ratio` may be None when the schedule
    is constant. Raises KeyError for an unknown schedule.
    """
    if step < warmup_steps:
        return base_lr * (step + 1) / warmup_steps
    t = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    down = SCHEDULES[schedule](min(t, 1.0))
    return base_lr * (1.0 - down * (1.0 - (min_ratio or 0.0)))
