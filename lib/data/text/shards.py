# SPDX-License-Identifier: MIT
"""Token shards: the files that a tokenised corpus is kept in.

    offset 0   header, 64 bytes, little-endian:
               magic "AWPTOKEN", version u32, bytes a token u32 (2 or 4), count u64,
               vocab_size u32, chunk_bytes u32, SHA-256 of the payload
    offset 64  payload: count tokens, uint16 or uint32
    then       CRC-32 (u32) of each chunk_bytes of the payload

The checksums of the chunks let a reader check samples of a 200 MB file in a millisecond and locate
any damage; the SHA-256 identifies the contents (`tail -c +65 F | head -c N | sha256sum` computes it
without this program). The header is written last, so that an incomplete shard is never taken for a
complete one.

A directory of shards also has meta.json: where the tokens come from, and the tokens, documents and
shards of each split.
"""

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...errors import Failure
from ...files import link_or_copy

META = "meta.json"
FORMAT = 1  # of meta.json
MAGIC = b"AWPTOKEN"
VERSION = 1  # of a shard
CHUNK_BYTES = 1 << 18
_HEADER = struct.Struct("<8sIIQII32s")
HEADER_BYTES = _HEADER.size


class DataError(Failure):
    """Data that cannot be used: the message names file and offset, or setting, and the cure."""


def token_dtype(vocab_size: int) -> np.dtype:
    """The smallest unsigned type that holds every token: uint16 up to 65,536 of them, or uint32."""
    return np.dtype("<u2") if vocab_size <= 1 << 16 else np.dtype("<u4")


def read_meta(directory: Path) -> dict:
    """The contents of meta.json; DataError when the corpus was not prepared."""
    path = directory / META
    try:
        meta = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{directory}: no prepared data here; `make data` prepares it") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise DataError(f"{path}: not of format {FORMAT}; remove {directory} and run `make data`")
    return meta


