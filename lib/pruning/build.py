# SPDX-License-Identifier: MIT
"""A pruner from plain values, such as those of a configuration.

    pruner = build_pruner(model, method="state", score="bitter7", sparsity=0.9, …)
    optimizer = build_optimizer(model, "adamwprune", …, pruner=pruner)

lib/optim/from_settings.py does both from the settings of a run.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from .pruner import Pruner
from .schedules import Schedule
from .scores import SCORES
from .targets import prunable

METHODS = ("none", "magnitude", "lamp", "movement", "movement-from-start", "state")


class Unpruned:
    """Takes the place of a Pruner when nothing is pruned, and does nothing."""

    done = True
    histogram = None

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Nothing to attach."""

    def also_zero(self, companions: Mapping[Parameter, Tensor]) -> None:
        """Nothing becomes zero."""

    def prepare(self) -> None:
        """Nothing to prepare."""

    def metrics(self) -> dict[str, float]:
        """No sparsity."""
        return {}

    def layers(self) -> list[dict[str, Any]]:
        """No layer."""
        return []


def build_pruner(
    model: nn.Module,
    *,
    method: str,
    total_steps: int,
    sparsity: float | None = None,
    score: str = "",
    score_power: float | None = None,
    scope: str = "global",
    pattern: str = "unstructured",
    schedule: str = "cubic",
    unit: str = "share",
    start: float | None = None,
    end: float | None = None,
    frequency: float | None = None,
    regrowth: float | None = None,
    exempt_first: bool = False,
    exempt_last: bool = False,
    embeddings: bool = False,
) -> "Pruner | Unpruned":
    """A pruner for the prunable weights of `model`, or an Unpruned when `method` is none.

    method: one of METHODS; `score` is for the method state only, the other methods are scores
    themselves. score_power: the exponent of the score v-power. sparsity, regrowth: in [0, 1).
    unit: `share` or `steps`; `start`, `end` and `frequency` are shares of `total_steps` or steps
    accordingly, and shares are moved to the first step that the score allows. Without an `end`,
    everything happens at `start`.

    Raises ValueError when the method is unknown, or model, method and schedule do not fit together.
    """
    if method not in METHODS:
        raise ValueError(f"pruning method {method!r} is unknown: {', '.join(METHODS)}")
    if method == "none":
        return Unpruned()

    name = score if method == "state" else method
    # Scores by state or movement need one step to go by.
    earliest = 2 if SCORES[name].state or SCORES[name].memory else 1

    def steps(value: float) -> int:
        return max(1, round(value * total_steps)) if unit == "share" else int(value)

    first = max(earliest, steps(start)) if unit == "share" else int(start)
    plan = Schedule(
        sparsity,
        total_steps,
        start=first,
        end=first if end is None else max(first, steps(end)),
        frequency=1 if frequency is None else steps(frequency),
        ramp=schedule,
        regrowth=regrowth or 0.0,
    )
    if first < earliest and plan.sparsity_at(first):
        raise ValueError(f"pruning by {name} can start at step {earliest}, not at {first}")
    weights = prunable(
        model, exempt_first=exempt_first, exempt_last=exempt_last, embeddings=embeddings
    )
    return Pruner(weights, plan, score=name, score_power=score_power, scope=scope, pattern=pattern)
