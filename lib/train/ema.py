# SPDX-License-Identifier: MIT
"""The running mean of the weights (EMA_DECAY), which often does better than the weights.

    average = average_from_settings(settings, model, pruner)
    average.update()                    # after each step
    with average.in_place():            # the model has the mean as its weights
        evaluate(model)

Without EMA_DECAY it is an Unaveraged, which does nothing.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ..pruning.build import Unpruned
from ..pruning.pruner import Pruner
from .checkpoint.weights import AVERAGE


class Average:
    """The running mean of the weights of `model`, from those that it has now.

    mean ← d · mean + (1 - d) · weights, with d = min(decay, (1 + t) / (10 + t)) after t earlier
    updates, so that the first weights are soon forgotten (as tf.train.ExponentialMovingAverage with
    num_updates). Running statistics of batch norm are averaged in the same way, because they belong
    to the weights of their time; integers, such as their counts, are those of the model. A weight
    that several layers share has one mean.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.updates = 0
        self._model, self._decay = model, decay
        tensors = model.state_dict(keep_vars=True).values()
        found = {t: None for t in tensors if isinstance(t, Tensor) and t.is_floating_point()}
        self._weights = list(found)
        self._means = [weight.detach().clone() for weight in found]
        self._mean_of = dict(zip(self._weights, self._means, strict=True))

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights after a step into the mean."""
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        get_ema_multi_avg_fn(decay)(self._means, self._weights, None)
        self.updates += 1

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it the model has the mean as its weights; nothing is copied.

        Parameters stay the objects that optimizers, hooks and compiled code know: they change their
        memory with the mean.
        """
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for weight, mean in zip(self._weights, self._means, strict=True):
            weight.data, mean.data = mean.data, weight.data

    def zero_where_pruned(self, pruner: Pruner | Unpruned) -> None:
        """From now on the mean of a weight that `pruner` prunes is zero, too."""
        pruner.also_zero(self._mean_of)

    def contents(self) -> dict[str, Any]:
        """What a checkpoint has of it: the mean, under the names of the model's state_dict."""
        state = self._model.state_dict(keep_vars=True)
        return {AVERAGE: {name: self._mean_of.get(t, t) for name, t in state.items()}}

    @torch.no_grad()
    def restore(self, contents: Mapping[str, Any], updates: int) -> None:
        """Load what `contents` gave after so many updates.

        Raises KeyError or ValueError when it is of another model.
        """
        state, saved = self._model.state_dict(keep_vars=True), contents[AVERAGE]
        for name, tensor in state.items():
            if saved[name].shape != tensor.shape:
                raise ValueError(f"the mean of {name} has the shape {tuple(saved[name].shape)}")
        for name, tensor in state.items():
            if tensor in self._mean_of:
                self._mean_of[tensor].copy_(saved[name])
        self.updates = updates


class Unaveraged:
    """Takes the place of an Average when none is kept, and does nothing."""

    def update(self) -> None:
        """Nothing to update."""

    def in_place(self) -> nullcontext:
        """The model keeps its weights."""
        return nullcontext()

    def contents(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def restore(self, contents: Mapping[str, Any], updates: int) -> None:
        """Nothing to restore."""


def average_from_settings(
    settings: Any, model: nn.Module, pruner: Pruner | Unpruned
) -> Average | Unaveraged:
    """What EMA_DECAY asks for, of a `model` that `pruner` prunes."""
    if not settings.EMA_DECAY:
        return Unaveraged()
    average = Average(model, settings.EMA_DECAY)
    average.zero_where_pruned(pruner)
    return average
