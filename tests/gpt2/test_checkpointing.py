# SPDX-License-Identifier: MIT
"""Blocks that are computed again in the backward pass change memory and no number."""

import pytest
import torch

from gpt2.model import GPT, GPTConfig
from lib.config import changes, tree


def gradients(every: int, dropout: float, dtype: torch.dtype, backend: str = "") -> list:
    """Losses, gradients of two micro-steps, and the state of the generator after them."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(99, 80, 3, 4, 32, dropout), dtype)
    model.checkpoint_every = every
    forward = torch.compile(model, backend=backend) if backend else model
    tokens = torch.randint(99, (2, 2, 81))
    torch.manual_seed(1)
    losses = [forward(batch[:, :-1], batch[:, 1:].contiguous()) for batch in tokens]
    torch.autograd.backward(losses)
    return [*losses, *(p.grad for p in model.parameters()), torch.rand(1)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("every", [1, 2, 7])
def test_checkpointing_changes_no_bit(every, dropout, dtype):
    torch.testing.assert_close(
        gradients(every, dropout, dtype), gradients(0, dropout, dtype), rtol=0, atol=0
    )


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_a_compiled_model_computes_the_same(dropout):
    compiled = gradients(1, dropout, torch.float32, "aot_eager")
    plain = gradients(1, dropout, torch.float32)
    if dropout:  # the graph draws other numbers: what is left to compare is that it runs
        assert all(torch.isfinite(value).all() for value in compiled)
    else:
        torch.testing.assert_close(compiled, plain)


def test_every_nth_block_is_computed_again():
    model = GPT(GPTConfig(99, 16, 5, 2, 16))
    calls = []
    for i, block in enumerate(model.h):
        block.register_forward_pre_hook(lambda *_, i=i: calls.append(i))
    tokens = torch.zeros(1, 16, dtype=torch.long)
    for every, again in ((0, []), (1, [4, 3, 2, 1, 0]), (2, [4, 2, 0]), (3, [3, 0])):
        model.checkpoint_every = every
        model(tokens, tokens).backward()
        assert calls == [0, 1, 2, 3, 4, *again]
        calls.clear()
    model.eval()(tokens, tokens)
    assert calls == [0, 1, 2, 3, 4], "evaluation computes each block once"


def test_a_training_has_the_same_numbers_and_may_go_on_with_it(gpt2):
    plain = gpt2.train("--gpt2-dropout", "0.1")
    saving = gpt2.train("--gpt2-dropout", "0.1", "--gpt2-activation-checkpointing", "1")
    assert saving.rows("train/loss") == plain.rows("train/loss")
    assert saving.rows("val/loss") == plain.rows("val/loss")
    stored = tree.Tree()
    changes.load_run(stored, plain.dir)
    assert changes.why_not(stored, "GPT2_ACTIVATION_CHECKPOINTING") == ""
    assert changes.why_not(stored, "GPT2_N_LAYER")
