# SPDX-License-Identifier: MIT
"""Trial steps choose the faster precision."""

import pytest
import torch

from gpt2.model import GPT, GPTConfig
from gpt2.trial import faster_precision


@pytest.fixture
def model() -> GPT:
    return GPT(GPTConfig(99, 16, 1, 2, 16, dropout=0.1))


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randint(99, (2, 16)), torch.randint(99, (2, 16))


@pytest.mark.parametrize("slow", ["float32", "bfloat16"])
def test_the_faster_precision_is_chosen(slow, model, batch, monkeypatch):
    hidden, clock = GPT.hidden, [0.0]

    def takes_time(self, tokens):
        clock[0] += 2.0 if self.dtype == getattr(torch, slow) else 1.0
        return hidden(self, tokens)

    monkeypatch.setattr(GPT, "hidden", takes_time)
    monkeypatch.setattr("gpt2.trial.time.perf_counter", lambda: clock[0])
    assert faster_precision(model, *batch) != slow
