# SPDX-License-Identifier: MIT
"""Tokenise documents and divide them into splits.

with Workers(Encoder(tokenizer, val_fraction=0.1), count=4) as workers:
    for work, encoded in workers.map(works): …
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .tokenizers import Tokenizer

SPLITS = ("train", "val")
LONGEST_PIECE = 1 << 20  # characters given to the tokenizer at once


@dataclass(frozen=True)
class Work:
    """Some documents, and where in the corpus they end: (file, documents of that file)."""

    texts: list[str]
    end: tuple[int, int]


@dataclass(frozen=True)
class Encoded:
    """The tokens of some documents, per split, each document followed by its end-of-text token."""

    tokens: dict[str, np.ndarray]
    documents: dict[str, int]
    text_bytes: int


def split_of(raw: bytes, val_fraction: float) -> str:
    """The split of a document, by its contents alone, so that equal documents stay together."""
    draw = int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "big") / 2**64
    return "val" if draw < val_fraction else "train"


def encode_documents(tokenizer: Tokenizer, val_fraction: float, texts: list[str]) -> Encoded:
    """Tokenise `texts`; empty ones are left out."""
    end = np.array([tokenizer.end_of_text], tokenizer.dtype)
    parts: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    documents = dict.fromkeys(SPLITS, 0)
    text_bytes = 0
    for text in filter(None, texts):
        raw = text.encode("utf-8", "surrogatepass")
        split = split_of(raw, val_fraction)
        parts[split] += [*map(tokenizer.encode, _pieces(text)), end]
        documents[split] += 1
        text_bytes += len(raw)
    empty = np.empty(0, tokenizer.dtype)
    tokens = {split: np.concatenate(arrays or [empty]) for split, arrays in parts.items()}
    return Encoded(tokens, documents, text_bytes)


def _pieces(text: str) -> Iterator[str]:
    """`text` in pieces that bound the tokenizer's memory, cut at line ends where possible."""
    start = 0
    while len(text) - start > LONGEST_PIECE:
        end = text.rfind("\n", start, start + LONGEST_PIECE) + 1
        end = end or start + LONGEST_PIECE
        yield text[start:end]
        start = end
    yield text[start:]


@dataclass(frozen=True)
class Encoder:
    """What the workers run: (where the documents of a work end, their tokens)."""

    tokenizer: Tokenizer
    val_fraction: float

    def __call__(self, work: Work) -> tuple[tuple[int, int], Encoded]:
        return work.end, encode_documents(self.tokenizer, self.val_fraction, work.texts)
