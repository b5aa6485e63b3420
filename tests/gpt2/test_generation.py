# SPDX-License-Identifier: MIT
"""Generation with a cache is generation by whole forward passes; draws have the odds asked for."""

from contextlib import contextmanager

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpt2.generation import Cache, choose, generate, stream, window_start
from gpt2.model import GPT, GPTConfig

BLOCK = 32


def made(dtype=torch.float32, block_size=BLOCK, **change):
    """A model whose logits differ enough for greedy choices to be clear."""
    torch.manual_seed(0)
    shape = {"vocab_size": 99, "block_size": block_size, "n_layer": 3, "n_head": 4, "n_embd": 32}
    model = GPT(GPTConfig(**(shape | change)), dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8.0)
    return model


@pytest.fixture(scope="module")
def model():
    return made()


def window(tokens, position, block_size=BLOCK):
    """The tokens that the model sees when it predicts the one at `position`, by plain words."""
    start = 0
    while position - start > block_size:
        start += (block_size + 1) // 2
    return tokens[:, start:position]


@torch.no_grad()
def by_full_forward(model, tokens, count):
    """Greedy generation that computes the whole window for each token."""
    for _ in range(count):
        seen = window(tokens, tokens.shape[1], model.config.block_size)
        tokens = torch.cat((tokens, model(seen)[:, -1].argmax(-1, keepdim=True)), dim=1)
    return tokens


@contextmanager
def recorded(monkeypatch):
    """The logits that generation drew from, one tensor a token."""
    found, plain = [], Cache.logits
    monkeypatch.setattr(Cache, "logits", lambda *a: found.append(plain(*a)) or found[-1])
    yield found


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize("length", [1, 31, 32, 33, 70])
def test_logits_are_those_of_the_whole_window(dtype, tolerance, length, monkeypatch):
    """For prompts shorter and longer than the block; the logits differ by about 1."""
    model = made(dtype)
    prompt = torch.randint(99, (3, length))
    with recorded(monkeypatch) as logits:
        out = generate(model, prompt, 60, temperature=0)
    assert out.shape == (3, length + 60) and torch.equal(out[:, :length], prompt)
    for position, found in enumerate(logits, length):
        expected = model(window(out, position))[:, -1]
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
        assert expected.float().std() > 0.5


@pytest.mark.parametrize("block_size", [1, 2, 7, 32])
@pytest.mark.parametrize("length", [1, 5, 40])
def test_greedy_tokens_are_those_of_the_whole_window(block_size, length):
    model = made(block_size=block_size)
    prompt = torch.randint(99, (2, length))
    expected = by_full_forward(model, prompt, 50)
    assert torch.equal(generate(model, prompt, 50, temperature=0), expected)
    assert block_size < 7 or len(expected[:, length:].unique()) > 5


def test_a_text_in_two_goes_is_that_in_one(model):
    prompt = torch.randint(99, (1, 5))
    once = generate(model, prompt, 90, temperature=0)
    for first in (20, 28, 60):
        begun = generate(model, prompt, first, temperature=0)
        assert torch.equal(generate(model, begun, 90 - first, temperature=0), once)


def test_texts_of_a_batch_do_not_mix(model):
    prompts = torch.randint(99, (4, 9))
    together = generate(model, prompts, 60, temperature=0)
    alone = [generate(model, prompt[None], 60, temperature=0) for prompt in prompts]
    assert torch.equal(together, torch.cat(alone))


@given(st.integers(0, 5000), st.integers(1, 300))
def test_the_model_sees_more_than_half_a_block_and_no_more_than_one(position, block_size):
    start = window_start(position, block_size)
    assert 0 <= start <= position and position - start <= block_size
    assert start == 0 or position - start > block_size // 2
    assert start <= window_start(position + 1, block_size)


def test_a_token_costs_one_position_and_half_a_block_when_the_window_moves(model):
    """What the cache is for: the number of positions computed grows with the tokens alone."""
    computed = []
    handle = model.ln_f.register_forward_pre_hook(lambda _, x: computed.append(x[0].shape[1]))
    try:
        generate(model, torch.zeros(1, 10, dtype=torch.long), 60, temperature=0)
    finally:
        handle.remove()
    assert computed[:23] == [10] + [1] * 22  # up to a context of 32
    assert computed[23:40] == [17] + [1] * 15 + [17]


