# SPDX-License-Identifier: MIT
"""Small random changes of a batch of images, as a pure function of (seed, step)."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lib.data.batches import Stream, generator

MAX_DEGREES = 10.0
MAX_SHIFT = 2.0  # pixels, in each direction


def augment(images: Tensor, seed: int, step: int) -> Tensor:
    """`images` [batch, channels, height, width], each turned and shifted at random.

    By up to MAX_DEGREES and MAX_SHIFT, uniformly, with linear interpolation; what comes in from
    outside repeats the border. The random numbers are drawn on the CPU, four bytes each, so that
    every device sees the same; the pixels stay on their device.
    """
    n, _, height, width = images.shape
    uniform = generator(Stream.AUGMENT, seed, step).random((3, n), dtype="float32") * 2.0 - 1.0
    angle, right, down = torch.from_numpy(uniform).to(images.device, non_blocking=True)
    angle = angle * math.radians(MAX_DEGREES)
    cos, sin = angle.cos(), angle.sin()
    # affine_grid measures images from -1 to 1, so one pixel is 2 / size.
    right, down = right * (2.0 * MAX_SHIFT / width), down * (2.0 * MAX_SHIFT / height)
    rows = [torch.stack([cos, -sin, right], dim=1), torch.stack([sin, cos, down], dim=1)]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
