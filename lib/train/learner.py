# SPDX-License-Identifier: MIT
"""What learns: a model, the optimizer of its weights, what prunes them, and the learning rate.

learner = Learner.from_settings(settings, model, trained, total_steps)
grad_norm = apply_update(learner.optimizer, lr=learner.lr(step), pruner=learner.pruner, …)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lib.optim.from_settings import optimizer_from_settings, schedule_from_settings
from lib.pruning.build import Unpruned
from lib.pruning.pruner import Pruner


@dataclass(frozen=True)
class Learner:
    """`model` as it is trained, spread over the ranks; `lr` by the number of updates done."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    pruner: Pruner | Unpruned
    lr: Callable[[int], float]

    @staticmethod
    def from_settings(
        settings: Any, model: nn.Module, trained: nn.Module, total_steps: int
    ) -> "Learner":
        """As the settings ask, for `model`, which its wrapper `trained` spreads over the ranks.

        Raises BadUse where the model or the length of the training does not allow it.
        """
        optimizer, pruner = optimizer_from_settings(settings, model, total_steps)
        return Learner(trained, optimizer, pruner, schedule_from_settings(settings, total_steps))
