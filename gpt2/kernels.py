# SPDX-License-Identifier: MIT
"""Operations of GPT-2 that are faster, or take less memory, than PyTorch's own.

`linear` computes in the precision of its input, from weights that stay float32; within
`cast_once` each weight is cast a single time. `gelu_` on a CPU avoids tanh and works in place.
`linear_cross_entropy` fuses the output projection and the loss, a few rows at a time, so that the
(tokens, vocabulary) logits never exist as a whole. Attention is in attention.py.

All are exact: values and gradients are checked against float64 autograd in tests/gpt2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.nn import functional as F

GELU_CHUNK = 2**17  # elements; a handful of such float32 buffers share the last-level cache
LOGITS_AT_ONCE = {"cpu": 2**23, "cuda": 2**27}  # elements; 32 MiB in float32, 256 MiB in bfloat16


def on_cpu(x: torch.Tensor) -> bool:
    return x.device.type == "cpu"


# Within `cast_once`, the weights cast so far: by weight, precision, and whether with a gradient.
_casts: dict[tuple[torch.Tensor, torch.dtype, bool], torch.Tensor] | None = None


@contextmanager
def cast_once() -> Iterator[None]:
    """Within it each weight is cast to the precision of the products only once; none may change.

    Put it around the micro-steps of a step, an evaluation, or a generation. No copy outlives it: a
    stale one could not be told by its version counter, which PyTorch's fused optimizers do not
    advance.
    """
    global _casts
    outer = _casts
    _casts = {} if outer is None else outer
    try:
        yield
    finally:
        _casts = outer


def in_dtype(weight: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`weight` in the precision `dtype`, with a gradient if there is one; see `cast_once`."""
    if weight.dtype == dtype:
        return weight
    if not on_cpu(weight) or _casts is None:  # compiled code for GPUs fuses its casts
        return weight.to(dtype)
    has_gradient = torch.is_grad_enabled()
    key = (weight, dtype, has_gradient)
    if key not in _casts:  # made outside inference mode, so that any later use may take it
        with torch.inference_mode(False), torch.set_grad_enabled(has_gradient):
            _casts[key] = weight.to(dtype)
    return _casts[key]


def linear(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    weight_gradient: str = "direct",
) -> torch.Tensor:
    """x weightᵀ + bias in the precision of `x` (…, inputs); `weight` is (outputs, inputs).

    The gradients have the precision of the parameters. `weight_gradient` is one of
    gpt2/implementations.py.
    """
    bias = None if bias is None else in_dtype(bias, x.dtype)
    outputs, inputs = weight.shape
    if weight_gradient == "transposed" and inputs > outputs and on_cpu(x):
        return _TransposedLinear.apply(x, in_dtype(weight, x.dtype), bias)
    return F.linear(x, in_dtype(weight, x.dtype), bias)


class _TransposedLinear(torch.autograd.Function):
    """The gradient of the weight as (xᵀ dy)ᵀ: with matrix units faster than dyᵀ x."""

    @staticmethod
    def forward(ctx, x, weight, bias) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy: torch.Tensor):
        x, weight = ctx.saved_tensors
        dx = dweight = dbias = None
        dy_rows, x_rows = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
        if ctx.needs_input_grad[0]:
            dx = (dy_rows @ weight).view_as(x)
        if ctx.needs_input_grad[1]:
            dweight = (x_rows.t() @ dy_rows).t().contiguous()
        if ctx.needs_input_grad[2]:
            dbias = dy_rows.sum(0)
        return dx, dweight, dbias


