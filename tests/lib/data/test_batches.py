# SPDX-License-Identifier: MIT
"""Batches and splits: pure functions of their arguments, and right."""

import pytest
import torch

from lib.data.batches import Stream, _epoch_order, batch_indices, generator
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
    assert len(draws) == 3 * len(Stream)


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