def test_the_model_can_train_between_two_tokens(model):
    tokens = torch.randint(99, (2, 17))
    x, y = tokens[:, :-1], tokens[:, 1:].contiguous()
    expected = model(x, y)
    for _ in stream(model, x, 2):
        assert torch.equal(model(x, y), expected)
        model(x, y).backward()
    model.zero_grad()


@pytest.mark.slow
def test_a_compiled_model_generates_without_compiling():
    model = made()
    expected = generate(model, torch.zeros(1, 3, dtype=torch.long), 40, temperature=0)
    graphs = []
    for block in model.h:
        block.compile(backend=lambda graph, _: graphs.append(graph) or graph.forward)
    found = generate(model, torch.zeros(1, 3, dtype=torch.long), 40, temperature=0)
    assert torch.equal(found, expected) and not graphs
    model(torch.zeros(1, 3, dtype=torch.long))
    assert graphs


def test_the_same_generator_gives_the_same_text(model):
    prompt = torch.zeros(64, 1, dtype=torch.long)
    how = {"top_k": 2, "temperature": 2.0}
    seeds = [torch.Generator().manual_seed(seed) for seed in (1, 1, 2)]
    one, again, other = (generate(model, prompt, 3, generator=g, **how) for g in seeds)
    assert torch.equal(one, again) and not torch.equal(one, other)
    likeliest = model(prompt[:1])[0, -1].topk(2).indices
    assert set(one[:, 1].tolist()) <= set(likeliest.tolist())


@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e300, 1e308])
@pytest.mark.parametrize("top_k", [0, 3])
def test_any_temperature_gives_text(model, temperature, top_k):
    """Without NaN among the odds; a very low one takes the likeliest tokens."""
    start = torch.zeros(1, 1, dtype=torch.long)
    found = generate(model, start, 20, temperature=temperature, top_k=top_k)
    assert found.shape == (1, 21)
    if temperature < 1:
        assert torch.equal(found, generate(model, start, 20, temperature=0))


def nucleus(odds, top_p):
    """The fewest likeliest tokens whose probabilities reach top_p."""
    total, kept = 0.0, set()
    for token in sorted(range(len(odds)), key=lambda t: -odds[t]):
        kept.add(token)
        total += odds[token]
        if total >= top_p:
            break
    return kept


@given(
    st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=8, unique=True),
    st.floats(0.05, 0.95),
    st.integers(0, 8),
    st.sampled_from([0.3, 1.0, 3.0]),
)
def test_draws_come_from_the_nucleus_of_the_top_k(logits, top_p, top_k, temperature):
    row = torch.tensor(logits)
    likeliest = row.argsort(descending=True)[: top_k or len(logits)]
    odds = torch.zeros(len(logits))
    odds[likeliest] = torch.softmax(row[likeliest] / temperature, 0)
    allowed = nucleus(odds.tolist(), top_p) | nucleus(odds.tolist(), top_p * (1 + 1e-5))
    rows = row.expand(64, -1)
    drawn = choose(rows, temperature=temperature, top_k=top_k, top_p=top_p)
    assert set(drawn.tolist()) <= allowed


def test_draws_have_the_odds_of_the_distribution():
    """20,000 draws: within 4 standard deviations of each probability."""
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0, -3.0])
    generator = torch.Generator().manual_seed(0)
    n = 20_000
    for how, expected in (
        ({}, torch.softmax(logits, 0)),
        ({"temperature": 2.0}, torch.softmax(logits / 2, 0)),
        ({"top_k": 2}, torch.softmax(logits[:2], 0)),
        ({"top_p": 0.7}, torch.softmax(logits[:2], 0)),  # 0.63 + 0.23
        ({"top_p": 0.6}, torch.ones(1)),
    ):
        drawn = choose(logits.expand(n, -1), generator=generator, **how)
        shares = torch.bincount(drawn, minlength=5) / n
        deviation = (expected * (1 - expected) / n).sqrt()
        assert ((shares[: len(expected)] - expected).abs() <= 4 * deviation).all(), how
        assert not shares[len(expected) :].any(), how
