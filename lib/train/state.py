# SPDX-License-Identifier: MIT
"""The progress of a training: what the next step depends on, apart from weights and optimizer.

    state = TrainingState(plan)
    saved = state.state_dict()          # plain values, for a checkpoint
    state.load_state_dict(saved)

Batches, augmentation and dropout are functions of (seed, step), so that `step` is also the position
in the data.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .batch_finding import BatchPlan

_PLAIN = ("step", "examples", "elapsed_s", "evaluated_step", "best_step", "evaluations_since_best")


@dataclass
class TrainingState:
    """`step` updates were made, from `examples` training examples, in `elapsed_s` seconds.

    `evaluated_step` is the step of the latest evaluation. `best` holds the metrics of the best one,
    after `best_step` updates; it is empty before the first evaluation that counts. `plan` says how
    the batch is divided.
    """

    plan: BatchPlan
    step: int = 0
    examples: int = 0
    elapsed_s: float = 0.0
    best: dict[str, float] = field(default_factory=dict)
    evaluated_step: int = 0
    best_step: int = 0
    evaluations_since_best: int = 0

    def note(self, metrics: dict[str, float], *, is_best: bool) -> None:
        """Count an evaluation, now, that could be the best."""
        self.evaluations_since_best += 1
        if is_best:
            self.best, self.best_step = metrics, self.step
            self.evaluations_since_best = 0

    def state_dict(self) -> dict[str, Any]:
        """A copy as plain values."""
        plain = {name: getattr(self, name) for name in _PLAIN}
        return {**plain, "best": dict(self.best), "batch": self.plan.as_dict()}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; how the batch is divided stays as it is here.

        Raises ValueError, with nothing changed, when the batch was of another size.
        """
        effective = saved["batch"]["effective"]
        if effective != self.plan.effective:
            raise ValueError(
                f"the saved training has {effective} examples a step, this one "
                f"{self.plan.effective}"
            )
        values = {name: saved[name] for name in _PLAIN}
        for name, value in {**values, "best": dict(saved["best"])}.items():
            setattr(self, name, value)
