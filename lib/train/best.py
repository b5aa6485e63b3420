# SPDX-License-Identifier: MIT
"""Which evaluation is the best: CHECKPOINT_METRIC and CHECKPOINT_MODE.

best = Best("val/loss", "min", known=["loss", "accuracy"])
if best.is_better(metrics, than=state.best): …
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import BadUse, did_you_mean


@dataclass(frozen=True)
class Best:
    """By the lowest ("min") or highest ("max") value of `metric`.

    `known` are the metrics of the evaluations, without val/ in front; None: not known yet. Raises
    BadUse when `metric` is none of them.
    """

    metric: str
    mode: str
    known: Iterable[str] | None = field(repr=False)

    def __post_init__(self) -> None:
        if self.known is None:
            return
        names = [f"val/{name}" for name in self.known]
        if self.metric not in names:
            raise BadUse(
                f"CHECKPOINT_METRIC={self.metric} is not a metric of this model's evaluations"
                f"{did_you_mean(self.metric, names)}; they are {', '.join(names)}"
            )

    def is_better(self, metrics: Mapping[str, float], than: Mapping[str, float]) -> bool:
        """Whether `metrics` are better than those of an earlier evaluation, which may be empty.

        NaN is never better; equal values are not, so that the first one stays the best.
        """
        new = metrics[self.metric]
        old = than.get(self.metric)
        if old is None:
            return new == new
        return new < old if self.mode == "min" else new > old
