# SPDX-License-Identifier: MIT
"""Batch norm whose statistics come from one rank, from all of them, or are fixed.

    norm = norm_layer("synced")         # or "batch", "frozen"
    layers = nn.Sequential(nn.Conv2d(3, 64, 3, bias=False), norm(64), nn.ReLU())

The state of all three has the names of nn.BatchNorm2d, so that each loads that of the others.
Statistics are those of a micro-batch: gradient accumulation makes them noisier. They are float32
under autocast as well.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F
from torch.nn.modules._functions import SyncBatchNorm

_OVER = (0, 2, 3)  # all dimensions but that of the channels


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """Normalises by the running statistics, which stay as they are; gain and bias are trained."""

    def forward(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """Normalises by mean and variance over the micro-batches of all ranks together.

    Outputs, gradients (averaged over the ranks) and running statistics are those of one process
    with the whole batch. All ranks must call `forward` and the backward pass alike. In evaluation,
    and without a process group, it is nn.BatchNorm2d.
    """

    asks_ranks = True  # see `trial_statistics`

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(num_features, eps, momentum)

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.asks_ranks and _ranks() > 1):
            return super().forward(x)
        self._check_input_dim(x)
        self.num_batches_tracked.add_(1)
        given = (x, self.weight, self.bias, self.running_mean, self.running_var)
        given += (self.eps, self.momentum)
        if x.is_cuda:  # what nn.SyncBatchNorm calls, which itself refuses to run on a CPU
            return SyncBatchNorm.apply(*given, dist.group.WORLD, _ranks())
        return _OverRanks.apply(*given)


class _OverRanks(torch.autograd.Function):
    """Batch norm over all ranks: Ioffe and Szegedy (2015), with sums over the ranks' examples.

    With x̂ = (x - mean) / √(var + eps) and y = w·x̂ + b, and ⟨·⟩ the mean over all ranks' values of
    a channel, dx = w / √(var + eps) · (dy - ⟨dy⟩ - x̂·⟨dy·x̂⟩).
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        eps: float,
        momentum: float,
    ) -> Tensor:
        n, mean, var = _moments_over_ranks(_wide(x))
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(var * (n / (n - 1)), momentum)
        ctx.save_for_backward(x, weight, mean, (var + eps).rsqrt())
        ctx.n = n
        return F.batch_norm(x, mean, var, weight, bias, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, scale = ctx.saved_tensors
        dy = _wide(grad)
        normalized = (_wide(x) - _by_channel(mean)) * _by_channel(scale)
        own = torch.stack([dy.sum(_OVER), (dy * normalized).sum(_OVER)])
        means = own.clone()
        dist.all_reduce(means)
        means /= ctx.n
        dx = dy - _by_channel(means[0]) - normalized * _by_channel(means[1])
        dx *= _by_channel(weight * scale)
        # Those of gain and bias are averaged over the ranks with all other gradients.
        return dx.to(x.dtype), own[1], own[0], None, None, None, None


def _moments_over_ranks(x: Tensor) -> tuple[float, Tensor, Tensor]:
    """(values a channel, mean, variance) over the ranks' `x`, [examples, channels, y, x].

    Each rank's variance is around its own mean, and they are combined in float64 (Chan, Golub and
    LeVeque, 1979): means of squares would cancel where the mean is large. The result is the same on
    all ranks to the last bit.
    """
    channels = x.shape[1]
    var, mean = torch.var_mean(x, _OVER, correction=0)
    count = torch.tensor([x.numel() // channels])
    own = torch.cat([value.double() for value in (count, mean, var)])
    parts = [torch.empty_like(own) for _ in range(_ranks())]
    dist.all_gather(parts, own)
    counts, means, variances = torch.stack(parts).split([1, channels, channels], dim=1)
    n = counts.sum()
    mean = (counts * means).sum(0) / n
    var = (counts * (variances + (means - mean).square())).sum(0) / n
    return n.item(), mean.to(x.dtype), var.to(x.dtype)


def _wide(x: Tensor) -> Tensor:
    """`x` in float32, if it is narrower."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _by_channel(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1)


def _ranks() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


_KINDS = {"batch": nn.BatchNorm2d, "synced": SyncedBatchNorm2d, "frozen": FrozenBatchNorm2d}


def norm_layer(name: str) -> Callable[[int], nn.Module]:
    """The norm `name` as a function of the number of channels: batch, synced or frozen.

    Raises ValueError for another name.
    """
    if name not in _KINDS:
        raise ValueError(f"batch norm {name!r} is unknown: {', '.join(_KINDS)}")
    return _KINDS[name]


@contextmanager
def trial_statistics(model: nn.Module) -> Iterator[None]:
    """Within it `model` asks no other rank for statistics; its buffers are restored afterwards.

    For forward passes that are no part of the training, which a rank may make alone.
    """
    synced = [module for module in model.modules() if isinstance(module, SyncedBatchNorm2d)]
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    for module in synced:
        module.asks_ranks = False
    try:
        yield
    finally:
        for module in synced:
            module.asks_ranks = True
        for buffer, value in before:
            buffer.copy_(value)
