# SPDX-License-Identifier: MIT
"""Random numbers of a step: the same again, and those of no other step."""

import torch

from lib.train.seeding import seed_step


def drawn(seed: int, step: int, rank: int) -> tuple[float, ...]:
    seed_step(seed, step, rank, torch.device("cpu"))
    return tuple(torch.rand(3).tolist())


def test_a_step_draws_the_same_whatever_came_before():
    first = drawn(0, 5, 1)
    drawn(0, 6, 1)
    assert drawn(0, 5, 1) == first


def test_seeds_steps_and_ranks_draw_different_numbers():
    """Neighbours too: seed 1 at step 0 is not seed 0 at step 1."""
    places = [(seed, step, rank) for seed in range(6) for step in range(6) for rank in range(6)]
    assert len({drawn(*place) for place in places}) == len(places)
