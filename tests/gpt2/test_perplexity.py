# SPDX-License-Identifier: MIT
"""Perplexity by windows: every token once, from the context that the definition gives it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpt2.model import GPT, GPTConfig
from gpt2.perplexity import evaluate_text, token_lengths, token_losses, windows
from lib.data.text.tokenizers import load_tokenizer

BLOCK = 8


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=257, block_size=BLOCK, n_layer=2, n_head=2, n_embd=16)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8.0)
    return model


@torch.no_grad()
def one_by_one(model, tokens, stride):
    """-log p of each token but the first, each by a forward pass of its own over its context."""
    losses = []
    for target in range(1, len(tokens)):
        start = 0
        while target - start > BLOCK:
            start += stride
        context = torch.from_numpy(tokens[start:target].astype(np.int64))
        logits = model(context[None])[0, -1].double()
        losses.append(-torch.log_softmax(logits, -1)[int(tokens[target])].item())
    return np.array(losses)


@pytest.mark.parametrize("length", [2, 3, 8, 9, 10, 17, 60])
@pytest.mark.parametrize("stride", [1, 3, 4, 7, 8])
def test_each_token_is_predicted_once_from_its_own_context(model, length, stride):
    tokens = np.random.default_rng(length).integers(0, 257, length).astype(np.uint16)
    found = [*token_losses(model, tokens, stride, 3)]
    expected = one_by_one(model, tokens, stride)
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=0, atol=1e-4)
    assert expected.std() > 0.1 or length < 9


def test_the_score_does_not_depend_on_the_batch_size(model):
    tokens = np.random.default_rng(0).integers(0, 257, 200).astype(np.uint16)
    lengths = np.ones(257, int)
    scores = [
        evaluate_text(model, tokens, lengths, stride=5, batch_size=size)
        for size in (0, 1, 2, 7, 99)
    ]
    for score in scores:
        assert score.loss == pytest.approx(one_by_one(model, tokens, 5).mean(), abs=1e-5)
        assert (score.tokens, score.bytes) == (199, 199)


@given(st.integers(0, 300), st.integers(1, 40), st.data())
def test_windows_cover_every_target_once_with_the_context_promised(count, block_size, data):
    stride = data.draw(st.integers(1, block_size))
    predicted = []
    for begin, end, first in windows(count, block_size, stride):
        assert 0 <= begin < end < count and end - begin <= block_size
        for target in range(begin + 1 + first, end + 1):
            predicted.append(target)
            assert target - begin >= min(target, block_size - stride + 1)
    assert predicted == [*range(1, count)]


@pytest.mark.parametrize("stride", [0, 9])
def test_a_stride_that_would_leave_tokens_out_is_refused(stride):
    with pytest.raises(ValueError, match=r"not in \[1, 8\]"):
        next(windows(20, BLOCK, stride))


def test_a_model_without_knowledge_needs_eight_bits_a_byte():
    """All logits equal: log2 of the vocabulary for each token, whatever it stands for."""
    model = GPT(GPTConfig(vocab_size=257, block_size=BLOCK, n_layer=1, n_head=1, n_embd=8)).eval()
    torch.nn.init.zeros_(model.ln_f.weight)
    tokenizer = load_tokenizer("bytes")
    text = [256, *"é and more".encode(), 256]
    score = evaluate_text(model, np.array(text, np.uint16), token_lengths(tokenizer), stride=8)
    assert (score.tokens, score.bytes) == (12, 11)
    assert score.perplexity == pytest.approx(257)
    assert score.bits_per_byte == pytest.approx(math.log2(257) * 12 / 11)
