# SPDX-License-Identifier: MIT
"""Normalising images by a mean and a standard deviation for each channel."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache

import torch
from torch import Tensor

GREY = (0.299, 0.587, 0.114)  # brightness of red, green and blue: ITU-R BT.601
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Normalization:
    """x ↦ (x - mean) / std, for images [n, channels, height, width] with values in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        return (images - per_channel(self.mean, images.device)) / per_channel(
            self.std, images.device
        )

    def as_dict(self) -> dict[str, list[float]]:
        """As plain values, for metadata.yaml."""
        return {name: list(values) for name, values in asdict(self).items()}

    @classmethod
    def of(cls, batches: Iterable[Tensor]) -> "Normalization":
        """By the mean and the standard deviation of each channel over all `batches` of images.

        Rounded to four digits, so that the order of summation, which differs between machines, has
        no effect.
        """
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for batch in batches:
            x = batch.double()
            count += x.numel() // x.shape[1]
            total = total + x.sum(dim=(0, 2, 3))
            squares = squares + x.square().sum(dim=(0, 2, 3))
        mean = total / count
        std = ((squares - count * mean.square()) / (count - 1)).clamp(min=0).sqrt()
        return cls(_rounded(mean), _rounded(std.clamp(min=1e-4)))  # all images may be one colour

    @classmethod
    def of_imagenet(cls, channels: int) -> "Normalization":
        """What networks pretrained on ImageNet expect; for one channel, the grey of both."""
        if channels == 3:
            return cls(*_IMAGENET)
        return cls(*(_rounded(torch.tensor(GREY) @ torch.tensor(v))[:1] for v in _IMAGENET))


def _rounded(values: Tensor) -> tuple[float, ...]:
    return tuple(round(value, 4) for value in values.reshape(-1).tolist())


@lru_cache(maxsize=32)  # one upload, not one each step
def per_channel(values: tuple[float, ...], device: torch.device) -> Tensor:
    """`values` as float32 [channels, 1, 1] on `device`."""
    return torch.tensor(values, device=device).view(-1, 1, 1)
