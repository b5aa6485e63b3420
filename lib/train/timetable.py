# SPDX-License-Identifier: MIT
"""What is due after which step, and when a training ends.

timetable = Timetable.from_settings(settings, steps_per_epoch, total_steps)
if timetable.evaluates(step): …
"""

from dataclasses import dataclass
from typing import Any

from ..errors import BadUse


@dataclass(frozen=True)
class Timetable:
    """Intervals in steps; `max_time` in seconds, `early_stop` in evaluations, 0 for no limit."""

    steps_per_epoch: int
    total_steps: int
    log_interval: int
    eval_interval: int
    save_interval: int
    milestone_interval: int  # 0 for none
    histogram_interval: int  # in evaluations; 0 for never
    max_time: float
    early_stop: int

    @staticmethod
    def from_settings(settings: Any, steps_per_epoch: int, total_steps: int) -> "Timetable":
        """As the settings ask. Raises BadUse when the warm-up is longer than the training."""
        warmup = settings.WARMUP_STEPS
        if warmup > total_steps:
            raise BadUse(
                f"WARMUP_STEPS={warmup} is longer than the training, which has {total_steps} "
                f"steps: choose at most {total_steps}, or train longer (MAX_STEPS, NUM_EPOCHS)"
            )
        eval_interval = settings.EVAL_INTERVAL or steps_per_epoch
        return Timetable(
            steps_per_epoch=steps_per_epoch,
            total_steps=total_steps,
            log_interval=settings.LOG_INTERVAL,
            eval_interval=eval_interval,
            save_interval=settings.CHECKPOINT_INTERVAL or eval_interval,
            milestone_interval=settings.CHECKPOINT_EVERY,
            histogram_interval=settings.HISTOGRAM_INTERVAL or 0,
            max_time=settings.MAX_TIME,
            early_stop=settings.EARLY_STOP,
        )

    def logs(self, step: int) -> bool:
        """Whether training metrics are logged after update number `step`, counted from 1."""
        return step % self.log_interval == 0 or step == 1

    def evaluates(self, step: int) -> bool:
        """Whether an evaluation follows update number `step`."""
        return step % self.eval_interval == 0

    def saves(self, step: int) -> bool:
        """Whether a checkpoint follows update number `step`, whatever the time."""
        milestone = self.milestone_interval > 0 and step % self.milestone_interval == 0
        return milestone or step % self.save_interval == 0

    def draws_histograms(self, step: int) -> bool:
        """Whether the evaluation after update number `step` logs histograms of the weights."""
        every = self.histogram_interval
        return every > 0 and step // self.eval_interval % every == 0
