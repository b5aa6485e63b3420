# SPDX-License-Identifier: MIT
"""Applying, packing and unpacking masks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.pruning import slices
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
    monkeypatch.setitem(slices.SLICE, "cpu", size)
    torch.manual_seed(0)
    mask = (torch.rand(5, 7) > 0.5).to(torch.uint8)
    tensors = [torch.randn(5, 7), torch.randn(5, 7, dtype=torch.bfloat16), torch.randn(7, 5).T]
    expected = [tensor * mask for tensor in tensors]
    apply_mask(mask, tensors)
    assert all(a.equal(b) for a, b in zip(tensors, expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("transposed", [False, True])
def test_what_is_not_finite_becomes_zero_where_the_mask_is(dtype, transposed):
    """0·inf is NaN, and a single NaN in a gradient ends the training."""
    tensor = torch.tensor([[float("inf"), float("nan"), -float("inf"), -0.0]], dtype=dtype)
    tensor = tensor.repeat(3, 1)
    mask = torch.zeros(3, 4, dtype=torch.uint8)
    mask[0] = 1
    if transposed:
        tensor, mask = tensor.T, mask.T.contiguous()
    before = tensor.clone()
    apply_mask(mask, [tensor])
    assert tensor[mask == 1].view(-1).allclose(before[mask == 1], equal_nan=True)
    assert not tensor[mask == 0].any()


def test_a_sparse_gradient_is_refused():
    with pytest.raises(ValueError, match="sparse tensor cannot be masked: use layers with dense"):
        apply_mask(torch.ones(2, 2, dtype=torch.uint8), [torch.eye(2).to_sparse()])
