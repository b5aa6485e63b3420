# SPDX-License-Identifier: MIT
"""Random changes of a batch of images, each a pure function of (seed, step, position).

Each kind of change has a stream of random numbers of its own, so that switching one on does not
alter another. They are drawn on the CPU, so that every device gets the same ones, and for the whole
batch of a step, of which a rank or a micro-step takes its rows. The pixels stay on their device.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import BadUse
from ..batches import Stream, generator
from .crops import crop_boxes, resized_crop
from .normalization import Normalization
from .random_ops import random_operations

MAX_DEGREES = 10.0
MAX_SHIFT = 2.0  # pixels, in each direction


@dataclass(frozen=True)
class Augmentation:
    """From images in [0, 1] to normalised ones, changed at random as the AUGMENT symbols say.

    The defaults change nothing: then it only normalises.
    """

    normalize: Normalization
    seed: int = 0
    classes: int = 0  # only mixup needs to know how many there are
    affine: bool = False
    flip: bool = False
    pad: int = 0
    min_area: float = 1.0
    cutout: int = 0
    random_ops: int = 0
    magnitude: int = 0  # 0 to 10
    mixup: float = 0.0

    @classmethod
    def from_settings(cls, settings: Any, normalize: Normalization, classes: int) -> "Augmentation":
        """What the symbols AUGMENT_… and MIXUP ask for."""
        if not settings.AUGMENT:
            return cls(normalize)
        return cls(
            normalize,
            settings.SEED,
            classes,
            affine=settings.AUGMENT_AFFINE,
            flip=settings.AUGMENT_FLIP,
            pad=settings.AUGMENT_PAD,
            min_area=settings.AUGMENT_MIN_AREA,
            cutout=settings.AUGMENT_CUTOUT,
            random_ops=settings.AUGMENT_RANDOM_OPS,
            magnitude=settings.AUGMENT_MAGNITUDE or 0,  # None without operations
            mixup=settings.MIXUP,
        )

    def boxes(
        self, step: int, rows: slice, batch_size: int, height: np.ndarray, width: np.ndarray
    ) -> np.ndarray:
        """What is cut out of each of `rows` of the batch: (top, left, height, width), [m, 4].

        In pixels and fractions of them; `height` and `width` of the images, [m].
        """
        uniform = uniforms(Stream.CROP, self.seed, step, 4, rows, batch_size)
        return crop_boxes(uniform, height, width, self.min_area)

    def crop(self, x: Tensor, step: int, first: int, batch_size: int) -> Tensor:
        """float32 [m, channels, size, size]: `boxes` of `x` [m, channels, size, size], scaled up.

        For images that are in memory; those of files are cropped when they are decoded.
        """
        if self.min_area == 1.0:
            return x
        rows, (height, width) = slice(first, first + len(x)), x.shape[2:]
        sizes = np.full(len(x), height), np.full(len(x), width)
        return resized_crop(x, self.boxes(step, rows, batch_size, *sizes))

    def __call__(
        self, x: Tensor, y: Tensor, step: int, first: int, batch_size: int
    ) -> tuple[Tensor, Tensor]:
        """(images normalised, labels) of the part of the step's batch that begins at `first`.

        x: float32 in [0, 1] or uint8, [m, channels, size, size], cropped; y: int64 [m]. With mixup
        the labels are float32 [m, classes]. Raises BadUse when mixup finds half of a pair.
        """
        rows = slice(first, first + len(x))
        draw = partial(_draw, self.seed, step, rows, batch_size)
        x = x if x.is_floating_point() else x.float() / 255
        if self.random_ops:
            uniform = draw(Stream.RANDOM_OPS, 2 * self.random_ops)
            x = random_operations(x, uniform, self.magnitude / 10, self.normalize.mean)
        # From here on the mean colour is 0: what is blank needs no other value.
        x = self.normalize(x)
        if self.affine:
            x = affine(x, draw(Stream.AFFINE, 3))
        if self.flip or self.pad:
            mirrored = draw(Stream.FLIP, 1)[0] < (0.5 if self.flip else 0.0)
            shift = (draw(Stream.SHIFT, 2) * (2 * self.pad + 1)).astype(np.int64)
            x = mirror_and_shift(x, mirrored, shift, self.pad)
        if self.cutout:
            x = cutout(x, draw(Stream.CUTOUT, 2), self.cutout)
        if self.mixup:
            pairs = generator(Stream.MIXUP, self.seed, step).beta(
                self.mixup, self.mixup, batch_size // 2
            )
            x, y = mixup(x, y, pairs, rows, self.classes)
        return x, y


def uniforms(
    stream: Stream, seed: int, step: int, count: int, rows: slice, batch_size: int
) -> np.ndarray:
    """float32 [count, m] in [0, 1): `count` numbers for each of `rows` of the step's batch."""
    return generator(stream, seed, step).random((count, batch_size), dtype="float32")[:, rows]


