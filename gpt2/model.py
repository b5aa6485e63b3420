# SPDX-License-Identifier: MIT
"""GPT-2 in the original's parameterisation, small enough to read in one go.

Pre-norm blocks, learned positions, tanh-approximated GELU, and an output projection tied to the
token embedding. Parameter names are those of the Hugging Face checkpoints, so that pretrained
weights load by name (gpt2/pretrained.py).

Parameters are always float32. `GPT.arithmetic` says in which precision and by which implementations
the model computes (gpt2/implementations.py): activations are cast to that precision at the
embedding, and every layer casts its weights to the dtype of its input. Optimizer, pruning, clipping
and checkpoints therefore see float32 weights only, and precision does not depend on an autocast
context.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from gpt2.attention import causal_attention
from gpt2.implementations import Arithmetic
from gpt2.kernels import gelu_, linear, linear_cross_entropy

# name: (layers, heads, width), the four published sizes
SIZES = {
    "124m": (12, 12, 768),
    "350m": (24, 16, 1024),
    "774m": (36, 20, 1280),
    "1558m": (48, 25, 1600),
}
VOCAB_MULTIPLE = 64  # matrix units are faster when the vocabulary divides into whole tiles


@dataclass(frozen=True)
class GPTConfig:
    """Shape of a model. Raises ValueError when the numbers are inconsistent."""

    vocab_size: int
    block_size: int = 1024  # longest context, in tokens
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    dropout: float = 0.0
    bias: bool = True

    def __post_init__(self) -> None:
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.n_embd % self.n_head:
            raise ValueError(
                f"{self.n_head} heads do not divide width {self.n_embd}: make GPT2_N_EMBD a "
                f"multiple of GPT2_N_HEAD, such as {64 * self.n_head}"
            )

    @property
    def padded_vocab_size(self) -> int:
        return math.ceil(self.vocab_size / VOCAB_MULTIPLE) * VOCAB_MULTIPLE


class Linear(nn.Linear):
    """Computes in the dtype of its input, whatever that of its parameters."""

    def __init__(self, inputs: int, outputs: int, config: GPTConfig, how: Arithmetic) -> None:
        super().__init__(inputs, outputs, bias=config.bias)
        self.how = how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.weight, self.bias, self.how.weight_gradient)


class LayerNorm(nn.LayerNorm):
    """From the residual stream to the precision of the products; statistics in float32."""

    def __init__(self, config: GPTConfig, how: Arithmetic) -> None:
        super().__init__(config.n_embd, bias=config.bias)
        self.how = how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self.weight, self.bias
        if x.device.type != "cpu":  # PyTorch's CPU kernel takes float32 parameters as they are
            weight = weight.to(x.dtype)
            bias = None if bias is None else bias.to(x.dtype)
        y = F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)
        return y.to(self.how.dtype)


class Attention(nn.Module):
    def __init__(self, config: GPTConfig, how: Arithmetic) -> None:
        super().__init__()
        self.n_head, self.dropout, self.how = config.n_head, config.dropout, how
        self.c_attn = Linear(config.n_embd, 3 * config.n_embd, config, how)
        self.c_proj = Linear(config.n_embd, config.n_embd, config, how)
        self.cache = None  # of earlier tokens, while gpt2/generation.py generates

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        qkv = self.c_attn(x)
        if self.cache is None:
            dropout = self.dropout if self.training else 0.0
            y = causal_attention(qkv, self.n_head, dropout, self.how.attention)
        else:
            y = self.cache.attend(qkv, self.n_head)
        return F.dropout(self.c_proj(y), self.dropout, self.training)


class MLP(nn.Module):
    def __init__(self, config: GPTConfig, how: Arithmetic) -> None:
        super().__init__()
        self.dropout, self.how = config.dropout, how
        self.c_fc = Linear(config.n_embd, 4 * config.n_embd, config, how)
        self.c_proj = Linear(4 * config.n_embd, config.n_embd, config, how)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.c_proj(gelu_(self.c_fc(x), self.how.gelu))
        return F.dropout(y, self.dropout, self.training)


class Block(nn.Module):
    def __init__(self, config: GPTConfig, how: Arithmetic) -> None:
        super().__init__()
        self.ln_1 = LayerNorm(config, how)
        self.attn = Attention(config, how)
        self.ln_2 = LayerNorm(config, how)
        self.mlp = MLP(config, how)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """The language model; `dtype` is the precision it computes in, which `arithmetic` can change.

    `checkpoint_every` n: every n-th block, beginning with the first, keeps nothing but its input
    for the backward pass, which computes the block once more; 0: none does. Results are the same.
    """

    checkpoint_every = 0

    def __init__(self, config: GPTConfig, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config, self.arithmetic = config, Arithmetic(dtype)
        self.wte = nn.Embedding(config.padded_vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.h = nn.ModuleList(Block(config, self.arithmetic) for _ in range(config.n_layer))
        self.ln_f = LayerNorm(config, self.arithmetic)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """N(0, 0.02); projections into the residual stream are scaled by 1/√(2 · layers), so
        that its variance does not grow with depth (GPT-2 paper, section 2.3)."""
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                residual = name.endswith("c_proj.weight")
                scale = 1 / math.sqrt(2 * self.config.n_layer) if residual else 1.0
                nn.init.normal_(parameter, std=0.02 * scale)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
        """Mean cross-entropy (nats, scalar) with `targets`, else logits (batch, length, vocab).

        `tokens` and `targets` are (batch, length) int64, length at most `block_size`.
        """
        x = self.hidden(tokens)
        if targets is None:
            return self.logits(x)
        vocab_size = self.config.vocab_size
        return linear_cross_entropy(x.flatten(0, 1), self.wte.weight, targets.flatten(), vocab_size)

    def hidden(self, tokens: torch.Tensor, start: int = 0) -> torch.Tensor:
        """The final hidden states, (batch, length, width), in the compute precision.

        The first token stands at position `start`.
        """
        end = start + tokens.shape[1]
        if end > self.config.block_size:
            raise ValueError(f"{end} tokens do not fit the block size {self.config.block_size}")
        x = self.wte(tokens) + self.wpe.weight[start:end]
        x = x.to(self.arithmetic.residual_dtype)
        x = F.dropout(x, self.config.dropout, self.training)
        every = self.checkpoint_every if self.training else 0
        for i, block in enumerate(self.h):
            if every and i % every == 0:
                random = self.config.dropout > 0  # then generators are restored to compute again
                x = checkpoint(block, x, use_reentrant=False, preserve_rng_state=random)
            else:
                x = block(x)
        return self.ln_f(x)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of hidden states (…, width) over the true vocabulary, without its padding."""
        return F.linear(x, self.wte.weight.to(x.dtype))[..., : self.config.vocab_size]

    def next_logits(self, tokens: torch.Tensor, start: int = 0) -> torch.Tensor:
        """Logits (batch, vocab) of what follows `tokens`, which stand at position `start` on.

        For gpt2/generation.py, whose cache holds the tokens before `start`.
        """
        return self.logits(self.hidden(tokens, start)[:, -1])

    def parameter_count(self) -> int:
        """Trainable numbers; the tied projection counts once, padding rows do not count."""
        padding = self.config.padded_vocab_size - self.config.vocab_size
        return sum(p.numel() for p in self.parameters()) - padding * self.config.n_embd