@dataclass(frozen=True)
class ShardHeader:
    """The header of a shard, checked against the length of its file."""

    path: Path
    dtype: np.dtype
    count: int
    vocab_size: int
    chunk_bytes: int
    digest: str

    @property
    def payload_bytes(self) -> int:
        return self.count * self.dtype.itemsize

    @property
    def chunks(self) -> int:
        return -(-self.payload_bytes // self.chunk_bytes)

    @classmethod
    def read(cls, path: Path) -> "ShardHeader":
        """Read and check the header of `path`; DataError names the offset of what is wrong."""
        try:
            with path.open("rb") as file:
                raw = file.read(HEADER_BYTES)
                size = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from error
        if len(raw) < HEADER_BYTES:
            raise DataError(
                f"{path}: truncated at offset {size}, within the header of {HEADER_BYTES} bytes"
            )
        magic, version, itemsize, count, vocab_size, chunk_bytes, digest = _HEADER.unpack(raw)
        if magic != MAGIC:
            raise DataError(f"{path}: offset 0: not a token shard, or an unfinished one: {magic!r}")
        if version != VERSION:
            raise DataError(f"{path}: offset 8: version {version}, this program reads {VERSION}")
        if itemsize not in (2, 4) or not (count and vocab_size and chunk_bytes):
            raise DataError(f"{path}: offset 12: damaged header")
        dtype = np.dtype(f"<u{itemsize}")
        header = cls(path, dtype, count, vocab_size, chunk_bytes, digest.hex())
        expected = HEADER_BYTES + header.payload_bytes + 4 * header.chunks
        if size != expected:
            what = "truncated at" if size < expected else "has extra bytes after"
            raise DataError(
                f"{path}: {what} offset {min(size, expected)}: "
                f"{count:,} tokens need a file of {expected:,} bytes, not {size:,}"
            )
        return header

    def open(self) -> np.memmap:
        """The tokens, memory-mapped read-only, shape (count,)."""
        return np.memmap(self.path, self.dtype, "r", offset=HEADER_BYTES, shape=(self.count,))

    def check_sample(self) -> None:
        """Check the first, the middle and the last chunk; raises DataError naming the offset."""
        with self.path.open("rb") as file:
            table = self._table(file)
            for index in sorted({0, self.chunks // 2, self.chunks - 1}):
                self._check_chunk(file, table, index)

    def check_all(self) -> None:
        """Check every chunk, the digest and the range of the tokens; raises DataError."""
        sha = hashlib.sha256()
        for chunk in self.checked_chunks():
            sha.update(chunk)
        if sha.hexdigest() != self.digest:
            raise DataError(
                f"{self.path}: offset 32: the contents do not match the header's SHA-256"
            )

    def checked_chunks(self) -> Iterator[bytes]:
        """The payload, each chunk after a look at its checksum and tokens; raises DataError."""
        with self.path.open("rb") as file:
            table = self._table(file)
            for index in range(self.chunks):
                yield self._check_chunk(file, table, index)

    def _table(self, file: BinaryIO) -> np.ndarray:
        file.seek(HEADER_BYTES + self.payload_bytes)
        return np.frombuffer(file.read(4 * self.chunks), "<u4")

    def _check_chunk(self, file: BinaryIO, table: np.ndarray, index: int) -> bytes:
        start = index * self.chunk_bytes
        offset = HEADER_BYTES + start
        file.seek(offset)
        chunk = file.read(min(self.chunk_bytes, self.payload_bytes - start))
        if zlib.crc32(chunk) != table[index]:
            raise DataError(
                f"{self.path}: corrupt between offset {offset} and {offset + len(chunk)}: "
                "the checksum does not match; remove its directory and run `make data` again"
            )
        tokens = np.frombuffer(chunk, self.dtype)
        if int(tokens.max()) >= self.vocab_size:
            at = offset + int(tokens.argmax()) * self.dtype.itemsize
            raise DataError(
                f"{self.path}: offset {at}: token {tokens.max()} of only {self.vocab_size:,}"
            )
        return chunk


def check_entry(header: ShardHeader, entry: dict, vocab_size: int) -> None:
    """DataError unless the shard is the one that this entry of meta.json is about."""
    for what, offset, found, expected in (
        ("tokens", 16, header.count, entry["tokens"]),
        ("vocabulary", 24, header.vocab_size, vocab_size),
        ("SHA-256", 32, header.digest, entry["sha256"]),
    ):
        if found != expected:
            raise DataError(
                f"{header.path}: offset {offset}: {what} {found}, {META} has {expected}"
            )


class ShardWriter:
    """Writes one shard from front to back; with `keep=n` it continues after the first n tokens."""

    def __init__(self, path: Path, vocab_size: int, keep: int = 0):
        self.path, self.vocab_size = path, vocab_size
        self.dtype = token_dtype(vocab_size)
        self.count = 0
        self._sha = hashlib.sha256()
        self._crcs: list[int] = []
        self._crc, self._filled = 0, 0  # of the chunk being filled
        self._file = path.open("r+b" if keep else "wb")
        self._file.write(bytes(HEADER_BYTES))
        if keep:
            self._take_back(keep)

    def append(self, tokens: np.ndarray) -> None:
        """Write `tokens`, any integer type whose values fit."""
        payload = memoryview(np.ascontiguousarray(tokens, self.dtype)).cast("B")
        self._file.write(payload)
        self._digest(payload)

    def sync(self) -> None:
        """Return when everything appended so far is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self) -> None:
        """Write checksums and header, which complete the shard."""
        crcs = [*self._crcs, self._crc] if self._filled else self._crcs
        self._file.write(np.array(crcs, "<u4").tobytes())
        self.sync()
        header = (MAGIC, VERSION, self.dtype.itemsize, self.count, self.vocab_size, CHUNK_BYTES)
        self._file.seek(0)
        self._file.write(_HEADER.pack(*header, self._sha.digest()))
        self.sync()
        self.close()

    def close(self) -> None:
        self._file.close()

    def _take_back(self, keep: int) -> None:
        """Cut the file after `keep` tokens; count and digests cover what is left."""
        end = HEADER_BYTES + keep * self.dtype.itemsize
        self._file.flush()
        size = os.fstat(self._file.fileno()).st_size
        if size < end:
            raise DataError(
                f"{self.path}: ends at offset {size}, but {end} bytes were recorded as written"
            )
        self._file.truncate(end)
        while block := self._file.read(CHUNK_BYTES):
            self._digest(memoryview(block))

    def _digest(self, payload: memoryview) -> None:
        self._sha.update(payload)
        self.count += len(payload) // self.dtype.itemsize
        while len(payload):
            part = payload[: CHUNK_BYTES - self._filled]
            self._crc = zlib.crc32(part, self._crc)
            self._filled += len(part)
            payload = payload[len(part) :]
            if self._filled == CHUNK_BYTES:
                self._crcs.append(self._crc)
                self._crc, self._filled = 0, 0


class SplitWriter:
    """Writes one split as `<split>-00000.bin`, `<split>-00001.bin` … of `shard_tokens` tokens each.

    `position`, the number of tokens so far, is all that has to be remembered: a writer opened with
    an earlier position cuts off what was written after it and continues there.
    """

    def __init__(
        self, directory: Path, split: str, vocab_size: int, shard_tokens: int, position: int = 0
    ):
        self.directory, self.split = directory, split
        self.vocab_size, self.shard_tokens = vocab_size, shard_tokens
        self.position = position
        index, keep = divmod(position, shard_tokens)
        for path in self.paths()[index + (keep > 0) :]:
            path.unlink()
        self._shard = ShardWriter(self._path(index), vocab_size, keep) if keep else None

    def append(self, tokens: np.ndarray) -> None:
        while len(tokens):
            if self._shard is None:
                path = self._path(self.position // self.shard_tokens)
                self._shard = ShardWriter(path, self.vocab_size)
            part = tokens[: self.shard_tokens - self._shard.count]
            self._shard.append(part)
            self.position += len(part)
            tokens = tokens[len(part) :]
            if self._shard.count == self.shard_tokens:
                self.finish()

    def append_shard(self, header: ShardHeader) -> None:
        """Append another shard's tokens; a whole shard of this size becomes one by a hard link.

        Raises DataError when it is damaged.
        """
        if self._shard is None and header.count == self.shard_tokens:
            header.check_all()
            path = self._path(self.position // self.shard_tokens)
            link_or_copy(header.path, path)
            with path.open("rb") as file:
                os.fsync(file.fileno())
            self.position += header.count
            return
        for chunk in header.checked_chunks():
            self.append(np.frombuffer(chunk, header.dtype))

    def sync(self) -> None:
        if self._shard is not None:
            self._shard.sync()

    def finish(self) -> None:
        """Complete the shard being written; the last one of the split may be shorter."""
        if self._shard is not None:
            self._shard.finish()
            self._shard = None

    def close(self) -> None:
        """Leave the shard being written unfinished, to be continued at `position`."""
        if self._shard is not None:
            self._shard.close()

    def paths(self) -> list[Path]:
        """The shards of this split that are in the directory, in order."""
        return sorted(self.directory.glob(f"{self.split}-*.bin"))

    def _path(self, index: int) -> Path:
        return self.directory / f"{self.split}-{index:05d}.bin"