def _draw(
    seed: int, step: int, rows: slice, batch_size: int, stream: Stream, count: int
) -> np.ndarray:
    return uniforms(stream, seed, step, count, rows, batch_size)


def _upload(values: np.ndarray, device: torch.device) -> Tensor:
    """On the device; small, so that the copy does not wait for what is computed there."""
    return torch.from_numpy(values).to(device, non_blocking=True)


def affine(images: Tensor, uniform: np.ndarray) -> Tensor:
    """`images` [m, channels, height, width], each rotated and shifted, by `uniform` [3, m].

    By up to MAX_DEGREES and MAX_SHIFT, with linear interpolation; beyond its edge an image repeats
    its border.
    """
    _, _, height, width = images.shape
    signed = uniform * 2.0 - 1.0
    angle, right, down = _upload(signed, images.device)
    angle = angle * math.radians(MAX_DEGREES)
    cos, sin = angle.cos(), angle.sin()
    # affine_grid measures images from -1 to 1, so one pixel is 2 / size.
    right, down = right * (2.0 * MAX_SHIFT / width), down * (2.0 * MAX_SHIFT / height)
    rows = [torch.stack([cos, -sin, right], dim=1), torch.stack([sin, cos, down], dim=1)]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def mirror_and_shift(images: Tensor, mirrored: np.ndarray, shift: np.ndarray, pad: int) -> Tensor:
    """`images` [m, channels, height, width], mirrored left to right where `mirrored` [m], then
    padded with `pad` zeros on each side and cropped at `shift` [2, m]: rows, columns up to 2 · pad.

    Whole pixels need no interpolation: both are one look-up.
    """
    m, channels, height, width = images.shape
    padded_width = width + 2 * pad
    rows = shift[0][:, None] + np.arange(height)
    columns = shift[1][:, None] + np.arange(width)
    columns = np.where(mirrored[:, None], padded_width - 1 - columns, columns)
    down, across = (_upload(places, images.device) for places in (rows, columns))
    places = (down[:, :, None] * padded_width + across[:, None, :]).view(m, 1, height * width)
    padded = F.pad(images, (pad, pad, pad, pad)).flatten(2)
    return padded.gather(2, places.expand(-1, channels, -1)).view_as(images)


def cutout(images: Tensor, uniform: np.ndarray, side: int) -> Tensor:
    """`images` [m, channels, height, width], a square of `side` pixels of each set to 0.

    Its centre is anywhere in the image, by `uniform` [2, m], so that parts of it may lie outside
    (DeVries and Taylor, 2017).
    """
    inside = []
    for drawn, length in zip(uniform, images.shape[2:], strict=True):
        start = (drawn * length).astype(np.int64) - side // 2
        offset = np.arange(length) - start[:, None]  # [m, length]
        inside.append(_upload((offset >= 0) & (offset < side), images.device))
    down, across = inside
    return images * ~(down[:, None, :, None] & across[:, None, None, :])


def mixup(
    images: Tensor, labels: Tensor, shares: np.ndarray, rows: slice, classes: int
) -> tuple[Tensor, Tensor]:
    """Neighbours 2i and 2i + 1 blended (Zhang et al., 2017): (images, labels float32 [m, classes]).

    Each keeps `shares`[i] of itself, [batch_size // 2], and gets the rest from the other one.
    `rows` of the batch are those of `images` [m, …] and `labels` int64 [m].
    """
    if rows.start % 2 or rows.stop % 2:
        raise BadUse(
            f"MIXUP blends images in pairs, and micro-batches of {len(images)} would divide some: "
            "choose a BATCH_SIZE that gives each rank an even number of images"
        )
    kept = _upload(shares[rows.start // 2 : rows.stop // 2].astype(np.float32), images.device)

    def blend(x: Tensor) -> Tensor:
        pairs = x.unflatten(0, (-1, 2))
        share = kept.view(-1, *[1] * (pairs.ndim - 1))
        return pairs.flip(1).lerp(pairs, share).flatten(0, 1)

    return blend(images), blend(F.one_hot(labels, classes).float())
