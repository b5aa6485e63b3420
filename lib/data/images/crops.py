# SPDX-License-Identifier: MIT
"""Random crops of varying size and shape, scaled to one size (Szegedy et al., 2014)."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

MAX_ASPECT = 4 / 3  # and 3:4


def crop_boxes(
    uniform: np.ndarray, height: np.ndarray, width: np.ndarray, min_area: float
) -> np.ndarray:
    """(top, left, height, width) of a box in each image, float64 [m, 4], in pixels.

    Its area is uniform between `min_area` and 1 of the image's, the logarithm of its aspect ratio
    uniform between 3:4 and 4:3 as far as the box fits, and so is its place. An image that is longer
    than that has smaller boxes. `uniform` is [4, m]; `height` and `width` of the images, [m].
    """
    u_area, u_aspect, u_top, u_left = uniform.astype(np.float64)
    shape = width / height
    largest = np.minimum(1.0, MAX_ASPECT * np.minimum(shape, 1 / shape))
    smallest = np.minimum(min_area, largest)
    share = smallest + (largest - smallest) * u_area
    # A box of this share fits if share · shape ≤ its aspect ratio ≤ shape / share.
    low = np.log(np.maximum(1 / MAX_ASPECT, share * shape))
    high = np.log(np.minimum(MAX_ASPECT, shape / share))
    aspect = np.exp(low + (high - low) * u_aspect)
    area = share * height * width
    box_height = np.clip(np.sqrt(area / aspect), 1, height)
    box_width = np.clip(np.sqrt(area * aspect), 1, width)
    top, left = u_top * (height - box_height), u_left * (width - box_width)
    return np.stack([top, left, box_height, box_width], axis=1)


def resized_crop(images: Tensor, boxes: np.ndarray) -> Tensor:
    """The `boxes` [m, 4] of `images` [m, channels, size, size], scaled to size × size.

    With linear interpolation between the pixels of the box.
    """
    size = images.shape[-1]
    start, length = np.hsplit(boxes[:, :, None], [2])  # [m, 2, 1]: down and across
    at = start + (np.arange(size) + 0.5) / size * length - 0.5
    at = np.clip(at, start, start + length - 1)  # in pixels, from the centre of the first one
    at = ((2 * at + 1) / size - 1).astype(np.float32)  # as grid_sample measures: -1 to 1
    down, across = torch.from_numpy(at).to(images.device, non_blocking=True).unbind(1)
    down, across = down[:, :, None], across[:, None, :]
    grid = torch.stack(torch.broadcast_tensors(across, down), dim=3)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
