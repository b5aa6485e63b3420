# SPDX-License-Identifier: MIT
"""What an update of the weights needs: model, optimizer, pruner, learning rate, clipping.

learner = Learner.from_settings(settings, runtime, model, trained, total_steps)
lr = learner.lr(step)
learner.scaled(loss).backward()
grad_norm = learner.update(lr)
with learner.averaged():
    evaluate(model)
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..optim.from_settings import optimizer_from_settings, schedule_from_settings
from ..optim.update import apply_update
from ..pruning.build import Unpruned
from ..pruning.pruner import Pruner
from .ema import Average, Unaveraged, average_from_settings
from .loss_scale import LossScale, Unscaled, loss_scale_for
from .ranks import average_buffers
from .runtime import Runtime


@dataclass(frozen=True)
class Learner:
    """`model` is spread over the ranks; `lr` is a function of the number of updates made.

    `grad_clip` is the largest 2-norm of a gradient, 0 for no limit. `average` is the running mean
    of the weights, `loss_scale` what the loss is multiplied by in float16.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    pruner: Pruner | Unpruned
    lr: Callable[[int], float]
    grad_clip: float
    average: Average | Unaveraged
    loss_scale: LossScale | Unscaled = field(default_factory=Unscaled)

    @staticmethod
    def from_settings(
        settings: Any, runtime: Runtime, model: nn.Module, trained: nn.Module, total_steps: int
    ) -> "Learner":
        """As the settings ask, for `model`, which its wrapper `trained` spreads over the ranks.

        Raises BadUse when the settings do not suit the model or the length of the training.
        """
        optimizer, pruner = optimizer_from_settings(settings, model, total_steps)
        lr = schedule_from_settings(settings, total_steps)
        average = average_from_settings(settings, model, pruner)
        loss_scale = loss_scale_for(runtime.precision, runtime.device)
        return Learner(trained, optimizer, pruner, lr, settings.GRAD_CLIP, average, loss_scale)

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss whose gradients `update` takes: multiplied by the loss scale in float16."""
        return self.loss_scale.scaled(loss)

    def update(self, lr: float) -> Tensor:
        """Prune, clip and step with the gradients at hand, and drop them (lib/optim/update.py).

        Returns the norm of the gradient before clipping, a 0-d tensor on the device.
        """
        norm = apply_update(
            self.optimizer,
            lr=lr,
            grad_clip=self.grad_clip,
            scaler=self.loss_scale.scaler,
            pruner=self.pruner,
        )
        self.loss_scale.note_update()
        average_buffers(self.model)
        self.average.update()
        return norm

    def averaged(self) -> AbstractContextManager[None]:
        """Within it the model is as it is to be measured, afterwards as it is trained.

        Its weights are their running mean, if there is one (EMA_DECAY).
        """
        return self.average.in_place()
