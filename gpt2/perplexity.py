# SPDX-License-Identifier: MIT
"""How well a GPT-2 predicts a text: nats a token, perplexity, bits a byte.

    score = evaluate_text(model, tokens, lengths, stride=64)
    score.loss, score.perplexity, score.bits_per_byte

`tokens` is one sequence that begins with an end-of-text token, which is given and not predicted;
every other token is predicted exactly once. The model sees windows of `block_size` tokens, each
`stride` tokens after the one before. In each window, only the tokens that no earlier window has
predicted count, so that each has at least block_size - stride tokens before it, except at the
beginning of the text. With stride = block_size windows do not overlap, which is the cheapest and
usually gives the largest loss.
"""

import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from gpt2.kernels import rows_at_once
from gpt2.model import GPT

TOKENS_AT_ONCE = {"cpu": 2**12, "cuda": 2**16}  # in a batch


def perplexity(loss: float) -> float:
    """exp(loss); infinite where it overflows."""
    return math.exp(loss) if loss < 700 else math.inf


def usual_batch_size(model: GPT) -> int:
    """How many windows are computed at once on the device of `model`."""
    of_device = TOKENS_AT_ONCE["cuda" if model.wte.weight.is_cuda else "cpu"]
    return max(1, of_device // model.config.block_size)


class Score(NamedTuple):
    """The sum of -log p over `tokens` predicted tokens, which stand for `bytes` bytes of text."""

    nats: float
    tokens: int
    bytes: int

    @property
    def loss(self) -> float:
        """Nats a token."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """exp(loss); infinite where it overflows."""
        return perplexity(self.loss)

    @property
    def bits_per_byte(self) -> float:
        """Of UTF-8; comparable between tokenizers."""
        return self.nats / math.log(2) / self.bytes if self.bytes else math.nan


class Window(NamedTuple):
    """Inputs tokens[begin:end]; of the targets tokens[begin + 1:end + 1] those from `first` on."""

    begin: int
    end: int
    first: int


def windows(count: int, block_size: int, stride: int) -> Iterator[Window]:
    """The windows over `count` tokens. Raises ValueError for a stride that leaves tokens out."""
    if not 1 <= stride <= block_size:
        raise ValueError(f"a stride of {stride} is not in [1, {block_size}], the block size")
    begin = first = 0
    while begin + first < count - 1:
        end = min(begin + block_size, count - 1)
        yield Window(begin, end, first)
        first = end - begin - stride
        begin += stride


def token_losses(
    model: GPT, tokens: np.ndarray, stride: int, batch_size: int
) -> Iterator[np.ndarray]:
    """-log p in nats of each token but the first, in order, float32 (n,), a batch at a time."""
    device, width = model.wte.weight.device, model.config.block_size
    ahead = windows(len(tokens), width, stride)
    while batch := list(islice(ahead, batch_size)):
        both = np.zeros((len(batch), width + 1), np.int64)  # later tokens change nothing: padding
        counted = np.zeros((len(batch), width), bool)
        for row, mask, window in zip(both, counted, batch, strict=True):
            length = window.end - window.begin
            row[: length + 1] = tokens[window.begin : window.end + 1]
            mask[window.first : length] = True
        x = torch.from_numpy(both).to(device)
        yield sequence_losses(model, x, torch.from_numpy(counted).to(device)).cpu().numpy()


def plain_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """-log p of each target, float32 (n,), of logits (n, vocab)."""
    return F.cross_entropy(logits, targets, reduction="none")


@torch.no_grad()
def sequence_losses(
    model: GPT,
    tokens: Tensor,
    counted: Tensor,
    of: Callable[[Tensor, Tensor], Tensor] = plain_losses,
) -> Tensor:
    """-log p of the targets tokens[:, 1:] where `counted`, float32 (n,), row by row.

    `tokens` is (batch, length + 1), `counted` bool (batch, length). `of` may compute something else
    of float32 logits (n, vocab) and targets (n,). The logits never exist as a whole.
    """
    hidden = model.hidden(tokens[:, :-1])[counted]
    targets = tokens[:, 1:][counted]
    at_once = rows_at_once(hidden, model.config.vocab_size)
    parts = zip(hidden.split(at_once), targets.split(at_once), strict=True)
    return torch.cat([of(model.logits(h).float(), t) for h, t in parts])


def evaluate_text(
    model: GPT,
    tokens: np.ndarray,
    lengths: np.ndarray,
    *,
    stride: int,
    batch_size: int = 0,
    on_progress: Callable[[int], None] = lambda done: None,
) -> Score:
    """The score of a text; `lengths` are the bytes of each token (`token_lengths`).

    `batch_size` 0 chooses one by the device; the result does not depend on it. The sum is taken in
    float64. `on_progress` is told how many tokens are predicted.
    """
    nats, done = 0.0, 0
    for losses in token_losses(model, tokens, stride, batch_size or usual_batch_size(model)):
        nats += float(losses.sum(dtype=np.float64))
        done += len(losses)
        on_progress(done)
    return Score(nats, done, int(lengths[tokens[1:]].sum()))


def token_lengths(tokenizer) -> np.ndarray:
    """Bytes of text that each token stands for, (vocab,); none for the end of a text."""
    lengths = [len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size)]
    lengths[tokenizer.end_of_text] = 0
    return np.array(lengths)
