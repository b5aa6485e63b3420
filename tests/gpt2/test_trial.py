# SPDX-License-Identifier: MIT
"""Trial steps: they choose the faster precision and leave no trace."""

import pytest
import torch

from gpt2.model import GPT, GPTConfig
from gpt2.trial import faster_precision, try_step


@pytest.fixture
def model() -> GPT:
    return GPT(GPTConfig(99, 16, 1, 2, 16, dropout=0.1))


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(99, (2, 16)), torch.randint(99, (2, 16))


def test_a_trial_leaves_weights_gradients_and_random_numbers(model, batch):
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    state = torch.random.get_rng_state()
    try_step(model, *batch, copies=2)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_trial_out_of_memory_leaves_no_gradients(model, batch, monkeypatch):
    forward = GPT.forward

    def fails_late(self, *inputs):
        forward(self, *inputs).backward()
        raise torch.OutOfMemoryError("injected")

    monkeypatch.setattr(GPT, "forward", fails_late)
    with pytest.raises(torch.OutOfMemoryError):
        try_step(model, *batch)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("slow", ["float32", "bfloat16"])
def test_the_faster_precision_is_chosen(slow, model, batch, monkeypatch):
    hidden, clock = GPT.hidden, [0.0]

    def takes_time(self, tokens):
        clock[0] += 2.0 if self.dtype == getattr(torch, slow) else 1.0
        return hidden(self, tokens)

    monkeypatch.setattr(GPT, "hidden", takes_time)
    monkeypatch.setattr("gpt2.trial.time.perf_counter", lambda: clock[0])
    assert faster_precision(model, *batch) != slow
