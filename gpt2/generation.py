# SPDX-License-Identifier: MIT
"""Text from a GPT-2, token by token, with a cache of keys and values.

    for tokens in stream(model, prompt, 100, temperature=0.8, generator=generator):
        …                                               # (batch,) int64, as soon as it is drawn
    tokens = generate(model, prompt, 100, temperature=0)        # (batch, length + 100)

The model computes just the new token; attention reads the keys and values of those before it from
the cache, which has its final size from the start. A token costs as much as any other.

The positions of GPT-2 are learned, so that its keys are valid at one position only and cannot roll
along. Once the context holds `block_size` tokens, it moves on by half a block: what is left is
computed again from position 0, and the cache grows from there. `window_start` says which tokens the
model sees. It is a function of the position alone: a text that is continued in two goes is that of
one.
"""

import math
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F

from gpt2.model import GPT


def window_start(position: int, block_size: int) -> int:
    """The first token that the model sees when it predicts the one at `position`.

    0 as long as all tokens fit; then a multiple of half the block size, so that between half a
    block and a block of tokens are seen.
    """
    stride = (block_size + 1) // 2
    return -(-max(0, position - block_size) // stride) * stride


class LayerCache:
    """Keys and values of one attention layer, each (batch, heads, room, head)."""

    def __init__(self, model: GPT, batch: int, room: int) -> None:
        config = model.config
        shape = (2, batch, config.n_head, room, config.n_embd // config.n_head)
        self.memory = torch.empty(
            shape, dtype=model.arithmetic.dtype, device=model.wte.weight.device
        )
        self.length = 0

    def attend(self, qkv: Tensor, n_head: int) -> Tensor:
        """Causal attention of new tokens to themselves and to those in the cache, which they join.

        `qkv` and the result are as in gpt2/attention.py; no dropout.
        """
        batch, new, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
        q, k, v = qkv.view(batch, new, 3, n_head, width // n_head).permute(2, 0, 3, 1, 4).unbind(0)
        end = self.length + new
        self.memory[0, :, :, self.length : end] = k
        self.memory[1, :, :, self.length : end] = v
        keys, values = self.memory[:, :, :, :end]
        mask = None
        if new > 1:  # query i is token length + i
            mask = torch.ones(new, end, dtype=torch.bool, device=qkv.device).tril(self.length)
        y = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)
        self.length = end
        return y.transpose(1, 2).reshape(batch, new, width)


class Cache:
    """The keys and values of all layers, for a `batch` of texts of at most `room` tokens."""

    def __init__(self, model: GPT, batch: int, room: int) -> None:
        self.model = model
        self.layers = [LayerCache(model, batch, room) for _ in model.h]

    @property
    def length(self) -> int:
        """How many tokens it holds."""
        return self.layers[0].length

    def clear(self) -> None:
        for layer in self.layers:
            layer.length = 0

    @torch.no_grad()
    def logits(self, tokens: Tensor) -> Tensor:
        """Logits (batch, vocab) of what follows `tokens` (batch, new), which join the cache."""
        with self._attached(), _uncompiled():
            return self.model.next_logits(tokens, start=self.length)

    @contextmanager
    def _attached(self) -> Iterator[None]:
        """Within it the layers of the model attend by the cache; it may train in between."""
        for block, layer in zip(self.model.h, self.layers, strict=True):
            block.attn.cache = layer
        try:
            yield
        finally:
            for block in self.model.h:
                block.attn.cache = None


def _uncompiled() -> AbstractContextManager[None]:
    """Within it compiled blocks run as written; each length would be compiled anew."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and its import takes seconds
        return nullcontext()
    return torch.compiler.set_stance("force_eager")


@torch.no_grad()
def stream(
    model: GPT,
    tokens: Tensor,
    count: int,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """Yield `count` times the next token of each text in `tokens` (batch, length), (batch,) int64.

    Each is drawn as `choose` says. The texts have one length, at least 1 and of any size. The model
    is to be in evaluation mode. All ranks must call if it is sharded.
    """
    block_size, length = model.config.block_size, tokens.shape[1]
    begin = window_start(length, block_size)
    context = tokens[:, begin:]  # what the cache holds, and what it lacks
    cache = Cache(model, tokens.shape[0], min(block_size, length + count))
    for position in range(length, length + count):
        start = window_start(position, block_size)
        if start > begin:
            context, begin = context[:, start - begin :], start
            cache.clear()
        logits = cache.logits(context[:, cache.length :])
        chosen = choose(
            logits, temperature=temperature, top_k=top_k, top_p=top_p, generator=generator
        )
        yield chosen
        context = torch.cat((context, chosen[:, None]), dim=1)


def generate(model: GPT, tokens: Tensor, count: int, **how) -> Tensor:
    """`tokens` (batch, length) and `count` more, (batch, length + count); `how` as for `stream`."""
    following = stream(model, tokens, count, **how)
    return torch.cat((tokens, *(chosen[:, None] for chosen in following)), dim=1)


def choose(
    logits: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw a token for each row of `logits` (batch, vocab): (batch,) int64.

    From softmax(logits / temperature), among the `top_k` likeliest when that is above 0, and of
    these among the fewest likeliest whose probabilities reach `top_p` (nucleus sampling, Holtzman
    et al. 2020, section 3.1) when that is below 1; temperature 0 takes the likeliest. Any finite
    temperature works: beyond 1e-8 and 1e8 the odds no longer change in float32.
    """
    if temperature == 0:
        return logits.argmax(-1)
    logits = logits.float()
    if top_k:
        floor = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < floor, -math.inf)
    below_max = logits - logits.amax(-1, keepdim=True)
    odds = torch.softmax(below_max / min(max(temperature, 1e-8), 1e8), dim=-1)
    if top_p < 1:
        ordered, order = odds.sort(dim=-1, descending=True, stable=True)
        before = ordered.cumsum(-1) - ordered  # the probability of all that are likelier
        odds = odds.scatter(-1, order, ordered.masked_fill(before >= top_p, 0.0))
    return torch.multinomial(odds, 1, generator=generator)[:, 0]
