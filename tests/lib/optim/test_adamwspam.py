# SPDX-License-Identifier: MIT
"""SPAM and Stable-SPAM against float64 references; AdamW where they must equal it."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from lib.optim.adamwspam import AdamWSPAM, Spam

LR, BETAS, EPS, DECAY = 0.01, (0.9, 0.99), 1e-8, 0.1
STEPS = 40
SPAM = Spam(theta=50.0, reset_every=12, grace=4, warmup=5)


def gradients(n=STEPS, size=6) -> list[np.ndarray]:
    """With a spike at every seventh step."""
    rng = np.random.default_rng(0)
    return [rng.normal(size=size) * (100.0 if t % 7 == 6 else 1.0) for t in range(n)]


def run(optimizer_of, sequence) -> list[np.ndarray]:
    p = nn.Parameter(torch.linspace(-1, 1, len(sequence[0]), dtype=torch.float64))
    optimizer = optimizer_of([p])
    seen = []
    for g in sequence:
        p.grad = torch.tensor(g)
        optimizer.step()
        seen.append(p.detach().numpy().copy())
    return seen


def ours(spam, **changes):
    options = {"lr": LR, "betas": BETAS, "eps": EPS, "weight_decay": DECAY, **changes}
    return lambda params: AdamWSPAM(params, spam=spam, **options)


def warm_up(c: int, s: Spam) -> float:
    """Factor at c steps from a reset: a cosine from 0.01 over warmup + 1 steps, cut at warmup."""
    return 1 - 0.99 * (1 + math.cos(math.pi * c / (s.warmup + 1))) / 2 if c < s.warmup else 1.0


def spam_reference(sequence, s: Spam, amsgrad=False):
    """The rules of the authors' program, except for v = 0, and decay and epsilon as in AdamW."""
    w = np.linspace(-1, 1, len(sequence[0]))
    m = v = v_max = np.zeros_like(w)
    countdown = s.reset_every
    after_reset = math.inf
    seen = []
    for t, g in enumerate(sequence, start=1):
        countdown -= 1
        after_reset += 1
        if countdown == 0:  # step 500 is the first
            m = v = v_max = np.zeros_like(w)
            countdown, after_reset = s.reset_every, 0
        young = t < s.grace if after_reset == math.inf else after_reset < s.grace
        g = g.copy()
        if not young:
            spikes = (g**2 > s.theta * v) & (v > 0)
            g[spikes] = np.sign(g[spikes]) * np.sqrt(s.theta * v[spikes])
        w = w - LR * DECAY * w  # not warmed up
        m = BETAS[0] * m + (1 - BETAS[0]) * g
        v = BETAS[1] * v + (1 - BETAS[1]) * g**2
        v_max = np.maximum(v_max, v)
        second = (v_max if amsgrad else v) / (1 - BETAS[1] ** t)
        lr = LR * warm_up(after_reset, s)
        w = w - lr * (m / (1 - BETAS[0] ** t)) / (np.sqrt(second) + EPS)
        seen.append(w)
    return seen


@pytest.mark.parametrize("amsgrad", [False, True])
def test_spam_against_the_paper(amsgrad):
    sequence = gradients()
    found = run(ours(SPAM, amsgrad=amsgrad), sequence)
    np.testing.assert_allclose(found, spam_reference(sequence, SPAM, amsgrad), rtol=1e-9)


def test_the_reference_is_not_plain_adamw():
    """Otherwise the test above would not be about SPAM."""
    sequence = gradients()
    assert not np.allclose(spam_reference(sequence, SPAM)[-1], run(ours(None), sequence)[-1])


