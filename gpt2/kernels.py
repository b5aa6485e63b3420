# SPDX-License-Identifier: MIT
"""Three operations of GPT-2 that are faster, or take less memory, than PyTorch's own.

`causal_attention` on a CPU works through the queries in blocks and skips the part of the score
matrix that lies in the future; on a GPU it is `scaled_dot_product_attention`. `gelu_` on a CPU
avoids tanh and works in place. `linear_cross_entropy` fuses the output projection and the loss, a
few rows at a time, so that the (tokens, vocabulary) logits never exist as a whole.

All are exact: values and gradients are checked against float64 autograd in tests/gpt2.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

QUERY_BLOCK = 64  # queries per block: 62.5 % of the full score matrix at 256 tokens
GELU_CHUNK = 2**17  # elements; a handful of such float32 buffers share the last-level cache
LOGITS_AT_ONCE = {"cpu": 2**23, "cuda": 2**27}  # elements; 32 MiB in float32, 256 MiB in bfloat16


def _on_cpu(x: torch.Tensor) -> bool:
    return x.device.type == "cpu"


def causal_attention(qkv: torch.Tensor, n_head: int, dropout: float = 0.0) -> torch.Tensor:
    """Multi-head causal self-attention, softmax(q kᵀ / √d) v.

    `qkv` is (batch, length, 3 · width): queries, keys, values side by side, each of them `n_head`
    heads of width / n_head. The result is (batch, length, width). `dropout` is the probability
    with which an attention weight is zeroed.
    """
    # The blocks depend on the length, which an exported program leaves open.
    if _on_cpu(qkv) and dropout == 0.0 and not torch.compiler.is_exporting():
        return _BlockedAttention.apply(qkv, n_head)
    batch, length, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    q, k, v = qkv.view(batch, length, 3, n_head, width // n_head).permute(2, 0, 3, 1, 4).unbind(0)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)
    return y.transpose(1, 2).reshape(batch, length, width)


class _BlockedAttention(torch.autograd.Function):
    """Row block i of the scores needs only the keys up to its own last query.

    The softmax weights are kept for the backward pass, which recomputes nothing; at 256 tokens that
    is faster than the recomputation in PyTorch's fused CPU kernel.
    """

    @staticmethod
    def forward(ctx, qkv: torch.Tensor, n_head: int) -> torch.Tensor:
        batch, length, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
        head = width // n_head
        # One copy to (3, batch · heads, length, head), the layout for batched products.
        split = qkv.view(batch, length, 3, n_head, head).permute(2, 0, 3, 1, 4)
        q, k, v = split.reshape(3, batch * n_head, length, head).unbind(0)
        future = torch.full((QUERY_BLOCK, QUERY_BLOCK), -math.inf, dtype=qkv.dtype).triu(1)
        y = qkv.new_empty(batch, length, n_head, head)
        weights = []
        for lo in range(0, length, QUERY_BLOCK):
            hi = min(lo + QUERY_BLOCK, length)
            scores = _scaled_product(q[:, lo:hi], k[:, :hi].transpose(1, 2), head)
            scores[:, :, lo:] += future[: hi - lo, : hi - lo]
            weights.append(torch.softmax(scores, dim=-1))
            part = weights[-1] @ v[:, :hi]
            y[:, lo:hi] = part.view(batch, n_head, hi - lo, head).transpose(1, 2)
        ctx.save_for_backward(q, k, v, *weights)
        ctx.n_head = n_head
        return y.view(batch, length, width)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy: torch.Tensor) -> tuple[torch.Tensor, None]:
        q, k, v, *weights = ctx.saved_tensors
        (heads, length, head), n_head = q.shape, ctx.n_head
        batch = heads // n_head
        dy = dy.view(batch, length, n_head, head).transpose(1, 2).reshape(heads, length, head)
        dqkv = dy.new_empty(batch, length, 3, n_head, head)
        starts = range(0, length, QUERY_BLOCK)
        # From the last block, which attends to all keys, to the first: it initialises the sums.
        for lo, w in zip(reversed(starts), reversed(weights), strict=True):
            hi = min(lo + QUERY_BLOCK, length)
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
        return dqkv.view(batch, length, 3 * n_head * head), None


def _scaled_product(a: torch.Tensor, b: torch.Tensor, head: int) -> torch.Tensor:
    """a b / √head, the scaling inside the batched product; (batch, n, m) by (batch, m, p)."""
    return torch.baddbmm(a.new_empty(()), a, b, beta=0.0, alpha=1.0 / math.sqrt(head))


def gelu_(x: torch.Tensor) -> torch.Tensor:
    """GELU in the tanh approximation (Hendrycks and Gimpel 2016, section 2) that GPT-2 uses.

    0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))), elementwise, any shape. Overwrites `x`, and autograd
    refuses to use it for anything else.
    """
    if _on_cpu(x) and torch.is_grad_enabled() and x.requires_grad:
        return _SigmoidGELU.apply(x)
    return F.gelu(x, approximate="tanh")


class _SigmoidGELU(torch.autograd.Function):
    """The same function as x σ(z), z = x (C1 + C2 x²): tanh takes three times as long as a sigmoid.

    Works in float32, in chunks that stay in the cache. The derivative overwrites the input, and the
    gradient the derivative: only the result needs new memory, which a CPU fetches more slowly than
    it computes.
    """

    C1 = 2.0 * math.sqrt(2.0 / math.pi)
    C2 = 0.044715 * C1

    @staticmethod
    def forward(ctx, x: torch.Tensor) -> torch.Tensor:
        x = x.contiguous()
        y = torch.empty_like(x)
        wide = torch.promote_types(x.dtype, torch.float32)
        c1 = torch.tensor(_SigmoidGELU.C1, dtype=wide)
        for x_part, y_part in zip(*(t.view(-1).split(GELU_CHUNK) for t in (x, y)), strict=True):
            x_wide, y_wide = x_part.to(wide), y_part.to(wide)
            q = torch.addcmul(c1, x_wide, x_wide, value=_SigmoidGELU.C2)
            s = torch.mul(q, x_wide).sigmoid_()
            torch.mul(x_wide, s, out=y_wide)
            # d/dx x σ(z) = σ + x σ (1 - σ) z', with z' = C1 + 3 C2 x² = 3 q - 2 C1
            t = torch.addcmul(y_wide, y_wide, s, value=-1.0)
            torch.addcmul(s, t, q, value=3.0, out=x_wide)
            x_wide.add_(t, alpha=-2.0 * _SigmoidGELU.C1)
            if wide != x.dtype:  # otherwise `to` made no copy, and the results are in place
                x_part.copy_(x_wide)
                y_part.copy_(y_wide)
        ctx.save_for_backward(x)  # the derivative, by now
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy: torch.Tensor) -> torch.Tensor:
        (slope,) = ctx.saved_tensors
        return slope.mul_(dy)


def linear_cross_entropy(
    x: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, vocab_size: int
) -> torch.Tensor:
    """Mean over the rows of -log softmax(x weightᵀ)[target], a float32 (or float64) scalar.

    `x` is (rows, width), `weight` (padded vocabulary, width), `targets` (rows,) int64. Columns
    from `vocab_size` on are padding and take no part. Products run in the precision of `x`, the
    softmax in float32. With gradients enabled the gradients are computed on the way, chunk by
    chunk, while the logits of the chunk are at hand; backward only scales them.
    """
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        return _LinearCrossEntropy.apply(x, weight, targets, vocab_size)
    losses = []
    for rows in _row_chunks(x, weight):
        logits = _logits(x[rows], weight.to(x.dtype), vocab_size)
        losses.append(F.cross_entropy(logits, targets[rows], reduction="sum"))
    return torch.stack(losses).sum() / x.shape[0]


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, targets, vocab_size: int) -> torch.Tensor:
        compute_weight = weight.to(x.dtype)
        dx, dweight = torch.empty_like(x), torch.zeros_like(weight)
        losses = []
        for rows in _row_chunks(x, weight):
            logits = _logits(x[rows], compute_weight, vocab_size)
            target = targets[rows].unsqueeze(1)
            log_normaliser = logits.logsumexp(dim=1, keepdim=True)
            losses.append((log_normaliser - logits.gather(1, target)).sum())
            # d loss / d logits = softmax - one-hot, averaged over all rows.
            dlogits = (logits - log_normaliser).exp_()
            dlogits.scatter_add_(1, target, torch.full_like(log_normaliser, -1.0))
            dlogits = dlogits.mul_(1.0 / x.shape[0]).to(x.dtype)
            dx[rows] = dlogits @ compute_weight
            dweight += dlogits.t() @ x[rows]
        ctx.save_for_backward(dx, dweight)
        return torch.stack(losses).sum() / x.shape[0]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, scale: torch.Tensor):
        dx, dweight = ctx.saved_tensors
        return dx * scale.to(dx.dtype), dweight * scale.to(dweight.dtype), None, None


def _row_chunks(x: torch.Tensor, weight: torch.Tensor) -> list[slice]:
    at_once = max(1, LOGITS_AT_ONCE["cuda" if x.is_cuda else "cpu"] // weight.shape[0])
    return [slice(lo, lo + at_once) for lo in range(0, x.shape[0], at_once)]


def _logits(x: torch.Tensor, weight: torch.Tensor, vocab_size: int) -> torch.Tensor:
    """Logits in at least float32, the padding at minus infinity."""
    logits = x @ weight.t()
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logits[:, vocab_size:] = -math.inf
    return logits
