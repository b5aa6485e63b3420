# SPDX-License-Identifier: MIT
"""Random changes of a batch of images, each a pure function of (seed, step, position).

The random numbers are drawn on the CPU, so that every device gets the same ones, and for the whole
batch of a step, of which a rank or a micro-step takes its rows. The pixels stay on their device.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lib.data.batches import Stream, generator
from lib.data.images.normalization import Normalization

MAX_DEGREES = 10.0
MAX_SHIFT = 2.0  # pixels, in each direction


@dataclass(frozen=True)
class Augmentation:
    """From images in [0, 1] to normalised ones, changed at random as the AUGMENT symbols say.

    The defaults change nothing: then it only normalises.
    """

    normalize: Normalization
    seed: int = 0
    affine: bool = False

    @classmethod
    def from_settings(cls, settings: Any, normalize: Normalization) -> "Augmentation":
        """What the symbols AUGMENT_… ask for."""
        return cls(normalize, settings.SEED, affine=settings.AUGMENT_AFFINE)

    def __call__(
        self, x: Tensor, y: Tensor, step: int, first: int, batch_size: int
    ) -> tuple[Tensor, Tensor]:
        """(images normalised, labels) of the part of the step's batch that begins at `first`.

        x: float32 in [0, 1] or uint8, [m, channels, size, size]; y: int64 [m].
        """
        rows = slice(first, first + len(x))
        x = self.normalize(x if x.is_floating_point() else x.float() / 255)
        if self.affine:
            x = affine(x, uniforms(Stream.AFFINE, self.seed, step, 3, rows, batch_size))
        return x, y


def uniforms(
    stream: Stream, seed: int, step: int, count: int, rows: slice, batch_size: int
) -> np.ndarray:
    """float32 [count, m] in [0, 1): `count` numbers for each of `rows` of the step's batch."""
    return generator(stream, seed, step).random((count, batch_size), dtype="float32")[:, rows]


def affine(images: Tensor, uniform: np.ndarray) -> Tensor:
    """`images` [m, channels, height, width], each rotated and shifted, by `uniform` [3, m].

    By up to MAX_DEGREES and MAX_SHIFT, with linear interpolation; beyond its edge an image repeats
    its border.
    """
    _, _, height, width = images.shape
    signed = uniform * 2.0 - 1.0
    angle, right, down = torch.from_numpy(signed).to(images.device, non_blocking=True)
    angle = angle * math.radians(MAX_DEGREES)
    cos, sin = angle.cos(), angle.sin()
    # affine_grid measures images from -1 to 1, so one pixel is 2 / size.
    right, down = right * (2.0 * MAX_SHIFT / width), down * (2.0 * MAX_SHIFT / height)
    rows = [torch.stack([cos, -sin, right], dim=1), torch.stack([sin, cos, down], dim=1)]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
