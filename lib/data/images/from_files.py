# SPDX-License-Identifier: MIT
"""A split that does not fit into memory: worker processes decode each batch in time.

Workers decode, crop and scale to uint8; a thread collects their results and copies them to the
device ahead of the training; there they are augmented and normalised by the code that split in
memory use.
"""

import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from ..batches import batch_indices
from ..prefetch import Batch, prefetch
from ..workers import Workers
from .augment import Augmentation
from .records import Fit, Task
from .usable import Part

CHUNK = 16  # images a task: the last worker to finish a batch is not far behind the others

View = tuple[np.ndarray, np.ndarray | None]  # indices of images, and the box of each


class Decoders:
    """`count` processes that all splits of a data set share; they start when first needed."""

    def __init__(self, fit: Fit, count: int) -> None:
        self._fit, self._count = fit, count

    @cached_property
    def _workers(self) -> Workers:
        workers = Workers(self._fit, self._count)
        weakref.finalize(self, workers.close)
        return workers

    def decode(self, part: Part, views: Iterable[View]) -> Iterator[np.ndarray]:
        """uint8 [m, 3, size, size] for each of `views`. Raises Failure naming a broken image."""
        counts: deque[int] = deque()  # of the tasks of each view under way

        def tasks() -> Iterator[Task]:
            for indices, boxes in views:
                starts = range(0, max(1, len(indices)), CHUNK)
                counts.append(len(starts))
                for at in starts:
                    chunk = slice(at, at + CHUNK)
                    keys = part.records.keys[indices[chunk]].tolist()
                    yield Task(part.split, keys, None if boxes is None else boxes[chunk])

        results = self._workers.map(tasks())
        for first in results:
            yield np.concatenate([first, *islice(results, counts.popleft() - 1)])


class FromFiles:
    """The images of `part`, decoded each time that they are asked for.

    `to_canvas` makes float32 [m, channels, size, size] in [0, 1] of uint8 [m, 3, size, size].
    `seed` determines the order of training.
    """

    def __init__(
        self,
        part: Part,
        decoders: Decoders,
        to_canvas: Callable[[Tensor], Tensor],
        augment: Augmentation,
        seed: int,
        device: str | torch.device,
    ) -> None:
        self.labels = torch.from_numpy(part.records.labels)
        self._part, self._decoders, self._device = part, decoders, torch.device(device)
        self._to_canvas, self._augment, self._seed = to_canvas, augment, seed

    def __len__(self) -> int:
        return len(self.labels)

    def in_order(self, rows: Sequence[slice]) -> Iterator[Batch]:
        """See lib/data/images/datasets.py."""
        everything = np.arange(len(self))
        for x, y in self._batches((everything[some], None) for some in rows):
            yield self._augment.normalize(self._to_canvas(x)), y

    def training(self, shares: Iterable[tuple[int, slice]], batch_size: int) -> Iterator[Batch]:
        """See lib/data/images/datasets.py."""
        under_way: deque[tuple[int, int]] = deque()

        def views() -> Iterator[View]:
            for step, rows in shares:
                indices = batch_indices(self._seed, step, len(self), batch_size)[rows].numpy()
                under_way.append((step, rows.start))
                boxes = None
                if self._augment.min_area < 1:
                    width, height = self._part.sizes[indices].T
                    boxes = self._augment.boxes(step, rows, batch_size, height, width)
                yield indices, boxes

        for x, y in self._batches(views()):
            step, first = under_way.popleft()
            yield self._augment(self._to_canvas(x), y, step, first, batch_size)

    def _batches(self, views: Iterable[View]) -> Iterator[Batch]:
        """(uint8 [m, 3, size, size], labels) of each view on the device, read ahead."""
        labels: deque[Tensor] = deque()

        def noted() -> Iterator[View]:
            for indices, boxes in views:
                labels.append(self.labels[indices])
                yield indices, boxes

        decoded = self._decoders.decode(self._part, noted())
        batches = ((torch.from_numpy(x), labels.popleft()) for x in decoded)
        return prefetch(batches, self._device)