def gelu_(x: torch.Tensor, name: str = "sigmoid") -> torch.Tensor:
    """GELU in the tanh approximation (Hendrycks and Gimpel 2016, section 2) that GPT-2 uses.

    0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³))), elementwise, any shape. Overwrites `x`, and autograd
    refuses to use it for anything else. `name` is one of gpt2/implementations.py.
    """
    if name == "sigmoid" and on_cpu(x) and torch.is_grad_enabled() and x.requires_grad:
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
    chunk, while the logits of the chunk are at hand; backward only scales them. In float16 the mean
    over the rows is left to backward as well, which knows the scale of the loss: a probability
    divided by thousands of rows would be zero before that scale could save it.
    """
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        return _LinearCrossEntropy.apply(x, weight, targets, vocab_size)
    losses = []
    for rows in _row_chunks(x, weight):
        logits = _logits(x[rows], in_dtype(weight, x.dtype), vocab_size)
        losses.append(F.cross_entropy(logits, targets[rows], reduction="sum"))
    return torch.stack(losses).sum() / x.shape[0]


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, targets, vocab_size: int) -> torch.Tensor:
        compute_weight = in_dtype(weight, x.dtype)
        dx = torch.empty_like(x)
        dweight = torch.zeros_like(weight, dtype=_at_least_float32(weight.dtype))
        factors = x.new_ones(x.shape[0], 1, dtype=dweight.dtype)  # what remains to be multiplied
        losses = []
        for rows in _row_chunks(x, weight):
            logits = _logits(x[rows], compute_weight, vocab_size)
            target = targets[rows].unsqueeze(1)
            log_normaliser = logits.logsumexp(dim=1, keepdim=True)
            losses.append((log_normaliser - logits.gather(1, target)).sum())
            # d loss / d logits = softmax - one-hot, averaged over all rows.
            dlogits = (logits - log_normaliser).exp_()
            dlogits.scatter_add_(1, target, torch.full_like(log_normaliser, -1.0))
            if x.dtype == torch.float16:
                gain = _gain(dlogits, x[rows], compute_weight)
                dlogits = dlogits.mul_(gain).to(x.dtype)
                factors[rows] /= gain * x.shape[0]
                dweight.addcmul_((dlogits.t() @ x[rows]).to(dweight.dtype), factors[rows.start])
            else:
                dlogits = dlogits.mul_(1.0 / x.shape[0]).to(x.dtype)
                dweight += dlogits.t() @ x[rows]
            dx[rows] = dlogits @ compute_weight
        ctx.save_for_backward(dx, dweight, factors)
        ctx.weight_dtype = weight.dtype
        return torch.stack(losses).sum() / x.shape[0]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, scale: torch.Tensor):
        dx, dweight, factors = ctx.saved_tensors
        if dx.dtype == torch.float16:  # which cannot hold the scale of a loss, 65,536
            dx = (dx * (factors * scale)).to(torch.float16)
        else:
            dx = dx * scale.to(dx.dtype)
        return dx, (dweight * scale.to(dweight.dtype)).to(ctx.weight_dtype), None, None


def _gain(dlogits: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The power of two by which the float32 `dlogits` are as large as float16 allows, 0-d.

    Neither they nor their products with `weight` and with the rows `x` can overflow: a sum of
    products is at most the sum of the absolute values of one side times the largest of the other.
    """
    magnitudes = dlogits.abs()
    bounds = (
        magnitudes.max(),
        magnitudes.sum(1).max() * weight.abs().max(),
        magnitudes.sum(0).max() * x.abs().max(),
    )
    room = 0.5 * torch.finfo(torch.float16).max / torch.stack([b.float() for b in bounds]).max()
    return torch.exp2(room.log2().floor()).clamp(2.0**-60, 2.0**60)


def _at_least_float32(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def rows_at_once(x: torch.Tensor, columns: int) -> int:
    """Of how many rows of `x` the logits, `columns` each, are computed at once."""
    return max(1, LOGITS_AT_ONCE["cuda" if x.is_cuda else "cpu"] // columns)


def _row_chunks(x: torch.Tensor, weight: torch.Tensor) -> list[slice]:
    at_once = rows_at_once(x, weight.shape[0])
    return [slice(lo, lo + at_once) for lo in range(0, x.shape[0], at_once)]


def _logits(x: torch.Tensor, weight: torch.Tensor, vocab_size: int) -> torch.Tensor:
    """Logits in at least float32, the padding at minus infinity."""
    logits = x @ weight.t()
    logits = logits.to(_at_least_float32(logits.dtype))
    logits[:, vocab_size:] = -math.inf
    return logits
