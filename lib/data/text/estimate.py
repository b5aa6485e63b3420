# SPDX-License-Identifier: MIT
"""How long a preparation takes, from the speed of one process on the corpus's own first texts.

    rate = measure(encoder, texts)
    for line in expectation(rate, text_bytes=45e9, processes=2): …

    tokens   = bytes of text / bytes a token
    seconds  = tokens / (processes · tokens a second of one process) / machines
    disk     = tokens · bytes of a token id (2, or 4 past 65,536 tokens)
    merging  = disk / bytes a second that one process checks and writes

`make bench-data` measures the same on a corpus that is at hand everywhere.
"""

import hashlib
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from ...text import duration
from .encoder import Encoder, encode_documents

SAMPLE = 1 << 18  # characters; some 30 ms of BPE
BUFFER = 1 << 22  # bytes
WORTH_SAYING_S = 60.0
MACHINES = 8  # in the example of what several save


@dataclass(frozen=True)
class Rate:
    """What one process does in a second, and what becomes of a text."""

    tokens_per_s: float
    bytes_per_token: float  # of text
    token_bytes: int  # of a token on the disk
    merged_bytes_per_s: float

    def tokens(self, text_bytes: float) -> float:
        """The tokens of so much text."""
        return text_bytes / self.bytes_per_token

    def disk_bytes(self, text_bytes: float) -> float:
        """What the shards of so much text take."""
        return self.tokens(text_bytes) * self.token_bytes

    def seconds(self, text_bytes: float, processes: int, machines: int = 1) -> float:
        """The time of each machine, all with `processes`."""
        return self.tokens(text_bytes) / self.tokens_per_s / processes / machines

    def merge_seconds(self, text_bytes: float) -> float:
        """The time in which one machine merges the parts, on a disk that is fast enough."""
        return self.disk_bytes(text_bytes) / self.merged_bytes_per_s


def measure(encoder: Encoder, texts: list[str]) -> Rate:
    """The rate of this process on the first SAMPLE characters of `texts`, of which one has any."""
    sample, left = [], SAMPLE
    for text in filter(None, texts):
        sample.append(text[:left])
        left -= len(sample[-1])
        if left <= 0:
            break
    encode_documents(encoder.tokenizer, encoder.val_fraction, [sample[0][:1000]])  # warm
    started = time.perf_counter()
    encoded = encode_documents(encoder.tokenizer, encoder.val_fraction, sample)
    elapsed = time.perf_counter() - started
    tokens = sum(map(len, encoded.tokens.values()))
    return Rate(
        tokens_per_s=tokens / elapsed,
        bytes_per_token=encoded.text_bytes / tokens,
        token_bytes=encoder.tokenizer.dtype.itemsize,
        merged_bytes_per_s=_merged_bytes_per_s(),
    )


def _merged_bytes_per_s() -> float:
    """Reading a shard takes a CRC, writing one a CRC and a SHA-256 (shards.py)."""
    buffer = bytes(BUFFER)
    started = time.perf_counter()
    zlib.crc32(zlib.crc32(buffer).to_bytes(4) + buffer)
    hashlib.sha256(buffer)
    return BUFFER / (time.perf_counter() - started)


def expectation(rate: Rate, text_bytes: float, processes: int, part: bool = False) -> Iterator[str]:
    """Lines that say what a preparation of `text_bytes` takes; none if that is about a minute.

    part: it is one machine's part already, so that others are not worth mentioning.
    """
    seconds = rate.seconds(text_bytes, processes)
    if seconds < WORTH_SAYING_S:
        return
    tokens, disk = rate.tokens(text_bytes) / 1e6, rate.disk_bytes(text_bytes) / 1e9
    yield (
        f"about {tokens:,.0f} million tokens, {disk:,.1f} GB: about {duration(seconds)} on this "
        f"machine ({processes} processes of {rate.tokens_per_s / 1e6:.2f} million tokens/s)"
    )
    if not part:
        yield (
            f"with {MACHINES} machines like this one (make data PART=1/{MACHINES} …): about "
            f"{duration(rate.seconds(text_bytes, processes, MACHINES))}, then "
            f"{duration(rate.merge_seconds(text_bytes))} to merge (docs/data.md)"
        )
