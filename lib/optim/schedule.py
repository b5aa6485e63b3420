# SPDX-License-Identifier: MIT
"""The learning rate as a pure function of the step.

    lr = lr_at(step, base_lr=0.002, schedule="cosine", warmup_steps=100, total_steps=2000,
               min_ratio=0.1)

There is no scheduler object, so a resumed run has nothing to restore.
"""

import math
from collections.abc import Callable

# t, the share of the steps after the warm-up, in [0, 1] → share of the way down, in [0, 1].
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
    """The learning rate of update number `step`, counted from 0 to `total_steps` - 1.

    It rises linearly over the first `warmup_steps` updates, to `base_lr` in the last of them, and
    then falls to `base_lr` · `min_ratio`, which it would reach at `total_steps`: no update has a
    rate of 0. schedule: a key of SCHEDULES. min_ratio: in [0, 1]; may be None when the schedule is
    constant. Raises KeyError for an unknown schedule.
    """
    if step < warmup_steps:
        return base_lr * (step + 1) / warmup_steps
    t = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    down = SCHEDULES[schedule](min(t, 1.0))
    return base_lr * (1.0 - down * (1.0 - (min_ratio or 0.0)))
