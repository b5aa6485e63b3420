# SPDX-License-Identifier: MIT
"""The running mean of the weights: its formula, its place in the model, pruning."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lib.optim import build_optimizer
from lib.optim.update import apply_update
from lib.pruning.build import Unpruned
from lib.pruning.pruner import Pruner
from lib.pruning.schedules import Schedule
from lib.pruning.targets import prunable
from lib.train.checkpoint.weights import AVERAGE, evaluated_weights
from lib.train.ema import Average, Unaveraged, average_from_settings


class Network(nn.Module):
    """A convolution, batch norm, and two linear layers that share their weight."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8)
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x)).relu().mean((2, 3))
        return self.second(self.first(x).relu())


def batch(step: int) -> torch.Tensor:
    torch.manual_seed(100 + step)
    return torch.randn(6, 4, 5, 5)


def train(model: nn.Module, average: Average, steps: int, pruner: Pruner | None = None):
    """Yields after each step."""
    optimizer = build_optimizer(
        model, "adamw", lr=0.05, weight_decay=0.1, betas=(0.9, 0.99), eps=1e-8, pruner=pruner
    )
    for step in range(steps):
        model(batch(step)).square().mean().backward()
        apply_update(optimizer, lr=0.05, grad_clip=0.0, pruner=pruner)
        average.update()
        yield step


def copied(state: dict) -> dict:
    return {name: tensor.detach().clone() for name, tensor in state.items()}


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_the_mean_follows_its_formula(decay):
    model = Network()
    average = Average(model, decay)
    expected = {name: t.double() for name, t in copied(model.state_dict()).items()}
    for t in train(model, average, 12):
        d = min(decay, (1 + t) / (10 + t))
        for name, tensor in model.state_dict().items():
            expected[name] = d * expected[name] + (1 - d) * tensor.double()
        expected["norm.num_batches_tracked"] = model.norm.num_batches_tracked.double()
    mean = average.contents()[AVERAGE]
    assert list(mean) == list(model.state_dict())
    for name, tensor in mean.items():
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert mean["first.weight"] is mean["second.weight"]
    assert not mean["conv.weight"].equal(model.conv.weight)


@pytest.mark.parametrize("compiled", [False, True])
def test_in_place_the_model_is_the_mean_without_a_copy(compiled):
    model = Network()
    if compiled:
        model.compile(backend="eager")  # guards on what it knows of the parameters
        model(batch(0))
    average = Average(model, 0.9)
    for _ in train(model, average, 3):
        pass
    model.eval()
    trained = copied(model.state_dict())
    mean = copied(average.contents()[AVERAGE])
    reference = Network().eval()
    reference.load_state_dict(mean)
    as_mean = reference(batch(9))
    parameters = list(model.parameters())
    memory = average.contents()[AVERAGE]["conv.bias"].data_ptr()
    with average.in_place():
        assert model(batch(9)).equal(as_mean)
        assert all(p is q for p, q in zip(model.parameters(), parameters, strict=True))
        assert model.conv.bias.data_ptr() == memory
    assert all(tensor.equal(trained[name]) for name, tensor in model.state_dict().items())
    assert all(t.equal(mean[name]) for name, t in average.contents()[AVERAGE].items())
    assert not model(batch(9)).equal(as_mean)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_weights_come_back_after_an_error(error):
    model = Network()
    average = Average(model, 0.9)
    for _ in train(model, average, 2):
        pass
    trained = copied(model.state_dict())
    with pytest.raises(error), average.in_place():
        raise error
    assert all(tensor.equal(trained[name]) for name, tensor in model.state_dict().items())


def test_training_goes_on_as_if_nothing_had_been_measured():
    ends = []
    for measures in (False, True):
        model = Network()
        average = Average(model, 0.9)
        for step in train(model, average, 5):
            if measures and step == 2:
                with average.in_place(), torch.inference_mode():
                    model.eval()
                    model(batch(9))
                    model.train()
        ends.append(copied(model.state_dict() | average.contents()[AVERAGE]))
    assert all(ends[0][name].equal(tensor) for name, tensor in ends[1].items())


PATTERNS = [
    {"regrowth": 0.0},
    {"regrowth": 0.4},
    {"pattern": "2to4"},
    {"pattern": "channel", "scope": "layer"},
    {"scope": "erk", "score": "movement"},
]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("given", PATTERNS, ids=str)
def test_the_mean_of_a_pruned_weight_is_zero_at_every_step(given, layout):
    model = Network().to(memory_format=layout)
    options = dict(given)
    plan = Schedule(0.5, 14, start=3, end=9, frequency=2, regrowth=options.pop("regrowth", 0.0))
    pruner = Pruner(prunable(model), plan, **options)
    average = Average(model, 0.99)
    average.zero_where_pruned(pruner)
    before, updates, regrown = {}, 0, 0
    for _ in train(model, average, 14, pruner):
        mean = average.contents()[AVERAGE]
        for name, mask in pruner.masks.items():
            assert not mean[name][mask == 0].any(), (pruner.step, name)
            assert mean[name].any()
            regrown += int((mask > before.get(name, mask)).sum())
        updates += any(not mask.equal(before.get(n, mask)) for n, mask in pruner.masks.items())
        before = copied(pruner.masks)
    assert pruner.sparsity >= 0.5 and updates >= 2
    assert bool(regrown) == bool(given.get("regrowth"))


def test_a_restored_mean_goes_on_to_the_last_bit():
    whole, again = Network(), Network()
    means = [Average(whole, 0.9), Average(again, 0.9)]
    updates = train(whole, means[0], 6)
    for _ in range(3):
        next(updates)
    means[1].restore(means[0].contents(), updates=3)
    for _ in updates:
        again.load_state_dict(whole.state_dict())
        means[1].update()
    expected, found = (copied(mean.contents()[AVERAGE]) for mean in means)
    assert all(found[name].equal(tensor) for name, tensor in expected.items())


def test_the_mean_of_another_model_is_refused():
    state = copied(Network().state_dict())
    average = Average(Network(), 0.9)
    with pytest.raises(KeyError, match=r"conv\.bias"):
        average.restore({AVERAGE: {n: t for n, t in state.items() if n != "conv.bias"}}, 1)
    with pytest.raises(ValueError, match=r"the mean of conv\.bias has the shape \(9,\)"):
        average.restore({AVERAGE: state | {"conv.bias": torch.zeros(9)}}, 1)
    with pytest.raises(KeyError, match=AVERAGE):
        average.restore({}, 1)


def test_without_a_decay_there_is_nothing():
    model = Network()
    average = average_from_settings(SimpleNamespace(EMA_DECAY=0.0), model, Unpruned())
    assert isinstance(average, Unaveraged)
    before = copied(model.state_dict())
    average.update()
    average.restore({}, updates=3)
    with average.in_place():
        assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items())
    assert average.contents() == {}


def test_what_others_use_is_the_mean_where_there_is_one():
    assert evaluated_weights({"model_state_dict": {"w": 1}}) == {"w": 1}
    assert evaluated_weights({"model_state_dict": {"w": 1}, AVERAGE: {"w": 2}}) == {"w": 2}
