# SPDX-License-Identifier: MIT
"""Two processes on the CPU whose batch norm takes its statistics over both."""

import pytest
import torch

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("more", [(), ("--ema-decay", "0.9")], ids=["weights", "averages"])
def test_two_ranks_with_synced_norms_train_as_one_process_does(resnet50, more):
    """Weights and running statistics within 1e-5 after 20 steps."""
    long = ("--max-steps", "20", "--eval-interval", "10", "--resnet-norm", "synced", *more)
    alone, two = resnet50.train(*long), resnet50.train_on_ranks(2, *long)
    assert two.metadata["batch"]["world_size"] == 2
    for name in ("train/loss", "val/loss", "train/accuracy", "val/accuracy"):
        assert two.rows(name) == pytest.approx(alone.rows(name), abs=1e-5), name
    ours, theirs = two.weights(), alone.weights()
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-5, msg=name)


def test_a_micro_batch_of_one_on_each_rank_is_enough_for_them(resnet50):
    tiny = ("--batch-size", "2", "--grad-accum", "2", "--resnet-norm", "synced")
    run = resnet50.train_on_ranks(2, *tiny)
    assert run.metadata["batch"]["micro"] == 1 and run.metadata["status"] == "completed"
