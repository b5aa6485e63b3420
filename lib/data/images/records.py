# SPDX-License-Identifier: MIT
"""Encoded images that need not fit into memory, with random access, and what workers do with them.

Nothing here imports PyTorch, whose import would take every worker process two seconds.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...errors import Failure
from .decode import BrokenImage, decode, middle, part


class Reader(Protocol):
    """Where encoded images lie. Picklable."""

    def read(self, key: str) -> bytes:
        """The encoded image. Raises OSError."""

    def name(self, key: str) -> str:
        """What a user calls it: its path, for example."""


@dataclass(frozen=True)
class FileReader:
    """Files below `root`, by their path from there."""

    root: str

    def read(self, key: str) -> bytes:
        return Path(self.root, key).read_bytes()

    def name(self, key: str) -> str:
        return str(Path(self.root, key))


@dataclass(frozen=True)
class TableReader:
    """The column `image` {bytes, path} of Arrow files, by the number of the row over all `files`.

    The files are mapped into memory, so that a row costs the reading of its bytes alone.
    """

    files: tuple[str, ...]
    title: str

    def read(self, key: str) -> bytes:
        image = self._images[int(key)].as_py()
        return image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes()

    def name(self, key: str) -> str:
        return f"{self.title}, row {key} ({self._images[int(key)]['path']})"

    @cached_property
    def _images(self) -> Any:
        import pyarrow as pa

        tables = [pa.ipc.open_stream(pa.memory_map(name)).read_all() for name in self.files]
        return pa.concat_tables(tables).column("image")

    def __getstate__(self) -> dict[str, Any]:
        return {"files": self.files, "title": self.title}  # each process maps them itself


@dataclass(frozen=True)
class Records:
    """Labelled encoded images, in a fixed order."""

    reader: Reader
    keys: np.ndarray  # object [n]: str
    labels: np.ndarray  # int64 [n]
    stamps: np.ndarray  # int64 [n, 2]: size and time of the file; another one says that it changed

    def __len__(self) -> int:
        return len(self.keys)

    def name(self, index: int) -> str:
        """What a user calls image number `index`."""
        return self.reader.name(self.keys[index])

    def __getitem__(self, indices: np.ndarray) -> "Records":
        """Those at `indices`."""
        return Records(self.reader, self.keys[indices], self.labels[indices], self.stamps[indices])


class Collection(NamedTuple):
    """All of a data set: train and, if it has them, val and test."""

    splits: dict[str, Records]
    classes: list[str]
    place: str  # where it is
    ignored: int = 0  # files that are no images, by their names


class Facts(NamedTuple):
    """What reading images has found out about them."""

    digests: np.ndarray  # uint8 [n, 32], SHA-256 of the encoded bytes
    sizes: np.ndarray  # int32 [n, 2], width and height; 0 × 0 for a broken image
    reasons: list[str]  # [n], why it is broken, or empty


class Task(NamedTuple):
    """Some images of a split; with `boxes` [m, 4] (see `part`), these parts of them."""

    split: str
    keys: Sequence[str]
    boxes: np.ndarray | None = None


@dataclass(frozen=True)
class Examine:
    """A function for workers: reads and decodes every image of a task."""

    readers: Mapping[str, Reader]

    def __call__(self, task: Task) -> Facts:
        reader = self.readers[task.split]
        digests = np.zeros((len(task.keys), 32), np.uint8)
        sizes = np.zeros((len(task.keys), 2), np.int32)
        reasons = [""] * len(task.keys)
        for i, key in enumerate(task.keys):
            encoded = read(reader, key)
            digests[i] = np.frombuffer(hashlib.sha256(encoded).digest(), np.uint8)
            try:
                sizes[i] = decode(encoded).size
            except BrokenImage as broken:
                reasons[i] = str(broken)
        return Facts(digests, sizes, reasons)


@dataclass(frozen=True)
class Fit:
    """A function for workers: the images of a task as uint8 [m, 3, size, size].

    Their boxes, or the middle; without `resize` the whole, which has that size already.
    """

    readers: Mapping[str, Reader]
    size: int
    resize: bool

    def __call__(self, task: Task) -> np.ndarray:
        reader = self.readers[task.split]
        pixels = np.empty((len(task.keys), 3, self.size, self.size), np.uint8)
        for i, key in enumerate(task.keys):
            encoded = read(reader, key)
            try:
                if task.boxes is not None:
                    pixels[i] = part(encoded, task.boxes[i], self.size)
                elif self.resize:
                    pixels[i] = middle(encoded, self.size)
                else:
                    pixels[i] = np.asarray(decode(encoded)).transpose(2, 0, 1)
            except (BrokenImage, ValueError) as error:  # ValueError: another size
                raise Failure(
                    f"{reader.name(key)}: {error}. It has changed since it was prepared: "
                    "`make data-check` names all such images, `make data` prepares them again"
                ) from error
        return pixels


def read(reader: Reader, key: str) -> bytes:
    """The encoded image. Raises Failure, naming it, when it cannot be read."""
    try:
        return reader.read(key)
    except OSError as error:
        raise Failure(f"{reader.name(key)}: cannot be read: {error.strerror or error}") from error
