# SPDX-License-Identifier: MIT
"""Causal self-attention, by the implementation that suits the processor.

    y = causal_attention(qkv, n_head, name="blocks")

On a CPU the scores are written out: a block of queries at a time, so that the part of the matrix
that lies in the future is skipped ("blocks"), or all at once, in few large products, which matrix
units prefer ("whole"). On a GPU, with dropout and in an exported program it is PyTorch's
`scaled_dot_product_attention` ("sdpa"). All are exact: values and gradients are checked against
float64 autograd in tests/gpt2.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from gpt2.kernels import on_cpu

QUERY_BLOCK = 64  # queries per block: 62.5 % of the full score matrix at 256 tokens


def causal_attention(
    qkv: torch.Tensor, n_head: int, dropout: float = 0.0, name: str = "blocks"
) -> torch.Tensor:
    """Multi-head causal self-attention, softmax(q kᵀ / √d) v.

    `qkv` is (batch, length, 3 · width): queries, keys, values side by side, each of them `n_head`
    heads of width / n_head. The result is (batch, length, width). `dropout` is the probability
    with which an attention weight is zeroed. `name` is one of gpt2/implementations.py.
    """
    # The blocks depend on the length, which an exported program leaves open.
    writes_out = name != "sdpa" and dropout == 0.0 and not torch.compiler.is_exporting()
    if writes_out and on_cpu(qkv):
        return _WrittenOut.apply(qkv, n_head, QUERY_BLOCK if name == "blocks" else qkv.shape[1])
    batch, length, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    q, k, v = qkv.view(batch, length, 3, n_head, width // n_head).permute(2, 0, 3, 1, 4).unbind(0)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)
    return y.transpose(1, 2).reshape(batch, length, width)


class _WrittenOut(torch.autograd.Function):
    """Block i of `block` rows of the scores needs only the keys up to its own last query.

    The softmax weights are kept for the backward pass, which recomputes nothing; at 256 tokens that
    is faster than the recomputation in PyTorch's fused CPU kernel.
    """

    @staticmethod
    def forward(ctx, qkv: torch.Tensor, n_head: int, block: int) -> torch.Tensor:
        batch, length, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
        head = width // n_head
        # One copy to (3, batch · heads, length, head), the layout for batched products.
        split = qkv.view(batch, length, 3, n_head, head).permute(2, 0, 3, 1, 4)
        q, k, v = split.reshape(3, batch * n_head, length, head).unbind(0)
        future = torch.full((block, block), -math.inf, dtype=qkv.dtype).triu(1)
        y = qkv.new_empty(batch, length, n_head, head)
        weights = []
        for lo in range(0, length, block):
            hi = min(lo + block, length)
            scores = _scaled_product(q[:, lo:hi], k[:, :hi].transpose(1, 2), head)
            scores[:, :, lo:] += future[: hi - lo, : hi - lo]
            weights.append(torch.softmax(scores, dim=-1))
            part = weights[-1] @ v[:, :hi]
            y[:, lo:hi] = part.view(batch, n_head, hi - lo, head).transpose(1, 2)
        ctx.save_for_backward(q, k, v, *weights)
        ctx.n_head, ctx.block = n_head, block
        return y.view(batch, length, width)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        q, k, v, *weights = ctx.saved_tensors
        (heads, length, head), n_head, block = q.shape, ctx.n_head, ctx.block
        batch = heads // n_head
        dy = dy.view(batch, length, n_head, head).transpose(1, 2).reshape(heads, length, head)
        dqkv = dy.new_empty(batch, length, 3, n_head, head)
        starts = range(0, length, block)
        # From the last block, which attends to all keys, to the first: it initialises the sums.
        for lo, w in zip(reversed(starts), reversed(weights), strict=True):
            hi = min(lo + block, length)
            dw = dy[:, lo:hi] @ v[:, :hi].transpose(1, 2)
            dscores = torch._softmax_backward_data(dw, w, -1, w.dtype)
            dv_part = w.transpose(1, 2) @ dy[:, lo:hi]
            dk_part = _scaled_product(dscores.transpose(1, 2), q[:, lo:hi], head)
            if hi == length:
                dk, dv = dk_part, dv_part
            else:
                dk[:, :hi] += dk_part
                dv[:, :hi] += dv_part
            dq = _scaled_product(dscores, k[:, :hi], head)
            dqkv[:, lo:hi, 0] = dq.view(batch, n_head, hi - lo, head).transpose(1, 2)
        dqkv[:, :, 1] = dk.view(batch, n_head, length, head).transpose(1, 2)
        dqkv[:, :, 2] = dv.view(batch, n_head, length, head).transpose(1, 2)
        return dqkv.view(batch, length, 3 * n_head * head), None, None


def _scaled_product(a: torch.Tensor, b: torch.Tensor, head: int) -> torch.Tensor:
    """a b / √head, the scaling inside the batched product; (batch, n, m) by (batch, m, p)."""
    return torch.baddbmm(a.new_empty(()), a, b, beta=0.0, alpha=1.0 / math.sqrt(head))
