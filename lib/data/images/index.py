# SPDX-License-Identifier: MIT
"""What is known of every image of a collection, kept in one file after reading each image once.

    facts = examine(collection, path, workers=8)         # {"train": Facts, …}

An image is known as long as its file keeps its size and time of change. So a preparation that was
interrupted goes on, and after changes only what is new is read.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import torch

from ...errors import Failure
from .. import cache
from ..workers import map_tasks
from .records import Collection, Examine, Facts, Task
from .usable import SHOWN

CHUNK = 32  # images a task
SAVE_SECONDS = 30.0

Progress = Callable[[int], None]  # called with the number of images read


def examine(
    collection: Collection,
    path: Path,
    workers: int,
    progress: Callable[[int], AbstractContextManager[Progress]] | None = None,
) -> dict[str, Facts]:
    """The facts of each split, from the file `path`; images not known yet are read first.

    With several callers at once, one reads while the others wait. A file that cannot be written is
    a warning: then the images are read again next time. Raises Failure when an image file cannot be
    read.
    """
    index = Index(collection, path)
    if not len(index.unknown):
        return index.facts()
    with cache.locked(path):
        index = Index(collection, path)
        if not len(index.unknown):  # another caller has read them meanwhile
            return index.facts()
        show = progress or (lambda total: nullcontext(lambda done: None))
        try:
            with show(len(index.unknown)) as update:
                _read(index, workers, update)
        finally:
            index.save()
    return index.facts()


def check(collection: Collection, path: Path, workers: int) -> Iterator[str]:
    """Read every image again and yield a line that says how many are as they were.

    Raises Failure, with a line for each image that was changed, added or removed since, and when
    the file `path` is missing or damaged.
    """
    cache.read(path)
    index = Index(collection, path)
    problems = [f"{name}: removed" for name in index.removed]
    problems += [f"{index.name(i)}: added" for i in np.flatnonzero(~index.stored)]
    sound = 0
    for positions, facts in examined(index, np.flatnonzero(index.stored), workers):
        same = (facts.digests == index.digests[positions]).all(axis=1)
        sound += int(same.sum())
        problems += [f"{index.name(i)}: changed" for i in positions[~same]]
    yield f"{path}: {sound:,} images are as they were prepared"
    if problems:
        more = [f"and {len(problems) - SHOWN:,} more"] if len(problems) > SHOWN else []
        cure = "`make data` prepares what has changed"
        raise Failure("\n       ".join([*problems[:SHOWN], *more, cure]))


def _read(index: "Index", workers: int, update: Progress) -> None:
    done, saved = 0, time.monotonic()
    for positions, facts in examined(index, index.unknown, workers):
        index.learn(positions, facts)
        done += len(positions)
        update(done)
        if time.monotonic() - saved > SAVE_SECONDS:
            index.save()
            saved = time.monotonic()


def examined(
    index: "Index", positions: np.ndarray, workers: int
) -> Iterator[tuple[np.ndarray, Facts]]:
    """(some of `positions`, ascending, and their facts, read anew), until all are done."""
    function = Examine({split: r.reader for split, r in index.collection.splits.items()})
    parts = list(index.parts(positions))
    found = map_tasks(function, [task for _, task in parts], workers)
    yield from ((part, facts) for (part, _), facts in zip(parts, found, strict=True))


class Index:
    """The facts of all images of a collection, one split after another, as far as they are known.

    stored: bool [n], those that the file has; digests: uint8 [n, 32], of these; removed: the names
    of those in the file that the collection no longer has.
    """

    def __init__(self, collection: Collection, path: Path) -> None:
        self.collection, self._path = collection, path
        splits = collection.splits.values()
        self._starts = np.cumsum([0, *map(len, splits)])
        n = int(self._starts[-1])
        self._ids = [f"{s}/{key}" for s, r in collection.splits.items() for key in r.keys]
        self._stamps = np.concatenate([records.stamps for records in splits])
        self.stored, self.removed, self._known = np.zeros(n, bool), [], np.zeros(n, bool)
        self.digests, self._sizes = np.zeros((n, 32), np.uint8), np.zeros((n, 2), np.int32)
        self._reasons = np.full(n, "", object)
        if path.exists():
            self._load()

    @property
    def unknown(self) -> np.ndarray:
        """The positions of images that must be read: new ones, and those whose stamp differs."""
        return np.flatnonzero(~self._known)

    def parts(self, positions: np.ndarray) -> Iterator[tuple[np.ndarray, Task]]:
        """`positions`, ascending, in pieces, each with the task that reads these images."""
        for i, (split, records) in enumerate(self.collection.splits.items()):
            start, end = self._starts[i], self._starts[i + 1]
            own = positions[(positions >= start) & (positions < end)]
            for at in range(0, len(own), CHUNK):
                part = own[at : at + CHUNK]
                yield part, Task(split, records.keys[part - start].tolist())

    def learn(self, positions: np.ndarray, facts: Facts) -> None:
        """Take in what was found out about the images at `positions`."""
        self.digests[positions], self._sizes[positions] = facts.digests, facts.sizes
        self._reasons[positions], self._known[positions] = facts.reasons, True

    def facts(self) -> dict[str, Facts]:
        """What is known, by split."""
        edges = [slice(a, b) for a, b in zip(self._starts, self._starts[1:], strict=False)]
        return {
            split: Facts(self.digests[rows], self._sizes[rows], self._reasons[rows].tolist())
            for split, rows in zip(self.collection.splits, edges, strict=True)
        }

    def name(self, position: int) -> str:
        """What a user calls that image."""
        number = int(np.searchsorted(self._starts, position, side="right")) - 1
        records = list(self.collection.splits.values())[number]
        return records.name(position - int(self._starts[number]))

    def save(self) -> None:
        """Write what is known. A warning if that is not possible."""
        known = np.flatnonzero(self._known)
        tensors = {
            "ids": _packed([self._ids[i] for i in known]),
            "stamps": torch.from_numpy(self._stamps[known]),
            "digests": torch.from_numpy(self.digests[known]),
            "sizes": torch.from_numpy(self._sizes[known]),
            "reasons": _packed(self._reasons[known].tolist()),
        }
        cache.keep(self._path, tensors)

    def _load(self) -> None:
        try:
            tensors = cache.read(self._path)
        except Failure as error:
            print(f"warning: {error}; reading the images again", file=sys.stderr)
            return
        rows = {name: row for row, name in enumerate(_unpacked(tensors["ids"]))}
        at = np.array([rows.pop(name, -1) for name in self._ids])
        self.removed = list(rows)
        self.stored = at >= 0
        at = at[self.stored]
        self.digests[self.stored] = tensors["digests"].numpy()[at]
        self._sizes[self.stored] = tensors["sizes"].numpy()[at]
        self._reasons[self.stored] = np.array(_unpacked(tensors["reasons"]), object)[at]
        same = (tensors["stamps"].numpy()[at] == self._stamps[self.stored]).all(axis=1)
        self._known[self.stored] = same


def _packed(texts: list[str]) -> torch.Tensor:
    """uint8: `texts`, which may be names that are not Unicode, each with a NUL after it."""
    raw = b"".join(os.fsencode(text.replace("\0", "")) + b"\0" for text in texts)
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8) if raw else torch.empty(0).byte()


def _unpacked(packed: torch.Tensor) -> list[str]:
    return [os.fsdecode(text) for text in packed.numpy().tobytes().split(b"\0")[:-1]]
