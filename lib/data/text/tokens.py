# SPDX-License-Identifier: MIT
"""Batches of token windows from prepared shards.

    tokens = TokenSet.open(Path("data/pystdlib-bytes"))
    tokens.check(block_size=256, vocab_size=257)
    x, y = tokens.train.random_batch(seed=0, step=7, global_batch=16, block_size=256)

A split is one long sequence of tokens, whatever files hold it; a window is `block_size` inputs
and, one token later, as many targets. A batch is a pure function of its arguments: resuming needs
no replay, and the windows of a step are the same for any number of ranks and micro-steps, only
divided differently among them. The random numbers are computed here, by the definition of
SplitMix64, so that no library version changes which windows a step reads.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..prefetch import Batch
from .shards import DataError, ShardHeader, check_entry, read_meta


@dataclass(frozen=True)
class TokenSet:
    """A prepared corpus: its training and validation split and what is known about it."""

    directory: Path
    meta: dict
    train: "Split"
    val: "Split"

    @classmethod
    def open(cls, directory: str | Path) -> "TokenSet":
        """Open what `make data` made: map the shards, check headers, lengths and samples.

        Raises DataError naming the file, and the offset where there is one.
        """
        directory = Path(directory)
        meta = read_meta(directory)
        return cls(directory, meta, *(Split(directory, meta, name) for name in ("train", "val")))

    @property
    def vocab_size(self) -> int:
        return self.meta["vocab_size"]

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with any token of either split."""
        return _short_hash(self.train.fingerprint + self.val.fingerprint)

    def check(self, block_size: int, vocab_size: int) -> None:
        """Raise DataError unless a model of this block size and vocabulary can use the tokens."""
        if self.vocab_size > vocab_size:
            raise DataError(
                f"{self.directory}: its tokens need a vocabulary of {self.vocab_size:,} "
                f"({self.meta['recipe']['tokenizer']}), the model's has {vocab_size:,}"
            )
        for split in (self.train, self.val):
            split.window_count(block_size)


