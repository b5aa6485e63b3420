# SPDX-License-Identifier: MIT
"""The sums of the tiny model, and what a training of it must end with."""

import math
import random


def advance(state: float, seed: int, step: int) -> float:
    """The state after the update that follows `step` updates."""
    return 0.9 * state + random.Random(f"{seed} {step}").uniform(-1, 1)


def val_loss(state: float, lr: float, step: int) -> float:
    """A parabola over the learning rate, best at 1e-3, that falls with the steps, and noise."""
    return (math.log10(lr) + 3) ** 2 + 1 / (1 + step) + 0.01 * state


def expected_loss(seed: int, lr: float, steps: int) -> float:
    """The validation loss that a training ends with, however often it was interrupted."""
    state = 0.0
    for step in range(steps):
        state = advance(state, seed, step)
    return val_loss(state, lr, steps)
