# SPDX-License-Identifier: MIT
"""The time per step and the total time of a training.

    clock = Clock(elapsed_s=state.elapsed_s, step=state.step)
    seconds = clock.lap(step)        # per step, since the previous lap
    with clock.paused():             # not part of a step: evaluation, checkpoints
        evaluate()
    clock.elapsed()                  # everything included

A GPU works asynchronously: read a result of the step back before each call.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Clock:
    """Starts when it is created, with `elapsed_s` seconds already spent on `step` steps."""

    def __init__(
        self, elapsed_s: float, step: int, now: Callable[[], float] = time.perf_counter
    ) -> None:
        self._now = now
        self._started = now() - elapsed_s
        self._since, self._since_step = now(), step

    def elapsed(self) -> float:
        """Seconds of training, evaluation and checkpoints included."""
        return self._now() - self._started

    def lap(self, step: int) -> float:
        """Seconds per step since the previous lap, without pauses; `step` is the current step."""
        now = self._now()
        seconds = (now - self._since) / (step - self._since_step)
        self._since, self._since_step = now, step
        return seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time spent in this block from the lap."""
        began = self._now()
        yield
        self._since += self._now() - began