class Split:
    """One split, its shards memory-mapped as one sequence of `count` tokens."""

    def __init__(self, directory: Path, meta: dict, name: str):
        self.name = f"{directory.name} {name}"
        self.vocab_size: int = meta["vocab_size"]
        entries = meta["splits"][name]["shards"]
        self.headers = [_checked_header(directory, self.vocab_size, entry) for entry in entries]
        self._shards = [header.open() for header in self.headers]
        self._ends = np.cumsum([header.count for header in self.headers])
        self.count = int(self._ends[-1])
        self.fingerprint = _short_hash(" ".join(header.digest for header in self.headers))

    def window_count(self, block_size: int) -> int:
        """How many windows lie side by side; DataError when there is not even one."""
        count = (self.count - 1) // block_size
        if count < 1:
            raise DataError(
                f"{self.name}: {self.count:,} tokens are not enough for a window of "
                f"block size {block_size} and one more: choose a smaller block size, or a larger "
                "corpus or VAL_FRACTION"
            )
        return count

    def random_batch(
        self,
        *,
        seed: int,
        step: int,
        global_batch: int,
        block_size: int,
        rank: int = 0,
        world_size: int = 1,
        micro_step: int = 0,
        micro_steps: int = 1,
    ) -> Batch:
        """Windows that start anywhere, with replacement.

        Returns inputs and targets, int64 of shape (global_batch / world_size / micro_steps,
        block_size). Ranks in order, and within a rank its micro-steps in order, hold the rows of
        the step's global batch. Raises ValueError when the batch does not divide.
        """
        rows = _rows(step, rank, world_size, global_batch, micro_step, micro_steps)
        self.window_count(block_size)
        draws = _mix(_mix(np.array([seed], np.uint64)) + rows.astype(np.uint64))
        return self._gather(draws % np.uint64(self.count - block_size), block_size)

    def sequential_batch(
        self,
        *,
        seed: int,
        step: int,
        global_batch: int,
        block_size: int,
        rank: int = 0,
        world_size: int = 1,
        micro_step: int = 0,
        micro_steps: int = 1,
    ) -> Batch:
        """Windows side by side, each once an epoch, in an order drawn anew for each epoch.

        Arguments, shapes and errors as in `random_batch`. An epoch has `window_count(block_size)`
        windows; a batch at its end continues with the next epoch.
        """
        rows = _rows(step, rank, world_size, global_batch, micro_step, micro_steps)
        n = self.window_count(block_size)
        epochs, positions = np.divmod(rows, n)
        windows = np.empty_like(positions)
        for epoch in np.unique(epochs):
            at = epochs == epoch
            windows[at] = permute(positions[at], n, seed, int(epoch))
        return self._gather(windows * block_size, block_size)

    def windows(self, block_size: int, count: int) -> Batch:
        """`count` fixed windows (all there are, if fewer), evenly spaced over the split.

        Returns inputs and targets, int64 of shape (count, block_size).
        """
        n = self.window_count(block_size)
        count = min(count, n)
        return self._gather(np.arange(count) * n // count * block_size, block_size)

    def read(self, start: int, out: np.ndarray) -> None:
        """Copy the tokens from `start` on into `out`, across the borders of shards."""
        shard = int(np.searchsorted(self._ends, start, side="right"))
        filled = 0
        while filled < len(out):
            begin = start + filled - (int(self._ends[shard - 1]) if shard else 0)
            part = self._shards[shard][begin : begin + len(out) - filled]
            out[filled : filled + len(part)] = part
            filled += len(part)
            shard += 1

    def _gather(self, starts: np.ndarray, block_size: int) -> Batch:
        both = np.empty((len(starts), block_size + 1), np.int64)
        for row, start in zip(both, starts.tolist(), strict=True):
            self.read(start, row)
        tokens = torch.from_numpy(both)
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def permute(index: np.ndarray, n: int, seed: int, epoch: int) -> np.ndarray:
    """Where each of `index` in [0, n) goes in the epoch's permutation of range(n).

    A Feistel network of four rounds on the smallest even number of bits that holds n, walked
    until the value falls below n again: a permutation without a table, so that an epoch of ten
    million windows costs no memory and any rank computes just its own.
    """
    half = np.uint64(max(1, ((n - 1).bit_length() + 1) // 2))
    mask = np.uint64((1 << int(half)) - 1)
    key = _mix(_mix(np.array([seed], np.uint64)) + np.uint64(epoch))
    values = index.astype(np.uint64)
    pending = np.ones(len(values), bool)
    while pending.any():
        left, right = values[pending] >> half, values[pending] & mask
        for turn in range(4):
            left, right = (
                right,
                left ^ (_mix(key + (right << np.uint64(2)) + np.uint64(turn)) & mask),
            )
        values[pending] = (left << half) | right
        pending = values >= n
    return values.astype(np.int64)


def _rows(
    step: int, rank: int, world_size: int, global_batch: int, micro_step: int, micro_steps: int
) -> np.ndarray:
    """The numbers, counted from step 0 on, of the rows that this rank reads in this micro-step."""
    parts = world_size * micro_steps
    if global_batch % parts:
        raise ValueError(
            f"a global batch of {global_batch} does not divide among {world_size} ranks "
            f"of {micro_steps} micro-steps"
        )
    size = global_batch // parts
    first = step * global_batch + (rank * micro_steps + micro_step) * size
    return np.arange(first, first + size)


def _mix(values: np.ndarray) -> np.ndarray:
    """One output of SplitMix64 for each state in `values`, uint64 (Steele et al. 2014, fig. 17)."""
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _checked_header(directory: Path, vocab_size: int, entry: dict) -> ShardHeader:
    header = ShardHeader.read(directory / entry["file"])
    check_entry(header, entry, vocab_size)
    header.check_sample()
    return header


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
