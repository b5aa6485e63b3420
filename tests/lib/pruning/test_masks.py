# SPDX-License-Identifier: MIT
"""Masks applied, packed and unpacked."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.pruning import select
from lib.pruning.masks import apply_mask, pack, unpack


@given(st.lists(st.integers(0, 1), max_size=50))
def test_pack_and_unpack(bits):
    mask = torch.tensor(bits, dtype=torch.uint8)
    packed = pack(mask)
    assert packed.dtype == torch.uint8 and len(packed) == (len(bits) + 7) // 8
    assert unpack(packed, mask.shape).equal(mask)


def test_unpack_refuses_another_shape():
    with pytest.raises(ValueError, match=r"1 packed bytes do not make a mask of shape \(3, 4\)"):
        unpack(pack(torch.ones(8, dtype=torch.uint8)), torch.Size([3, 4]))


@pytest.mark.parametrize("size", [3, 1 << 18])
def test_apply_to_tensors_of_any_dtype_and_layout(monkeypatch, size):
    monkeypatch.setitem(select.SLICE, "cpu", size)
    torch.manual_seed(0)
    mask = (torch.rand(5, 7) > 0.5).to(torch.uint8)
    tensors = [torch.randn(5, 7), torch.randn(5, 7, dtype=torch.bfloat16), torch.randn(7, 5).T]
    expected = [tensor * mask for tensor in tensors]
    apply_mask(mask, tensors)
    assert all(a.equal(b) for a, b in zip(tensors, expected, strict=True))