def stable_reference(sequence, s: Spam):
    """Stable-SPAM: AdaClip and AdaGN on one tensor, then AdamW, with the resets of SPAM."""
    w = np.linspace(-1, 1, len(sequence[0]))
    m = v = np.zeros_like(w)
    top = mean = square = 0.0
    seen = []
    for t, g in enumerate(sequence, start=1):
        since = t % s.reset_every
        if since == 0:
            m = v = np.zeros_like(w)
        largest = np.abs(g).max()
        top = s.gamma3 * top + (1 - s.gamma3) * largest
        limit = top / (1 - s.gamma3**t)
        g = np.where(np.abs(g) > limit, g / largest * limit, g)
        norm = np.linalg.norm(g)
        mean = s.gamma1 * mean + (1 - s.gamma1) * norm
        square = s.gamma2 * square + (1 - s.gamma2) * norm**2
        wanted = mean / (1 - s.gamma1**t) / (math.sqrt(square / (1 - s.gamma2**t)) + EPS)
        g = g / norm * wanted
        scale = warm_up(since, s) if t >= s.reset_every else 1.0
        w = w * (1 - LR * DECAY)
        m = BETAS[0] * m + (1 - BETAS[0]) * g
        v = BETAS[1] * v + (1 - BETAS[1]) * g**2
        m_hat, v_hat = m / (1 - BETAS[0] ** t), v / (1 - BETAS[1] ** t)
        w = w - LR * scale * m_hat / (np.sqrt(v_hat) + EPS)
        seen.append(w)
    return seen


def test_stable_spam_against_the_paper():
    spam = Spam(stable=True, reset_every=12, warmup=5)
    sequence = gradients()
    # The running norms are kept in float32.
    np.testing.assert_allclose(
        run(ours(spam), sequence), stable_reference(sequence, spam), rtol=1e-5, atol=1e-7
    )


def test_published_values_are_the_defaults():
    s = Spam()
    assert (s.theta, s.reset_every, s.grace, s.warmup) == (5000.0, 500, 20, 150)
    assert (s.gamma1, s.gamma2, s.gamma3) == (0.7, 0.9, 0.999)


def test_when_it_clips_resets_and_warms_up():
    """At the same steps as the authors' program, counted from 1."""
    s = Spam()
    assert [t for t in range(1, 1600) if s.resets(t)] == [500, 1000, 1500]
    assert [t for t in range(1, 530) if not s.clips(t)] == [*range(1, 20), *range(500, 520)]
    assert s.lr_scale(1) == s.lr_scale(499) == s.lr_scale(650) == 1.0
    assert s.lr_scale(500) == pytest.approx(0.01)
    assert s.lr_scale(649) == pytest.approx(1 - 0.99 * (1 + math.cos(math.pi * 149 / 151)) / 2)
    never = Spam(reset_every=0)
    assert not any(never.resets(t) for t in range(1, 1600))
    assert [t for t in range(1, 1600) if not never.clips(t)] == [*range(1, 20)]


def test_decay_has_no_warm_up():
    p = nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = AdamWSPAM([p], lr=0.1, weight_decay=0.5, spam=Spam(reset_every=2, warmup=9))
    for _ in range(8):
        p.grad = torch.zeros(3, dtype=torch.float64)
        optimizer.step()
        assert optimizer.param_groups[0]["weight_decay"] == 0.5
    torch.testing.assert_close(p.detach(), torch.full_like(p, 0.95**8), rtol=1e-14, atol=0)


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_without_spikes_and_resets_bit_equal_to_adamw(amsgrad, fused):
    sequence = [g.clip(-1, 1) for g in gradients()]
    options = {"lr": LR, "betas": BETAS, "weight_decay": DECAY}
    calm = Spam(theta=1e12, reset_every=0)
    found = run(ours(calm, amsgrad=amsgrad, fused=fused), sequence)
    for spam in (None, calm):
        found = run(ours(spam, amsgrad=amsgrad, fused=fused), sequence)
        expected = run(
            lambda p: torch.optim.AdamW(p, amsgrad=amsgrad, fused=fused, **options), sequence
        )
        assert np.array_equal(found, expected)


def test_a_reset_zeroes_all_moments_and_keeps_the_step_count():
    p = nn.Parameter(torch.ones(3))
    optimizer = AdamWSPAM([p], spam=Spam(reset_every=3), amsgrad=True)
    for _ in range(2):
        p.grad = torch.full((3,), 10.0)
        optimizer.step()
    p.grad = torch.zeros(3)
    optimizer.step()
    state = optimizer.state[p]
    for key in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"):
        assert not state[key].any()
    assert state["step"] == 3


