# SPDX-License-Identifier: MIT
"""The formulas against float64, at the ends of float32, and with tiny gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.pruning.ranking import scored
from lib.pruning.scores import SCORES, State, root_eps, score_of

BIAS1 = 1 - 0.9**3


def z(w, m, v):
    return -np.sign(w) * m / np.sqrt(v)


# The formulas as documented, in float64 and without epsilon.
REFERENCE = {
    "magnitude": lambda w, m, v: abs(w),
    "bitter0": lambda w, m, v: abs(w * m) * abs(w) / np.sqrt(v),
    "bitter1": lambda w, m, v: abs(w),
    "bitter2": lambda w, m, v: abs(w),
    "bitter3": lambda w, m, v: abs(w) * np.sqrt(abs(m)),
    "bitter4": lambda w, m, v: abs(w) * np.sqrt(abs(m)),
    "bitter5": lambda w, m, v: -z(w, m, v) + 0.1 * abs(w),
    "bitter6": lambda w, m, v: abs(w) * np.sqrt(abs(m)) * np.sqrt(m**2 / v),
    "bitter7": lambda w, m, v: abs(w) * v**0.25,
    "bitter8": lambda w, m, v: abs(w) * np.sqrt(abs(m / BIAS1)),
    "bitter9": lambda w, m, v: abs(w) * np.sqrt(abs(m / BIAS1)) - 0.1 * z(w, m, v),
    "v-power": lambda w, m, v: abs(w) * v**0.25,
}
STATE_SCORES = sorted(REFERENCE)


def score(name, w, m, v, memory=None, power=None):
    chosen = score_of(name, power)
    state = State(m, v, root_eps(v), BIAS1, memory, chosen.power)
    return chosen.formula(w, state)


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e4])
@pytest.mark.parametrize("name", STATE_SCORES)
def test_against_float64(name, scale):
    """At any scale of the gradient: with clipping, v is about 1e-12 or less."""
    torch.manual_seed(0)
    w, g = torch.randn(2, 5000)
    m, v = 0.1 * g * scale, 0.01 * (g * scale) ** 2 + 1e-4 * scale**2
    expected = REFERENCE[name](*(x.double().numpy() for x in (w, m, v)))
    tolerance = {"rtol": 3e-6, "atol": 1e-6 * abs(expected).max()}
    np.testing.assert_allclose(score(name, w, m, v), expected, **tolerance)


@pytest.mark.parametrize("power", [0.0, 0.125, 0.25, 0.5, 1.0, 2.0])
def test_a_power_of_v_against_float64(power):
    torch.manual_seed(0)
    w, g = torch.randn(2, 5000)
    v = 1e-6 * g.square() + 1e-9
    expected = abs(w.double().numpy()) * v.double().numpy() ** power
    np.testing.assert_allclose(score("v-power", w, v, v, power=power), expected, rtol=3e-6)


def test_every_other_score_has_a_reference():
    assert {*REFERENCE, "lamp", "movement", "movement-from-start"} == set(SCORES)


@pytest.mark.parametrize(
    ("name", "power", "message"),
    [
        ("bitter7", 0.5, "the score bitter7 has no exponent"),
        ("v-power", -0.1, r"exponent -0.1 of v-power is not in \[0, inf\)"),
        ("v-power", float("nan"), "exponent nan of v-power"),
        ("v-power", float("inf"), "exponent inf of v-power"),
    ],
)
def test_an_exponent_that_cannot_be(name, power, message):
    with pytest.raises(ValueError, match=message):
        score_of(name, power)


def test_movement_from_start():
    w, start = torch.tensor([2.0, 2.0, -1.0]), torch.tensor([1.0, 3.0, -3.0])
    found = score("movement-from-start", w, w, w.abs(), start)
    assert found.tolist() == [2.0, -2.0, -2.0]


def test_the_fourth_root_is_not_magnitude_when_gradients_are_clipped():
    """With an absolute epsilon, (v + 1e-8)^¼ is constant for v = 1e-12, and the score magnitude."""
    w = torch.tensor([1.0, 2.0])
    v = torch.tensor([1.6e-11, 1e-14])
    found = score("bitter7", w, v, v)
    assert found[0] > found[1]
    assert found[0] / found[1] == pytest.approx((1.6e3**0.25) / 2, rel=1e-5)


EXTREME = st.sampled_from([0.0, 1e-45, 1e-38, 1e-30, 1e-10, 1.0, 1e10, 1e30, 3.4028234e38])
SIGNED = st.builds(lambda x, s: x * s, EXTREME, st.sampled_from([1, -1]))


@given(st.lists(st.tuples(SIGNED, SIGNED, EXTREME), min_size=1, max_size=20))
def test_finite_for_any_finite_state_and_never_a_negative_zero(rows):
    w, m, v = (torch.tensor(column, dtype=torch.float32) for column in zip(*rows, strict=True))
    for name in SCORES:
        found = score(name, w, m, v, memory=m)
        assert torch.isfinite(found).all(), name
        assert not ((found == 0) & torch.signbit(found)).any(), name


@given(st.lists(st.tuples(SIGNED, EXTREME), min_size=1, max_size=20), st.floats(0, 1e3))
def test_a_power_of_any_size_is_finite_and_not_negative(rows, power):
    w, v = (torch.tensor(column, dtype=torch.float32) for column in zip(*rows, strict=True))
    found = score("v-power", w, v, v, power=power)
    assert torch.isfinite(found).all() and not found.signbit().any()
    assert not found[w == 0].any()
    known = {0.0: "magnitude", 0.25: "bitter7"}
    for p, name in known.items():
        assert score("v-power", w, v, v, power=p).equal(score(name, w, v, v))


@pytest.mark.parametrize("name", SCORES)
def test_a_pruned_entry_scores_zero_and_inputs_stay(name):
    w, m, v = torch.tensor([0.0, -0.0, 1.0]), torch.tensor([0.0, -0.0, 0.5]), torch.zeros(3)
    v[2] = 0.25
    memory = torch.tensor([0.0, 0.0, 0.3])
    copies = [x.clone() for x in (w, m, v, memory)]
    assert score(name, w, m, v, memory)[:2].tolist() == [0.0, 0.0]
    assert all(a.equal(b) for a, b in zip((w, m, v, memory), copies, strict=True))


def test_small_float16_weights_do_not_underflow():
    """Scores of float16 parameters are computed in float32 (lib/pruning/ranking.py)."""
    w = torch.tensor([1e-4, 2e-4], dtype=torch.float16)
    v = torch.tensor([1e-7, 1e-7], dtype=torch.float16)
    mask = torch.ones(2, dtype=torch.uint8)
    state = {"exp_avg_sq": v, "exp_avg": v, "step": torch.tensor(3.0)}
    betas = {"betas": (0.9, 0.99)}
    item = scored("w", w, mask, SCORES["bitter0"], state=state, param_group=betas)
    found = item.score(0, 2)
    assert found.dtype == torch.float32 and (found > 0).all()


def test_root_eps_is_relative_to_the_tensor():
    v = torch.tensor([1e-20, 4e-18])
    assert float(root_eps(v)) == pytest.approx(1e-8 * 2e-9)
    assert float(root_eps(torch.zeros(3))) > 0
