# SPDX-License-Identifier: MIT
"""Small random changes of a batch of images, as a pure function of (seed, step)."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lib.data.batches import Stream, generator

MAX_DEGREES = 10.0
MAX_SHIFT = 2.0  # pixels, in each direction


def augment(
    images: Tensor, seed: int, step: int, first: int = 0, batch_size: int | None = None
) -> Tensor:
    """`images` [n, channels, height, width], each rotated and shifted at random.

    Uniformly by up to MAX_DEGREES and MAX_SHIFT, with linear interpolation; beyond its edge an
    image repeats its border. `images` are those from `first` on in a step's batch of `batch_size`
    (default: the whole batch): an image is changed in the same way however the batch is divided.
    The random numbers are drawn on the CPU, so that every device gets the same ones; the pixels
    stay on their device.
    """
    n, _, height, width = images.shape
    drawn = generator(Stream.AUGMENT, seed, step).random((3, batch_size or n), dtype="float32")
    uniform = drawn[:, first : first + n] * 2.0 - 1.0
    angle, right, down = torch.from_numpy(uniform).to(images.device, non_blocking=True)
    angle = angle * math.radians(MAX_DEGREES)
    cos, sin = angle.cos(), angle.sin()
    # affine_grid measures images from -1 to 1, so one pixel is 2 / size.
    right, down = right * (2.0 * MAX_SHIFT / width), down * (2.0 * MAX_SHIFT / height)
    rows = [torch.stack([cos, -sin, right], dim=1), torch.stack([sin, cos, down], dim=1)]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
