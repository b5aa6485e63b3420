# SPDX-License-Identifier: MIT
"""What an update of the weights needs: model, optimizer, pruner, learning rate, clipping.

learner = Learner.from_settings(settings, model, trained, total_steps)
lr = learner.lr(step)
grad_norm = learner.update(lr)
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lib.optim.from_settings import optimizer_from_settings, schedule_from_settings
from lib.optim.update import apply_update
from lib.pruning.build import Unpruned
from lib.pruning.pruner import Pruner


@dataclass(frozen=True)
class Learner:
    """`model` is spread over the ranks; `lr` is a function of the number of updates made.

    `grad_clip` is the largest 2-norm of a gradient, 0 for no limit.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    pruner: Pruner | Unpruned
    lr: Callable[[int], float]
    grad_clip: float

    @staticmethod
    def from_settings(
        settings: Any, model: nn.Module, trained: nn.Module, total_steps: int
    ) -> "Learner":
        """As the settings ask, for `model`, which its wrapper `trained` spreads over the ranks.

        Raises BadUse when the settings do not suit the model or the length of the training.
        """
        optimizer, pruner = optimizer_from_settings(settings, model, total_steps)
        lr = schedule_from_settings(settings, total_steps)
        return Learner(trained, optimizer, pruner, lr, settings.GRAD_CLIP)

    def update(self, lr: float) -> Tensor:
        """Prune, clip and step with the gradients at hand, and drop them (lib/optim/update.py).

        Returns the norm of the gradient before clipping, a 0-d tensor on the device.
        """
        return apply_update(self.optimizer, lr=lr, grad_clip=self.grad_clip, pruner=self.pruner)
