# SPDX-License-Identifier: MIT
"""The importance of a weight: one pure function for each formula, and the table of them.

A score takes a slice of a weight `w` (float32, 1-D) and the same slice of what is known about it
(`State`), and returns a float32 tensor of that shape. The smallest scores are pruned. Each formula
is zero for w = m = v = 0, so that a pruned entry scores zero, and finite for any finite state:
products beyond the range of float32 are clamped to its ends.

To add a score, write one function and one row of SCORES.

Sources: `magnitude` Han et al. 2015; `lamp` Lee et al. 2021; `movement` Sanh et al. 2020, eq. 5;
`bitter0` … `bitter9` are the state scores of AdamWPrune, on m and v, Adam's running means of the
gradient and of its square, and `v-power` is the family of magnitude (p = 0) and bitter7 (p = ¼).
z = -sign(w)·m/√v is positive where the next step makes |w| grow.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .lamp import layer_adaptive

# Added to √v, relative to the largest √v of the tensor. An absolute epsilon would dominate the
# score: with clipped gradients v is about 1e-9, and (v + 1e-8)^¼ is nearly constant.
RELATIVE_EPS = 1e-8

_LARGEST = torch.finfo(torch.float32).max
_TINY = torch.finfo(torch.float32).tiny


@dataclass
class State:
    """What the formulas may use, for one slice: float32, 1-D; None where the score needs none."""

    m: Tensor | None = None  # exp_avg
    v: Tensor | None = None  # exp_avg_sq
    root_eps: Tensor | None = None  # 0-d: RELATIVE_EPS · max √v over the whole tensor
    bias1: float = 1.0  # 1 - beta1^step: Adam's correction of m
    memory: Tensor | None = None  # the accumulated movement, or the weights at the start
    power: float | None = None  # the exponent p of v-power


def _held(x: Tensor) -> Tensor:
    return x.clamp_(-_LARGEST, _LARGEST)


def _signed(x: Tensor) -> Tensor:
    return _held(x).add_(0.0)  # -0.0 + 0.0 is +0.0


def _root(x: Tensor) -> Tensor:
    """√x for x ≥ 0. MKL's square root is several times slower at 0, where pruned weights are."""
    return x.rsqrt().reciprocal_()


def _ratio(state: State) -> Tensor:
    """m/√v, finite: Adam's own step in units of the learning rate."""
    return _held(state.m / _root(state.v).add_(state.root_eps))


def _z(w: Tensor, state: State) -> Tensor:
    return _ratio(state).mul_(w.sign()).neg_()


def magnitude(w: Tensor, state: State) -> Tensor:
    """|w|"""
    return w.abs()


def lamp(w: Tensor, state: State) -> Tensor:
    """w² over the sum of the squares of all weights of the layer that are not smaller."""
    return layer_adaptive(w)


def movement(w: Tensor, state: State) -> Tensor:
    """-Σ lr·g·w over the steps so far: large where training moved the weight away from zero."""
    return state.memory + 0.0


def movement_from_start(w: Tensor, state: State) -> Tensor:
    """w·(w - w₀): large where the weight is far from zero and from where it began."""
    return _signed(w * (w - state.memory))


def bitter0(w: Tensor, state: State) -> Tensor:
    """|w·m|·|w|/√v"""
    return _held(_held(w.square()).mul_(_ratio(state).abs_()))


def bitter3(w: Tensor, state: State) -> Tensor:
    """|w|·√|m|"""
    return _held(_root(state.m.abs()).mul_(w).abs_())


def bitter5(w: Tensor, state: State) -> Tensor:
    """-z + 0.1·|w|"""
    return _signed(w.abs().mul_(0.1).sub_(_z(w, state)))


def bitter6(w: Tensor, state: State) -> Tensor:
    """|w|·√|m|·√(m²/v)"""
    return _held(bitter3(w, state).mul_(_ratio(state).abs_()))


def bitter7(w: Tensor, state: State) -> Tensor:
    """|w|·v^¼"""
    return _held(state.v.rsqrt().rsqrt_().mul_(w).abs_())


def bitter8(w: Tensor, state: State) -> Tensor:
    """|w|·√|m̂|, m̂ = m/(1 - β₁^t)"""
    return _held(_root(state.m.abs()).div_(state.bias1**0.5).mul_(w).abs_())


def bitter9(w: Tensor, state: State) -> Tensor:
    """|w|·√|m̂| - 0.1·z"""
    return _signed(bitter8(w, state).sub_(_z(w, state).mul_(0.1)))


def v_power(w: Tensor, state: State) -> Tensor:
    """|w|·v^p"""
    if state.power == 0.25:  # pow() may differ in the last bit
        return bitter7(w, state)
    return _held(_held(state.v.pow(state.power)).mul_(w).abs_())


@dataclass(frozen=True)
class Score:
    """A row of SCORES: the formula and what it needs.

    state: keys of the optimizer's state. memory: `accumulated` or `initial`, a float32 per weight
    that the pruner keeps. ratio: uses `State.root_eps`. ramp: sparsity rises from 0.7 times the
    target in the first layer to 1.3 times in the last, instead of the scope. whole: the formula
    needs all weights of a layer at once. power: the default of `State.power`.
    """

    formula: Callable[[Tensor, State], Tensor]
    state: tuple[str, ...] = ()
    memory: str | None = None
    ratio: bool = False
    ramp: bool = False
    whole: bool = False
    power: float | None = None


_M, _V = ("exp_avg",), ("exp_avg_sq",)

SCORES: dict[str, Score] = {
    "magnitude": Score(magnitude),
    "lamp": Score(lamp, whole=True),
    "movement": Score(movement, memory="accumulated"),
    "movement-from-start": Score(movement_from_start, memory="initial"),
    "bitter0": Score(bitter0, _M + _V, ratio=True),
    "bitter1": Score(magnitude),
    "bitter2": Score(magnitude),  # its other half is a longer training (×1.21): docs/pruning.md
    "bitter3": Score(bitter3, _M),
    "bitter4": Score(bitter3, _M, ramp=True),
    "bitter5": Score(bitter5, _M + _V, ratio=True),
    "bitter6": Score(bitter6, _M + _V, ratio=True),
    "bitter7": Score(bitter7, _V),
    "bitter8": Score(bitter8, _M),
    "bitter9": Score(bitter9, _M + _V, ratio=True),
    "v-power": Score(v_power, _V, power=0.25),
}


def score_of(name: str, power: float | None = None) -> Score:
    """The row of SCORES, with another exponent if one is given. Raises ValueError."""
    score = SCORES[name]
    if power is None:
        return score
    if score.power is None:
        raise ValueError(f"the score {name} has no exponent")
    if not 0.0 <= power < math.inf:
        raise ValueError(f"the exponent {power} of {name} is not in [0, inf)")
    return replace(score, power=power)


def root_eps(v: Tensor) -> Tensor:
    """State.root_eps, 0-d float32. From the largest v: a mean depends on the order of adding."""
    largest = v.max() if v.numel() else v.new_zeros(())  # a shard may be empty
    return largest.float().sqrt().mul(RELATIVE_EPS).clamp(min=_TINY)
