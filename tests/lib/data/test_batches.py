# SPDX-License-Identifier: MIT
"""Batches, splits and augmentation: pure functions of their arguments, and right."""

import math

import pytest
import torch

from lib.data.batches import Stream, _epoch_order, batch_indices, generator
from lib.data.images import augment as augmentation
from lib.data.images.augment import augment
from lib.data.images.split import hold_out


def epoch(number: int, *, seed: int = 0, n: int = 23, batch_size: int = 5) -> list[int]:
    steps = n // batch_size
    batches = (batch_indices(seed, number * steps + s, n, batch_size) for s in range(steps))
    return torch.cat(list(batches)).tolist()


def test_an_epoch_shows_no_example_twice():
    for number in range(3):
        seen = epoch(number)
        assert len(seen) == 20 == len(set(seen))
        assert set(seen) <= set(range(23))


def test_what_one_epoch_leaves_out_another_shows():
    assert {i for number in range(10) for i in epoch(number)} == set(range(23))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(epoch(number, seed=seed)) for number in range(4) for seed in range(4)}
    assert len(orders) == 16


def test_a_step_needs_no_replay_of_the_earlier_ones():
    in_order = [batch_indices(7, step, 100, 8).tolist() for step in range(60)]
    _epoch_order.cache_clear()
    backwards = [batch_indices(7, step, 100, 8).tolist() for step in reversed(range(60))]
    assert in_order == backwards[::-1]


def test_orders_are_the_same_on_every_machine_and_in_every_version():
    assert epoch(3, seed=1, n=8, batch_size=4) == [3, 5, 4, 7, 6, 0, 2, 1]


def test_a_batch_may_be_the_whole_set():
    assert sorted(batch_indices(0, 4, 6, 6).tolist()) == list(range(6))


@pytest.mark.parametrize("batch_size", [0, 7])
def test_a_batch_larger_than_the_set_is_refused(batch_size):
    with pytest.raises(ValueError, match="between 1 and the 6 examples"):
        batch_indices(0, 0, 6, batch_size)


def test_streams_do_not_repeat_each_other():
    draws = {tuple(generator(s, 5, c).random(4)) for s in Stream for c in (0, 1, 2**40)}
    assert len(draws) == 9


def test_hold_out_takes_the_share_of_each_class():
    labels = torch.tensor([0] * 40 + [1] * 20 + [2] * 10)[torch.randperm(70)]
    stay, held = hold_out(labels, 0.2, seed=3)
    assert torch.bincount(labels[held]).tolist() == [8, 4, 2]
    assert torch.cat([stay, held]).sort().values.tolist() == list(range(70))
    assert held.tolist() == sorted(held.tolist())


def test_hold_out_depends_on_the_seed_alone():
    labels = torch.arange(200) % 10
    assert torch.equal(hold_out(labels, 0.1, 4)[1], hold_out(labels, 0.1, 4)[1])
    assert not torch.equal(hold_out(labels, 0.1, 4)[1], hold_out(labels, 0.1, 5)[1])


def test_augment_depends_on_seed_and_step_alone():
    images = torch.rand(6, 1, 32, 32)
    first = augment(images, seed=1, step=10)
    torch.manual_seed(99)
    assert torch.equal(first, augment(images, seed=1, step=10))
    assert not torch.equal(first, augment(images, seed=1, step=11))
    assert not torch.equal(first, augment(images, seed=2, step=10))


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
