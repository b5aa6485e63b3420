# SPDX-License-Identifier: MIT
"""Nested states of all kinds, as a training might save them, and whether two are the same."""

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool)


@st.composite
def tensors(draw) -> Tensor:
    """Of any shape and type, also empty, and views with odd strides and offsets."""
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    dtype = draw(st.sampled_from(DTYPES))
    seed = draw(st.integers(0, 2**32))
    values = torch.randint(0, 100, shape, generator=torch.Generator().manual_seed(seed))
    tensor = values.to(dtype)
    if tensor.ndim >= 2 and draw(st.booleans()):
        tensor = tensor.transpose(0, 1)
    if tensor.ndim >= 1 and tensor.shape[0] > 1 and draw(st.booleans()):
        tensor = tensor[1:]
    return tensor


PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)
)
KEYS = st.one_of(st.text(max_size=5), st.integers(0, 9))
NESTED = st.recursive(
    st.one_of(PLAIN, tensors()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(KEYS, inner, max_size=3),
    ),
    max_leaves=12,
)
STATES = st.dictionaries(st.text(max_size=5).filter(lambda key: key != "format"), NESTED)


def same(one: Any, other: Any) -> bool:
    """Whether both have the same structure, types, bits and strides."""
    if isinstance(one, Tensor):
        return (
            isinstance(other, Tensor)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and one.stride() == other.stride()
            and torch.equal(one, other)
        )
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def tensors_in(state: Any) -> list[Tensor]:
    """All tensors of a state."""
    if isinstance(state, Tensor):
        return [state]
    if isinstance(state, dict):
        state = list(state.values())
    return (
        [t for item in state for t in tensors_in(item)] if isinstance(state, list | tuple) else []
    )