def test_warm_up_composes_with_a_schedule_without_compounding():
    p = nn.Parameter(torch.ones(3))
    optimizer = AdamWSPAM([p], spam=Spam(reset_every=2, warmup=4))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1 / (1 + t))
    for t in range(9):
        assert optimizer.param_groups[0]["lr"] == 1e-3 * (1 / (1 + t))
        p.grad = torch.ones(3)
        optimizer.step()
        schedule.step()


def test_a_failed_step_leaves_the_learning_rate():
    p = nn.Parameter(torch.ones(3))
    optimizer = AdamWSPAM([p], spam=Spam(reset_every=1, warmup=50))
    p.grad = torch.ones(3)
    optimizer.step()

    def broken():
        raise KeyError("broken")

    with pytest.raises(KeyError):
        optimizer.step(broken)
    assert optimizer.param_groups[0]["spam_step"] == 1, "a step that was not made is counted"
    for group in (optimizer.state_dict()["param_groups"][0], optimizer.param_groups[0]):
        assert (group["lr"], group["weight_decay"]) == (1e-3, 0.01)
    optimizer.step()
    assert optimizer.param_groups[0]["lr"] == 1e-3


def test_an_entry_without_history_is_not_held_at_zero():
    p = nn.Parameter(torch.zeros(2))
    optimizer = AdamWSPAM([p], spam=Spam(grace=0), weight_decay=0.0)
    p.grad = torch.tensor([1.0, 0.0])
    optimizer.step()
    p.grad = torch.tensor([1.0, 1.0])
    optimizer.step()
    assert p[1] != 0


@pytest.mark.parametrize("stable", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_empty_parameters(stable, fused):
    empty, p = nn.Parameter(torch.ones(0, 3)), nn.Parameter(torch.ones(2))
    optimizer = AdamWSPAM([empty, p], spam=Spam(stable=stable, grace=0, reset_every=2), fused=fused)
    for _ in range(4):
        empty.grad, p.grad = torch.ones(0, 3), torch.ones(2)
        optimizer.step()
    assert (p < 1).all()


@pytest.mark.parametrize("stable", [False, True])
def test_sparse_gradients_are_refused_with_the_cure(stable):
    table = nn.Embedding(5, 2, sparse=True)
    optimizer = AdamWSPAM(table.parameters(), spam=Spam(stable=stable))
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(RuntimeError, match=r"of shape \(5, 2\) is sparse: .* sparse=False"):
        optimizer.step()
    assert optimizer.param_groups[0]["spam_step"] == 0


def test_a_norm_beyond_float16_is_no_spike_to_infinity():
    p = nn.Parameter(torch.ones(64, dtype=torch.float16))
    optimizer = AdamWSPAM([p], spam=Spam(stable=True))
    for _ in range(3):
        p.grad = torch.full((64,), 60000.0, dtype=torch.float16)  # of norm 480,000
        optimizer.step()
    assert p.isfinite().all() and (p < 1).all()


def test_tamed_once():
    optimizer = AdamWSPAM([nn.Parameter(torch.ones(2))])
    with pytest.raises(ValueError, match="tamed already, by Spam"):
        optimizer.tame_by(Spam())


def test_state_of_a_run_without_spam_is_refused():
    p = nn.Parameter(torch.ones(2))
    state = torch.optim.AdamW([p]).state_dict()
    with pytest.raises(ValueError, match="from a run without SPAM"):
        AdamWSPAM([p]).load_state_dict(state)


@pytest.mark.parametrize("norms", [torch.zeros(3), "none"])
def test_norms_that_do_not_fit_are_refused_and_change_nothing(norms):
    p = nn.Parameter(torch.ones(2))
    optimizer = AdamWSPAM([p], spam=Spam(stable=True))
    p.grad = torch.ones(2)
    optimizer.step()
    state = copy.deepcopy(optimizer.state_dict())
    state["state"][0]["spam_norms"] = norms
    state["state"][0]["exp_avg"] = torch.zeros(2)
    with pytest.raises(ValueError, match="parameter 0: its spam_norms are not a tensor of 4"):
        optimizer.load_state_dict(state)
    assert optimizer.state[p]["exp_avg"].any()
