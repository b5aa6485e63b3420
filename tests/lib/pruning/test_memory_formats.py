# SPDX-License-Identifier: MIT
"""A network in channels_last gets the same masks and weights as a contiguous one."""

import pytest
import torch
from torch import nn

from lib.optim import build_optimizer
from lib.optim.adamwspam import Spam
from lib.optim.update import apply_update
from lib.pruning.pruner import Pruner
from lib.pruning.schedules import Schedule
from lib.pruning.scores import SCORES
from lib.pruning.targets import prunable

STEPS = 12
LAST = torch.channels_last
SPAM = Spam(reset_every=5, grace=1, warmup=3, theta=2.0)
STABLE = Spam(reset_every=5, warmup=3, stable=True)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(4, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, (2, 3)), nn.Linear(8, 4)
    )


class Training:
    """Steps on gradients that depend on the step only and are equal in both formats."""

    def __init__(self, *, last=False, name="adamw", spam=None, regrowth=0.0, target=0.5, **pruning):
        self.model = network().to(memory_format=LAST if last else torch.contiguous_format)
        plan = Schedule(target, STEPS, start=2, end=8, frequency=2, regrowth=regrowth)
        self.pruner = Pruner(prunable(self.model), plan, **pruning)
        self.optimizer = build_optimizer(
            self.model,
            name,
            lr=0.05,
            weight_decay=0.1,
            momentum=0.9,
            betas=(0.9, 0.99),
            eps=1e-8,
            spam=spam,
            pruner=self.pruner,
        )

    def run(self, start=0, stop=STEPS, *, contiguous_gradients=False) -> "Training":
        for step in range(start, stop):
            torch.manual_seed(100 + step)
            for p in self.model.parameters():
                g = torch.randn(p.shape)
                p.grad = g if contiguous_gradients else torch.empty_like(p).copy_(g)
            apply_update(self.optimizer, lr=0.05, grad_clip=0.0, pruner=self.pruner)
            self.pruner.verify()
        return self


def check_equal(a: Training, b: Training) -> None:
    assert 0 < a.pruner.pruned == b.pruner.pruned
    for name, mask in a.pruner.masks.items():
        assert mask.equal(b.pruner.masks[name]), name
    for (name, p), q in zip(a.model.named_parameters(), b.model.parameters(), strict=True):
        assert p.equal(q), name


VARIANTS = [
    *[{"score": score} for score in SCORES],
    {"pattern": "2to4"},
    {"pattern": "channel", "scope": "layer"},
    {"regrowth": 0.5},
    {"scope": "erk"},
    {"name": "sgd", "score": "magnitude"},
    {"name": "adamwadv"},
    {"name": "adamwspam", "spam": SPAM},
    {"name": "adamwspam", "spam": STABLE},
    {"name": "adamwprune"},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_channels_last_is_bit_equal_to_contiguous(variant):
    check_equal(Training(**variant).run(), Training(last=True, **variant).run())


@pytest.mark.parametrize("when", [0, 5])
@pytest.mark.parametrize("variant", [{}, {"score": "movement"}, {"pattern": "2to4"}], ids=str)
def test_a_model_converted_after_the_pruner_was_made(variant, when):
    converted = Training(**variant).run(stop=when)
    converted.model.to(memory_format=LAST)
    check_equal(converted.run(start=when), Training(**variant).run())


@pytest.mark.parametrize("name", ["adamw", "adamwspam"])
def test_state_of_a_contiguous_run_goes_on_in_channels_last(name, tmp_path):
    first = Training(name=name, spam=SPAM).run(stop=5)
    torch.save([first.model.state_dict(), first.optimizer.state_dict()], tmp_path / "state.pt")
    resumed = Training(last=True, name=name, spam=SPAM)
    model, optimizer = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed.model.load_state_dict(model)
    resumed.optimizer.load_state_dict(optimizer)
    check_equal(resumed.run(start=5), first.run(start=5))


def test_gradients_in_another_format_than_the_weights():
    check_equal(Training(last=True).run(contiguous_gradients=True), Training().run())
