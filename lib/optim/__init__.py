# SPDX-License-Identifier: MIT
"""Optimizers by name, each a torch.optim.Optimizer with fused kernels (docs/optimizers.md).

    optimizer = build_optimizer(model, "adamw", lr=0.002, weight_decay=0.01, betas=(0.9, 0.999))
    optimizer = build_optimizer(model, "adamwspam", lr=0.002, …, pruner=pruner)

The doors:
- build_optimizer: any optimizer by name, with a pruner (lib/pruning) attached if there is one;
- from_settings: optimizer, pruner and learning rate as the settings of a run say;
- schedule.lr_at: the learning rate as a function of the step;
- update.apply_update: unscale, prune, clip, step, the same for every model;
- adamwprune.AdamWPrune, adamwspam.AdamWSPAM: the classes, for a program of your own.

Learning rate schedule and clipping are separate from the optimizer, so that two optimizers can be
compared with everything else equal.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..pruning.build import Unpruned
from ..pruning.pruner import Pruner
from .adamwprune import AdamWPrune
from .adamwspam import AdamWSPAM, Spam

Groups = list[dict[str, Any]]


def _sgd(groups: Groups, *, momentum: float, nesterov: bool, **_: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, momentum=momentum, nesterov=nesterov, fused=_sgd_fuses(groups))


def _sgd_fuses(groups: Groups) -> bool:
    """Whether the fused kernel of SGD is right for these parameters.

    On a CPU, PyTorch 2.13's is right for float32 only (pytorch/pytorch issue 191763).
    """
    parameters = [p for group in groups for p in group["params"]]
    return all(p.device.type != "cpu" or p.dtype == torch.float32 for p in parameters)


def _adam(groups: Groups, *, betas: Any, eps: float, **_: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, betas=betas, eps=eps, fused=True)


def _adamw(groups: Groups, *, betas: Any, eps: float, **_: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, betas=betas, eps=eps, fused=True)


def _adamwadv(groups: Groups, *, betas: Any, eps: float, **_: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, betas=betas, eps=eps, amsgrad=True, fused=True)


def _adamwspam(
    groups: Groups, *, betas: Any, eps: float, spam: Spam | None, **_: Any
) -> torch.optim.Optimizer:
    return AdamWSPAM(groups, betas=betas, eps=eps, spam=spam or Spam(), fused=True)


def _adamwprune(
    groups: Groups,
    *,
    betas: Any,
    eps: float,
    base: str,
    spam: Spam | None,
    pruner: Pruner,
    **_: Any,
) -> torch.optim.Optimizer:
    spam = spam or Spam()
    return AdamWPrune(groups, pruner, base=base, spam=spam, betas=betas, eps=eps, fused=True)


# The kernels are fused on CPU, CUDA and MPS, except for SGD in low precision on a CPU.
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adamw,
    "adamwadv": _adamwadv,
    "adamwspam": _adamwspam,
    "adamwprune": _adamwprune,
}


def build_optimizer(
    model: nn.Module,
    name: str,
    *,
    lr: float,
    weight_decay: float,
    momentum: float | None = None,
    nesterov: bool = False,
    betas: tuple[float | None, float | None] = (None, None),
    eps: float | None = None,
    spam: Spam | None = None,
    base: str = "adamw",
    pruner: Pruner | Unpruned | None = None,
) -> torch.optim.Optimizer:
    """The optimizer `name` for all parameters of `model`, with `pruner` attached if there is one.

    name: a key of OPTIMIZERS. `momentum` and `nesterov` are for sgd; `betas` and `eps` for the Adam
    family; `spam` (None: the published values) for adamwspam and adamwprune; `base` for adamwprune,
    which needs a `pruner`. What an optimizer does not use may stay None.

    Raises KeyError for an unknown name, and ValueError when the pruner cannot be attached
    (Pruner.attach says when).
    """
    groups = parameter_groups(model, lr=lr, weight_decay=weight_decay)
    optimizer = OPTIMIZERS[name](
        groups,
        momentum=momentum,
        nesterov=nesterov,
        betas=betas,
        eps=eps,
        spam=spam,
        base=base,
        pruner=pruner,
    )
    if pruner is not None and name != "adamwprune":
        pruner.attach(optimizer)
    return optimizer


def parameter_groups(model: nn.Module, *, lr: float, weight_decay: float) -> Groups:
    """Trained parameters in two groups: those of two or more dimensions decay, vectors do not."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [{**group, "lr": lr} for group in groups if group["params"]]


def describe_decay(optimizer: torch.optim.Optimizer) -> str:
    """A line for the log: how many parameters have which weight decay."""
    parts = []
    for group in optimizer.param_groups:
        n = sum(p.numel() for p in group["params"])
        parts.append(
            f"{group['weight_decay']:g} on {n:,} parameters in {len(group['params'])} tensors"
        )
    return "weight decay: " + ", ".join(parts)
