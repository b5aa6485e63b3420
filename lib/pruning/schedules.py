# SPDX-License-Identifier: MIT
"""When and how much to prune: sparsity as a pure function of the step.

The ramps run from 0 at `start` to `target` at `end`, with t = (step - start) / (end - start):

    cubic       target·(1 - (1 - t)³)   fast, then slower (Zhu and Gupta 2017, eq. 1)
    linear      target·t
    late-cubic  target·t³               slow, then faster
    one-shot    target                  all at `start`

`alternating` has phases of `frequency` steps instead, counted back from `end`: dense ones, in which
all weights are trained, and sparse ones at the target (AC/DC: Peste et al. 2021). The one before
`end` is dense, the first one after `start` sparse.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

RAMPS: dict[str, Callable[[float], float]] = {
    "cubic": lambda t: 1.0 - (1.0 - t) ** 3,
    "linear": lambda t: t,
    "late-cubic": lambda t: t**3,
    "one-shot": lambda t: 1.0,
}
ALTERNATING = "alternating"


@dataclass(frozen=True)
class Schedule:
    """Step n is the n-th update of the weights, counted from 1; masks change at its beginning.

    target: sparsity in [0, 1). start, end: steps, 1 ≤ start ≤ end ≤ total_steps. frequency: steps
    between updates of the masks, at least 1; there is always one at `end`. ramp: a key of RAMPS, or
    ALTERNATING. regrowth: share in [0, 1) of the kept weights of each layer that an update
    exchanges at most (`regrowth_at`); with it, updates go on to the end of the training.

    Raises ValueError naming the value that is out of range.
    """

    target: float
    total_steps: int
    start: int = 1
    end: int = 1
    frequency: int = 1
    ramp: str = "cubic"
    regrowth: float = 0.0

    def __post_init__(self):
        if self.ramp not in (*RAMPS, ALTERNATING):
            known = ", ".join((*RAMPS, ALTERNATING))
            raise ValueError(f"schedule {self.ramp!r} is unknown: {known}")
        if not 0.0 <= self.target < 1.0:
            raise ValueError(f"target sparsity {self.target} is outside [0, 1)")
        if not 0.0 <= self.regrowth < 1.0:
            raise ValueError(f"regrowth {self.regrowth} is outside [0, 1)")
        if self.frequency < 1:
            raise ValueError(f"pruning frequency {self.frequency} is less than one step")
        if not 1 <= self.start <= self.end:
            raise ValueError(f"pruning from step {self.start} to {self.end}: want 1 ≤ start ≤ end")
        if self.end > self.total_steps:
            raise ValueError(
                f"pruning ends at step {self.end}, after the end of training ({self.total_steps})"
            )
        if self.alternating:
            self._check_phases()

    def _check_phases(self) -> None:
        if self.regrowth:
            raise ValueError("regrowth needs weights that stay removed, not alternating phases")
        if self.end - 2 * self.frequency < self.start:
            raise ValueError(
                f"no sparse and dense phase of {self.frequency} steps each fit between step "
                f"{self.start} and {self.end}"
            )

    @property
    def alternating(self) -> bool:
        """Whether dense phases follow sparse ones."""
        return self.ramp == ALTERNATING

    def sparsity_at(self, step: int) -> float:
        """Share of the prunable weights that is pruned in `step`."""
        if step < self.start:
            return 0.0
        if step >= self.end:
            return self.target
        if self.alternating:
            phase = self._phases_before_end(step)
            has_begun = self.end - phase * self.frequency >= self.start
            return self.target if has_begun and phase % 2 == 0 else 0.0
        return self.target * RAMPS[self.ramp]((step - self.start) / (self.end - self.start))

    def due(self, step: int) -> bool:
        """Whether the masks change at this step."""
        if step == self.end:
            return True
        if self.alternating:
            return self.sparsity_at(step) != self.sparsity_at(step - 1)
        last = self.total_steps if self.regrowth else self.end
        return self.start <= step <= last and (step - self.start) % self.frequency == 0

    def _phases_before_end(self, step: int) -> int:
        """1 in the last phase before `end`, 2 in the one before it, and so on."""
        return -(-(self.end - step) // self.frequency)

    def regrowth_at(self, step: int) -> float:
        """Share of the kept weights to exchange: a cosine that ends at 0 (RigL, GraNet)."""
        return self.regrowth * (1.0 + math.cos(math.pi * step / self.total_steps)) / 2.0
