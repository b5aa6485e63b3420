# SPDX-License-Identifier: MIT
"""Operations drawn at random for each image, all with one strength, as in RandAugment.

Cubuk, Zoph, Shlens and Le (2019). Each operation is computed for all images at once that have drawn
it. Their strengths at level 1 are those of AutoAugment (Cubuk et al., 2018).
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .normalization import GREY, per_channel

# x [k, channels, height, width] in [0, 1]; the level, -1 to 1, of each, [k]; the mean colour.
Operation = Callable[[Tensor, Tensor, Tensor], Tensor]


def random_operations(
    images: Tensor, uniform: np.ndarray, level: float, mean: tuple[float, ...]
) -> Tensor:
    """`images` [m, channels, size, size] in [0, 1], each after as many operations as there are
    pairs of rows in `uniform` [2 · operations, m]: one decides which it is, the other its sign.

    `level`, 0 to 1, is the strength; `mean` is the colour of what moves in from outside.
    """
    device = images.device
    fill = per_channel(mean, device)
    for kind, sign in zip(uniform[::2], uniform[1::2], strict=True):
        signed = torch.from_numpy(np.where(sign < 0.5, -level, level).astype(np.float32))
        signed, drawn = signed.to(device, non_blocking=True), (kind * len(OPERATIONS)).astype(int)
        parts, places = [], []
        for number, operation in enumerate(OPERATIONS.values()):
            members = np.flatnonzero(drawn == number)
            if len(members):
                index = torch.from_numpy(members).to(device, non_blocking=True)
                parts.append(operation(images[index], signed[index], fill))
                places.append(members)
        back = torch.from_numpy(np.argsort(np.concatenate(places)))
        images = torch.cat(parts)[back.to(device, non_blocking=True)]
    return images


def _moved(matrix: Callable[[Tensor], list[list[Tensor | float]]]) -> Operation:
    """The operation that fetches each pixel from `matrix`(level) [2, 3] · (across, down, 1).

    Distances are measured from the centre, in halves of the size.
    """

    def operation(x: Tensor, level: Tensor, fill: Tensor) -> Tensor:
        size = x.shape[-1]
        places = (torch.arange(size, device=x.device) * 2 + 1) / size - 1
        across, down = places[None, None, :], places[None, :, None]
        # Summed one by one: products of matrices round differently in batches of other sizes.
        rows = [
            [e.view(-1, 1, 1) if isinstance(e, Tensor) else e for e in row] for row in matrix(level)
        ]
        grid = torch.stack(
            torch.broadcast_tensors(*(a * across + b * down + c for a, b, c in rows)), dim=3
        )
        grid = grid.expand(len(x), size, size, 2)
        return F.grid_sample(x - fill, grid, align_corners=False) + fill

    return operation


def _blended(other: Callable[[Tensor], Tensor | float]) -> Operation:
    """The operation that moves x away from `other`(x), or towards it for negative levels."""

    def operation(x: Tensor, level: Tensor, fill: Tensor) -> Tensor:
        base, factor = other(x), (1 + 0.9 * level).view(-1, 1, 1, 1)
        return (base + factor * (x - base)).clamp(0, 1)

    return operation


def _grey(x: Tensor) -> Tensor:
    if x.shape[1] == 1:
        return x
    return (x * per_channel(GREY, x.device)).sum(dim=1, keepdim=True)


def _mean_grey(x: Tensor) -> Tensor:
    # First along rows: the sum over one large image would be divided among threads, and round
    # differently than in a batch of several.
    return _grey(x).mean(dim=3, keepdim=True).mean(dim=2, keepdim=True)


def _smooth(x: Tensor) -> Tensor:
    """Each pixel averaged with its neighbours, itself counting five times; the border stays."""
    inner = (9 * F.avg_pool2d(x, 3, stride=1) + 4 * x[:, :, 1:-1, 1:-1]) / 13
    smooth = x.clone()
    smooth[:, :, 1:-1, 1:-1] = inner
    return smooth


def _rotation(level: Tensor) -> list[list[Tensor | float]]:
    angle = level * math.radians(30)
    return [[angle.cos(), -angle.sin(), 0.0], [angle.sin(), angle.cos(), 0.0]]


def _solarise(x: Tensor, level: Tensor, fill: Tensor) -> Tensor:
    """Inverted where x is bright, from 1 - |level| on."""
    return torch.where(x >= 1 - level.abs().view(-1, 1, 1, 1), 1 - x, x)


OPERATIONS: dict[str, Operation] = {
    "rotate": _moved(_rotation),
    "shear across": _moved(lambda level: [[1.0, 0.3 * level, 0.0], [0.0, 1.0, 0.0]]),
    "shear down": _moved(lambda level: [[1.0, 0.0, 0.0], [0.3 * level, 1.0, 0.0]]),
    "shift across": _moved(lambda level: [[1.0, 0.0, 0.9 * level], [0.0, 1.0, 0.0]]),
    "shift down": _moved(lambda level: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.9 * level]]),
    "brightness": _blended(lambda x: 0.0),
    "contrast": _blended(_mean_grey),
    "colour": _blended(_grey),
    "sharpness": _blended(_smooth),
    "solarise": _solarise,
}
