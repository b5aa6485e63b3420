# SPDX-License-Identifier: MIT
"""Optimizer, pruner and learning rate schedule from the settings of a run, for every model."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ..errors import BadUse
from ..pruning.build import Unpruned, build_pruner
from ..pruning.pruner import Pruner
from . import build_optimizer
from .adamwspam import Spam
from .schedule import lr_at


def optimizer_from_settings(
    settings: Any, model: nn.Module, total_steps: int
) -> tuple[torch.optim.Optimizer, Pruner | Unpruned]:
    """An optimizer for all parameters of `model`, and the pruner attached to it.

    settings: a lib.config.settings.Settings, in which symbols that do not apply are None.
    total_steps: updates in the training. Raises BadUse when the model or the length of the training
    does not allow the pruning that is asked for.
    """
    try:
        pruner = _pruner(settings, model, total_steps)
        optimizer = build_optimizer(
            model,
            settings.OPTIMIZER,
            lr=settings.LEARNING_RATE,
            weight_decay=settings.WEIGHT_DECAY,
            momentum=settings.MOMENTUM,
            nesterov=settings.NESTEROV,
            betas=(settings.ADAM_BETA1, settings.ADAM_BETA2),
            eps=settings.ADAM_EPS,
            spam=_spam(settings),
            base=settings.ADAMWPRUNE_BASE,
            pruner=pruner,
        )
    except ValueError as error:
        raise BadUse(f"PRUNING_METHOD={settings.PRUNING_METHOD}: {error}") from None
    return optimizer, pruner


def schedule_from_settings(settings: Any, total_steps: int) -> Callable[[int], float]:
    """A function from the number of updates done to the learning rate (lib/optim/schedule.py).

    Raises BadUse when the warm-up is longer than the training, if its length follows from epochs
    and data. With MAX_STEPS, lib/config/conflicts.py has checked that before.
    """
    if total_steps < settings.WARMUP_STEPS and total_steps != settings.MAX_STEPS:
        raise BadUse(
            f"WARMUP_STEPS={settings.WARMUP_STEPS}: the training has {total_steps:,} steps and "
            "would end before the learning rate is reached: choose fewer, or more NUM_EPOCHS"
        )
    return functools.partial(
        lr_at,
        base_lr=settings.LEARNING_RATE,
        schedule=settings.LR_SCHEDULE,
        warmup_steps=settings.WARMUP_STEPS,
        total_steps=total_steps,
        min_ratio=settings.MIN_LR_RATIO,
    )


def _pruner(settings: Any, model: nn.Module, total_steps: int) -> Pruner | Unpruned:
    return build_pruner(
        model,
        method=settings.PRUNING_METHOD,
        total_steps=total_steps,
        sparsity=settings.TARGET_SPARSITY,
        score=settings.PRUNING_SCORE,
        score_power=settings.PRUNING_SCORE_POWER,
        scope=settings.PRUNING_SCOPE,
        pattern=settings.PRUNING_PATTERN,
        schedule=settings.PRUNING_SCHEDULE,
        unit=settings.PRUNING_UNIT,
        start=settings.PRUNING_START,
        end=settings.PRUNING_END,
        frequency=settings.PRUNING_FREQUENCY,
        regrowth=settings.REGROWTH,
        exempt_first=settings.PRUNING_EXEMPT_FIRST,
        exempt_last=settings.PRUNING_EXEMPT_LAST,
        embeddings=settings.PRUNING_EMBEDDINGS,
    )


def _spam(settings: Any) -> Spam | None:
    """From the SPAM menu. Symbols of the other variant are None and keep Spam's defaults."""
    symbols = {
        "theta": settings.SPAM_THETA,
        "reset_every": settings.SPAM_RESET_EVERY,
        "grace": settings.SPAM_GRACE,
        "warmup": settings.SPAM_WARMUP,
        "gamma1": settings.SPAM_GAMMA1,
        "gamma2": settings.SPAM_GAMMA2,
        "gamma3": settings.SPAM_GAMMA3,
    }
    given = {name: value for name, value in symbols.items() if value is not None}
    return Spam(stable=settings.SPAM_VARIANT == "stable", **given) if given else None
