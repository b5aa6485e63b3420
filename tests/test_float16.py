# SPDX-License-Identifier: MIT
"""Trainings in float16, whose loss scale is too large at first: steps are skipped, and counted."""

import functools
import shutil

import pytest
import torch
from torch import nn

from lib.config.settings import load_settings
from lib.errors import Failure
from lib.train import loss_scale
from lib.train.learner import Learner
from lib.train.loss_scale import LossScale
from lib.train.ranks import reduce_gradients, replicate
from lib.train.runtime import Runtime
from tests.killed import differences, science
from tests.models import Finished, SmallModel, restored_torch
from tests.ranks import found_by_two_ranks

# Of each model something else that must not count a skipped step as a step of its own.
CASES = {
    "gpt2": ("--batch-size", "2", "--grad-accum", "2", "--gpt2-activation-checkpointing", "2"),
    "lenet5": (
        "--optimizer",
        "adamwprune",
        "--adamwprune-base",
        "adamwspam",
        "--pruning-start",
        "0.4",
    ),
    "resnet50": ("--ema-decay", "0.9"),
}
STEPS = ("--max-steps", "10", "--eval-interval", "5", "--precision", "float16")


@pytest.fixture
def too_large(monkeypatch):
    """Loss scales go from 2^40 to 2^28 and 2^16, and up again after two good steps."""
    scaler = functools.partial(
        torch.amp.GradScaler,
        init_scale=2.0**40,
        growth_factor=2.0**12,
        backoff_factor=2.0**-12,
        growth_interval=2,
    )
    monkeypatch.setattr(loss_scale.torch.amp, "GradScaler", scaler)


@pytest.mark.parametrize("name", CASES)
def test_skipped_steps_change_nothing_and_a_run_goes_on_exactly(name, too_large, tmp_path):
    with restored_torch():
        model = SmallModel(name, tmp_path / "data", tmp_path)
        whole = model.train(*STEPS, *CASES[name])
        scales, skipped = whole.rows("loss_scale"), whole.rows("skipped_steps")
        assert scales[1] == 2.0**28 and skipped[1] == 1, "the first step overflows"
        assert 1 < skipped[10] < 8 and whole.log.count("overflows in float16") == skipped[10]
        assert whole.rows("grad_norm").keys() == {
            step for step in scales if skipped[step] == skipped.get(step - 1, 0)
        }
        parted = Finished(tmp_path / "parted")
        shutil.copytree(whole.dir, parted.dir)
        middle = parted.dir / "checkpoints" / "step_00000005.pt"
        model.program.train(load_settings(name, ["--resume", str(middle)]))
    assert differences(science(whole.dir), science(parted.dir)) == []
    assert parted.rows("loss_scale") == scales


def learner(scale: float, runtime: Runtime) -> Learner:
    torch.manual_seed(0)
    net = nn.Linear(4, 1)
    trained = replicate(net, runtime)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    made = Learner(trained, optimizer, None, lambda step: 0.1, 0.0, Unchanged(), LossScale(CPU))
    made.loss_scale.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    made.loss_scale.value = scale
    return made


class Unchanged:
    def update(self) -> None:
        pass


CPU = torch.device("cpu")


def step_of_two_ranks(rank: int) -> dict:
    """Two steps of two micro-steps; in the first one a gradient of rank 1 alone overflows."""
    found = learner(1024.0, Runtime(CPU, "float16", rank, 2))
    states = []
    for step in range(2):
        for micro_step in range(2):
            with reduce_gradients(found.model, micro_step == 1):
                x = torch.full((3, 4), 1.0 + rank)
                if (rank, step, micro_step) == (1, 0, 0):
                    x[0, 0] = torch.inf
                found.scaled(found.model(x).sum()).backward()
        found.update(0.1)
        states.append(torch.cat([p.detach().flatten() for p in found.model.parameters()]))
        states.append(torch.tensor([found.loss_scale.value, found.loss_scale.skipped]))
    return {str(i): state for i, state in enumerate(states)}


@pytest.mark.slow
def test_ranks_agree_that_a_step_is_skipped(tmp_path):
    one, two = found_by_two_ranks(step_of_two_ranks, tmp_path)
    start = learner(1024.0, Runtime(CPU, "float16", 0, 1)).model.state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert torch.equal(one["0"], torch.cat([t.flatten() for t in start.values()]))
    assert one["1"].tolist() == one["3"].tolist() == [512.0, 1.0]
    assert not torch.equal(one["2"], one["0"])


def test_gradients_that_overflow_at_any_scale_end_the_training():
    found = learner(4.0, Runtime(CPU, "float16", 0, 1))
    before = found.model.weight.clone()
    with pytest.raises(Failure, match=r"not finite in float16 whatever .* 1 by now.*float32"):
        for _ in range(5):
            found.scaled(found.model(torch.full((1, 4), torch.inf)).sum()).backward()
            found.update(0.1)
    assert found.loss_scale.skipped == 3 and torch.equal(found.model.weight, before)


def test_a_checkpoint_of_another_precision_begins_with_a_new_scale():
    scale = LossScale(CPU)
    scale.restore({})
    assert (scale.value, scale.skipped) == (65536.0, 0)
