# SPDX-License-Identifier: MIT
"""The kernels against PyTorch's own operators, values and gradients, in float64."""

import pytest
import torch
from torch.nn import functional as F

from gpt2 import attention, kernels
from gpt2.attention import causal_attention
from gpt2.implementations import TABLE


def attention_reference(qkv: torch.Tensor, n_head: int) -> torch.Tensor:
    """softmax(q kᵀ / √d) v with the future masked, written out."""
    batch, length, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    q, k, v = (
        part.view(batch, length, n_head, width // n_head).transpose(1, 2)
        for part in qkv.split(width, dim=2)
    )
    scores = q @ k.transpose(2, 3) / (width // n_head) ** 0.5
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    y = scores.masked_fill(future, -torch.inf).softmax(-1) @ v
    return y.transpose(1, 2).reshape(batch, length, width)


def values_and_gradients(function, *inputs: torch.Tensor) -> list[torch.Tensor]:
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    y = function(*leaves)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
    return [y.detach(), *torch.autograd.grad((y * weights).sum(), leaves)]


@pytest.mark.parametrize("name", TABLE["attention"])
# Around the block size of 64, where the last block is whole, short, or of a single query.
@pytest.mark.parametrize("length", [1, 5, 63, 64, 65, 150, 192])
def test_attention_is_exact(length, name):
    torch.manual_seed(length)
    qkv = torch.randn(2, length, 3 * 12, dtype=torch.float64)
    ours = values_and_gradients(lambda x: causal_attention(x, 3, name=name), qkv)
    reference = values_and_gradients(lambda x: attention_reference(x, 3), qkv)
    for a, b in zip(ours, reference, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", TABLE["attention"])
def test_attention_with_a_gradient_that_is_not_contiguous(name):
    qkv = torch.randn(2, 70, 24, dtype=torch.float64, requires_grad=True)
    outside = torch.randn(70, 2, 8, dtype=torch.float64).transpose(0, 1)
    (ours,) = torch.autograd.grad(causal_attention(qkv, 2, name=name), qkv, outside)
    (reference,) = torch.autograd.grad(attention_reference(qkv, 2), qkv, outside)
    torch.testing.assert_close(ours, reference, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", TABLE["attention"])
def test_attention_sees_no_future(name):
    qkv = torch.randn(1, 100, 24)
    before = causal_attention(qkv, 2, name=name)
    qkv[:, 80:] = torch.randn(1, 20, 24)
    after = causal_attention(qkv, 2, name=name)
    assert torch.equal(before[:, :80], after[:, :80])
    assert not torch.equal(before[:, 80:], after[:, 80:])


@pytest.mark.parametrize("name", TABLE["attention"])
def test_attention_in_bfloat16_is_within_its_precision(name):
    qkv = torch.randn(2, 130, 48)
    exact = attention_reference(qkv.to(torch.bfloat16).double(), 4)
    got = causal_attention(qkv.to(torch.bfloat16), 4, name=name)
    torch.testing.assert_close(got.double(), exact, rtol=0.03, atol=0.03)


def test_attention_with_dropout_drops():
    torch.manual_seed(0)
    qkv = torch.randn(1, 16, 24)
    a, b = (causal_attention(qkv, 2, dropout=0.5) for _ in range(2))
    assert not torch.equal(a, b)


def test_implementations_of_attention_are_what_they_are_called(monkeypatch):
    """Queries at a time: a block, all; PyTorch's own does not come by here."""
    lengths = []
    written_out = attention._WrittenOut.apply
    monkeypatch.setattr(
        attention._WrittenOut, "apply", lambda *a: lengths.append(a[2]) or written_out(*a)
    )
    for name in TABLE["attention"]:
        causal_attention(torch.randn(1, 150, 24), 2, name=name)
    assert lengths == [attention.QUERY_BLOCK, 150]


@pytest.mark.parametrize("name", TABLE["gelu"])
@pytest.mark.parametrize("shape", [(3,), (2, 5, 7), (kernels.GELU_CHUNK + 3,)])
def test_gelu_is_exact(shape, name):
    x = torch.linspace(-30, 30, torch.Size(shape).numel(), dtype=torch.float64).view(shape)
    ours = values_and_gradients(lambda x: kernels.gelu_(x.clone(), name), x)
    reference = values_and_gradients(lambda x: F.gelu(x, approximate="tanh"), x)
    for a, b in zip(ours, reference, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_gelu_of_a_transposed_input_and_at_the_edges_of_float32():
    x = torch.tensor([[0.0, -0.0, 1e-30], [50.0, -50.0, 3e4]]).t()
    ours = values_and_gradients(lambda x: kernels.gelu_(x.clone()), x)
    reference = values_and_gradients(lambda x: F.gelu(x, approximate="tanh"), x)
    for a, b in zip(ours, reference, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gelu_rounds_no_worse_than_pytorch(dtype):
    torch.manual_seed(0)
    x = torch.randn(10_000).to(dtype)
    exact = F.gelu(x.double(), approximate="tanh")
    ours = kernels.gelu_(x.clone().requires_grad_()).detach()
    theirs = F.gelu(x, approximate="tanh")
    assert ours.dtype == dtype
    assert (ours - exact).abs().max() <= 1.5 * (theirs - exact).abs().max()


def test_gelu_takes_its_input_over_and_autograd_knows():
    x = torch.randn(5, requires_grad=True)
    h = 2 * x
    squares = h * h
    y = kernels.gelu_(h)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        squares.sum().backward()
    y.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def loss_reference(x, weight, targets, vocab_size):
    return F.cross_entropy((x @ weight.t())[:, :vocab_size], targets)


# One chunk, several with a short last one, and a row each.
@pytest.mark.parametrize("at_once", [2**20, 300, 1])
def test_loss_is_exact(at_once, monkeypatch):
    monkeypatch.setitem(kernels.LOGITS_AT_ONCE, "cpu", at_once)
    torch.manual_seed(0)
    x = torch.randn(23, 6, dtype=torch.float64)
    weight = torch.randn(64, 6, dtype=torch.float64)
    targets = torch.randint(50, (23,))
    ours = values_and_gradients(
        lambda x, w: 3 * kernels.linear_cross_entropy(x, w, targets, 50), x, weight
    )
    reference = values_and_gradients(lambda x, w: 3 * loss_reference(x, w, targets, 50), x, weight)
    for a, b in zip(ours, reference, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert not ours[2][50:].any(), "the padding has no gradient"
    with torch.no_grad():
        alone = kernels.linear_cross_entropy(x, weight, targets, 50)
    torch.testing.assert_close(3 * alone, reference[0], rtol=1e-12, atol=1e-12)


def test_loss_of_extreme_logits_is_finite():
    x = torch.tensor([[300.0], [-300.0]], requires_grad=True)
    weight = torch.tensor([[1.0], [-1.0], [0.5]], requires_grad=True)
    loss = kernels.linear_cross_entropy(x, weight, torch.tensor([0, 0]), 3)
    loss.backward()
    assert loss.item() == pytest.approx(300.0)
    assert x.grad.isfinite().all() and weight.grad.isfinite().all()


def test_float32_weights_get_float32_gradients_from_a_bfloat16_product():
    x = torch.randn(40, 16).to(torch.bfloat16).requires_grad_()
    weight = torch.randn(32, 16, requires_grad=True)
    targets = torch.randint(32, (40,))
    kernels.linear_cross_entropy(x, weight, targets, 32).backward()
    assert weight.grad.dtype == torch.float32 and x.grad.dtype == torch.bfloat16
    exact = weight.detach().to(torch.bfloat16).double().requires_grad_()
    loss_reference(x.detach().double(), exact, targets, 32).backward()
    torch.testing.assert_close(weight.grad.double(), exact.grad, rtol=0.05, atol=2e-3)


def linear_gradients(x, weight, bias, name):
    """x weightᵀ + bias in bfloat16 from float32 parameters, and the gradients."""
    leaves = [x.to(torch.bfloat16), weight, bias]
    return values_and_gradients(lambda x, w, b: kernels.linear(x, w, b, name), *leaves)


@pytest.mark.parametrize("name", TABLE["weight_gradient"])
@pytest.mark.parametrize(("inputs", "outputs"), [(24, 8), (8, 24), (1, 1)])
def test_linear_is_as_exact_as_its_precision(inputs, outputs, name):
    torch.manual_seed(0)
    x, weight = torch.randn(3, 50, inputs), torch.randn(outputs, inputs)
    bias = torch.randn(outputs)
    ours = linear_gradients(x, weight, bias, name)
    rounded = [t.to(torch.bfloat16).double() for t in (x, weight, bias)]
    exact = values_and_gradients(F.linear, *rounded)
    with torch.autocast("cpu", torch.bfloat16):
        theirs = values_and_gradients(F.linear, x.to(torch.bfloat16), weight, bias)
    assert [t.dtype for t in ours] == [torch.bfloat16, torch.bfloat16, *2 * [torch.float32]]
    for a, b, c in zip(ours, exact, theirs, strict=True):
        assert a.stride() == b.stride()
        assert (a - b).norm() <= 1.05 * (c - b).norm() + 1e-6 * b.norm()


@pytest.mark.parametrize("name", TABLE["weight_gradient"])
def test_linear_without_bias_or_without_some_gradients(name):
    x, weight = torch.randn(5, 6).to(torch.bfloat16), torch.randn(3, 6, requires_grad=True)
    kernels.linear(x, weight, None, name).sum().backward()
    assert weight.grad.dtype == torch.float32 and x.grad is None
    x.requires_grad_()
    kernels.linear(x, weight.detach(), None, name).sum().backward()
    expected = weight.detach().to(torch.bfloat16).sum(0).expand(5, 6)
    torch.testing.assert_close(x.grad, expected, rtol=0.02, atol=0.02)


def test_each_weight_is_cast_once_within_its_scope_and_nothing_outlives_it():
    weight = torch.ones(2, 2)
    with kernels.cast_once():
        first = kernels.in_dtype(weight, torch.bfloat16)
        with kernels.cast_once():
            assert kernels.in_dtype(weight, torch.bfloat16) is first
        assert kernels.in_dtype(weight, torch.bfloat16) is first
        assert kernels.in_dtype(torch.zeros(2, 2), torch.bfloat16).sum() == 0
    weight.data.fill_(3.0)  # which no version counter notices
    assert kernels.in_dtype(weight, torch.bfloat16).sum() == 12
    with kernels.cast_once():
        assert kernels.in_dtype(weight, torch.bfloat16).sum() == 12


def test_a_scope_that_ends_with_an_error_leaves_nothing():
    weight = torch.ones(2, 2)
    with pytest.raises(torch.OutOfMemoryError), kernels.cast_once():
        kernels.in_dtype(weight, torch.bfloat16)
        raise torch.OutOfMemoryError
    weight.data.fill_(3.0)
    assert kernels.in_dtype(weight, torch.bfloat16).sum() == 12


def test_a_cast_made_in_inference_mode_serves_a_backward_pass():
    x, weight = torch.ones(3, 2).to(torch.bfloat16).requires_grad_(), torch.ones(2, 2)
    with kernels.cast_once():
        with torch.inference_mode():
            kernels.linear(torch.ones(3, 2).to(torch.bfloat16), weight, None)
        kernels.linear(x, weight, None).sum().backward()
    assert x.grad.sum() == 12


@pytest.mark.parametrize("weight_dtype", [torch.float32, torch.float16])  # float16 where sharded
@pytest.mark.parametrize(("size", "loss_scale"), [(1.0, 65536.0), (300.0, 8.0)])
def test_small_gradients_survive_float16_and_large_ones_do_not_overflow(
    weight_dtype, size, loss_scale, monkeypatch
):
    """The gradient of a logit is its probability over the number of rows: 1e-7, the least number
    of float16, for a mean over 8,000 rows. Summed over them, times large inputs, it overflows.
    """
    monkeypatch.setitem(kernels.LOGITS_AT_ONCE, "cpu", 512 * 3000)  # three parts, the last short
    torch.manual_seed(0)
    inputs = size * torch.randn(8000, 32).half(), 0.02 * torch.randn(512, 32).half()
    targets = torch.randint(4, (8000,)) ** 4  # few tokens, the most frequent half of the time
    found = []
    for dtypes in ((torch.float64,) * 2, (torch.float16, weight_dtype)):
        x, weight = (t.to(d).requires_grad_() for t, d in zip(inputs, dtypes, strict=True))
        loss = kernels.linear_cross_entropy(x, weight, targets, 500)
        (loss * loss_scale).backward()
        found.append([loss.detach().double(), *(t.grad.double() / loss_scale for t in (x, weight))])
    for exact, half in zip(*found, strict=True):
        assert (half - exact).norm() / exact.norm() < 4e-3
