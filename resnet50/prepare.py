# SPDX-License-Identifier: MIT
"""What a ResNet training decides before its first step, one decision a function."""

import functools
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lib.config.settings import Settings
from lib.data.images.datasets import Images
from lib.errors import BadUse
from lib.train.batch_finding import BatchPlan, plan_batch, try_step
from lib.train.batch_norm import norm_layer
from lib.train.flops import counted_flops
from lib.train.precision import Kernels, Trial
from lib.train.runtime import Runtime
from resnet50.model import Norm, ResNet

Loss = Callable[[Tensor, Tensor], Tensor]  # of logits and labels


def is_matmul_bound(settings: Settings) -> bool:
    """Whether bfloat16 is worth a trial.

    A narrow network gains so little from it on a CPU that a trial would decide by chance, and two
    equal trainings would differ.
    """
    return settings.RESNET_WIDTH >= 64


def build_model(settings: Settings, classes: int, norm: Norm | None = None) -> ResNet:
    """The network of the settings, with random weights; `norm` replaces its batch norm."""
    depth, width, stem = int(settings.RESNET_DEPTH), settings.RESNET_WIDTH, settings.RESNET_STEM
    return ResNet(depth, classes, width, stem, norm or norm_layer(settings.RESNET_NORM))


def smoothed_loss(settings: Settings) -> Loss:
    """Mean cross-entropy in nats of logits [n, classes] and labels, int64 [n] or shares
    [n, classes]; a share LABEL_SMOOTHING of each label is spread evenly over all classes
    (Szegedy et al. 2015, section 7).
    """
    return functools.partial(F.cross_entropy, label_smoothing=settings.LABEL_SMOOTHING)


def trial_step(
    settings: Settings, runtime: Runtime, model: nn.Module, images: Images, loss: Loss
) -> Trial:
    """What may be tried: a step with the first micro-batch."""

    @functools.cache  # not read where no trial is needed
    def first() -> tuple[Tensor, Tensor]:
        rows = slice(0, min(plan_batch(settings, runtime).micro, len(images)))
        return next(iter(images.in_order([rows])))

    def step(precision: str, _: Kernels) -> None:
        x, y = first()

        def forward() -> Tensor:
            with replace(runtime, precision=precision).autocast():
                return loss(model(x), y)

        try_step(model, forward, runtime.device, copies=0)

    names = ("RESNET_DEPTH", "RESNET_WIDTH", "RESNET_STEM", "RESNET_NORM", "IMAGE_SIZE")
    about = {name: getattr(settings, name) for name in names}
    return Trial(step, about | {"batch": plan_batch(settings, runtime).micro})


def require_statistics(settings: Settings, plan: BatchPlan) -> None:
    """Raise BadUse for a batch norm over a single image, whose variance says nothing of others."""
    norm, ranks = settings.RESNET_NORM, plan.world_size
    if plan.micro > 1 or norm == "frozen" or (norm == "synced" and ranks > 1):
        return
    raise BadUse(
        f"RESNET_NORM={norm} takes mean and variance over a micro-batch, which has one image "
        f"({plan}): choose a larger BATCH_SIZE with a smaller GRAD_ACCUM, RESNET_NORM=frozen to "
        "fine-tune, or RESNET_NORM=synced on several ranks"
    )


def flops_per_image(settings: Settings, classes: int) -> float:
    """Flops of a training step for each image, counted without computing anything.

    Norms do not count; one that asks other ranks could not be evaluated here.
    """
    size = settings.IMAGE_SIZE
    with torch.device("meta"):
        model = build_model(settings, classes, nn.BatchNorm2d)
        images, labels = torch.empty(2, 3, size, size), torch.zeros(2, dtype=torch.int64)
    return counted_flops(lambda: F.cross_entropy(model(images), labels)) / 2
