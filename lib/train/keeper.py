# SPDX-License-Identifier: MIT
"""Saves a training: what a checkpoint contains, and when it is written apart from the timetable.

keeper = Keeper(settings, runtime, learner, state, run)
keeper.begin(dataset, clock)                # before the first step
keeper.save(metrics, is_best=True)          # all ranks
keeper.saver.close()
"""

from collections.abc import Mapping
from typing import Any

from .checkpoint.contents import collect, data_identity
from .clock import Clock
from .guard import LossGuard
from .learner import Learner
from .ranks import any_rank
from .runtime import Runtime
from .sharded_saver import open_saver
from .state import TrainingState


class Keeper:
    """Writes the checkpoints of `run`, while the training goes on.

    `saver` writes the files. `saved_step` is that of the latest checkpoint, 0 for none; `state` is
    saved with the weights and not changed, except for its time.
    """

    def __init__(
        self, settings: Any, runtime: Runtime, learner: Learner, state: TrainingState, run: Any
    ) -> None:
        self._settings, self._runtime = settings, runtime
        self._learner, self._state, self._run = learner, state, run
        self._guard = LossGuard()
        self.saved_step = state.step
        self.saver = open_saver(
            run.dir / "checkpoints",
            learner.model,
            learner.optimizer,
            is_main=runtime.is_main,
            keep=settings.CHECKPOINT_KEEP,
            every=settings.CHECKPOINT_EVERY,
            compress=bool(settings.CHECKPOINT_COMPRESS),
            sync_journal=run.sync,
            say=run.say,
        )
        if state.step:
            self.saver.rewind(state.step, state.best_step)

    def begin(self, dataset: Mapping[str, Any], clock: Clock) -> None:
        """What is trained on, and the clock of the training: both go into each checkpoint."""
        self._data, self._clock = data_identity(dataset), clock
        self._saved_at = clock.elapsed()

    def is_overdue(self) -> bool:
        """Whether the latest checkpoint is CHECKPOINT_MINUTES old; all ranks must call."""
        limit = 60 * self._settings.CHECKPOINT_MINUTES
        return limit > 0 and any_rank(self._clock.elapsed() - self._saved_at >= limit)

    def save(self, metrics: Mapping[str, float], *, is_best: bool = False) -> None:
        """Save the step that is complete now; all ranks must call.

        Raises Diverged when a weight is not finite: such a checkpoint must not replace a good one.
        """
        state = self._state
        self._guard.check_weights(self._learner.model.parameters(), state.step)
        state.elapsed_s = self._saved_at = self._clock.elapsed()
        offset = self._run.position()
        contents = collect(self._settings, self._runtime, self._learner, state, self._data, offset)
        self.saver.save(contents, step=state.step, metrics=dict(metrics), best=is_best)
        self.saved_step = state.step
