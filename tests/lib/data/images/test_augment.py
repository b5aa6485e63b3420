# SPDX-License-Identifier: MIT
"""Augmentation: a pure function of (seed, step, position), and right."""

import math

import torch

from lib.data.images import augment as augmentation
from lib.data.images.augment import Augmentation
from lib.data.images.normalization import Normalization

AS_IT_IS = Normalization((0.0,), (1.0,))


def augment(images, seed=0, step=0, first=0, batch_size=None, **operations):
    """`images` with `operations`, by default AUGMENT_AFFINE."""
    changed = Augmentation(AS_IT_IS, seed, **(operations or {"affine": True}))
    y = torch.zeros(len(images), dtype=torch.int64)
    return changed(images, y, step, first, batch_size or len(images))[0]


def test_augment_depends_on_seed_and_step_alone():
    images = torch.rand(6, 1, 32, 32)
    first = augment(images, seed=1, step=10)
    torch.manual_seed(99)
    assert torch.equal(first, augment(images, seed=1, step=10))
    assert not torch.equal(first, augment(images, seed=1, step=11))
    assert not torch.equal(first, augment(images, seed=2, step=10))


def test_a_part_of_a_batch_is_augmented_as_it_is_in_the_whole():
    images = torch.rand(8, 1, 32, 32)
    whole = augment(images, seed=3, step=5)
    parts = [augment(images[i : i + 2], 3, 5, first=i, batch_size=8) for i in range(0, 8, 2)]
    assert torch.equal(torch.cat(parts), whole)


def test_augment_changes_nothing_when_its_bounds_are_zero(monkeypatch):
    monkeypatch.setattr(augmentation, "MAX_DEGREES", 0.0)
    monkeypatch.setattr(augmentation, "MAX_SHIFT", 0.0)
    images = torch.rand(4, 2, 16, 16)
    torch.testing.assert_close(augment(images, 0, 0), images, rtol=0, atol=1e-5)


def centre(image: torch.Tensor) -> tuple[float, float]:
    """Centre of mass, (row, column), of [height, width]."""
    rows, columns = torch.meshgrid(*(torch.arange(s) * 1.0 for s in image.shape), indexing="ij")
    row, column = ((places * image).sum() / image.sum() for places in (rows, columns))
    return row.item(), column.item()


def test_shifts_are_of_up_to_two_pixels_in_each_direction(monkeypatch):
    monkeypatch.setattr(augmentation, "MAX_DEGREES", 0.0)
    images = torch.zeros(500, 1, 32, 32)
    images[:, :, 14:18, 14:18] = 1.0
    moved = [centre(image[0]) for image in augment(images, 0, 0)]
    for axis in (0, 1):
        shifts = [point[axis] - 15.5 for point in moved]
        assert -2.01 < min(shifts) < -1.9 and 1.9 < max(shifts) < 2.01
        assert abs(sum(shifts) / 500) < 0.2


def test_turns_are_of_up_to_ten_degrees(monkeypatch):
    monkeypatch.setattr(augmentation, "MAX_SHIFT", 0.0)
    images = torch.zeros(500, 1, 32, 32)
    images[:, :, 14:18, 26:30] = 1.0  # 12 pixels to the right of the centre
    angles = []
    for image in augment(images, 0, 0):
        row, column = centre(image[0])
        angles.append(math.degrees(math.atan2(row - 15.5, column - 15.5)))
    assert -10.2 < min(angles) < -9.5 and 9.5 < max(angles) < 10.2
