# SPDX-License-Identifier: MIT
"""What a data set of images offers, whether it lies in memory or is decoded from files.

    data = images_from_settings(settings, device, channels=3)       # in from_settings.py
    for x, y in data.train.training(plan.shares(rank, step), plan.effective):
        …
    run.set_info(dataset=data.info)

The test images take no part in training nor in any selection; the validation images are never
trained on.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from ..prefetch import Batch


class Images(Protocol):
    """One split. Images come as float32 [m, channels, size, size], normalised, on the device."""

    labels: Tensor  # int64 [n], on the CPU

    def __len__(self) -> int: ...

    def in_order(self, rows: Sequence[slice]) -> Iterator[Batch]:
        """(images, labels int64 [m]) of each of `rows` in turn, for evaluation."""

    def training(self, shares: Iterable[tuple[int, slice]], batch_size: int) -> Iterator[Batch]:
        """(images, labels) of each (step, rows of that step's batch of `batch_size`), augmented.

        A pure function of the seed, the step and the rows: however a batch is divided, its parts
        make up the same batch. Labels are int64 [m], or float32 [m, classes] with mixup.
        Raises ValueError when the batch is larger than the split.
        """


class ImageData(NamedTuple):
    """The splits, the names of the classes, and `info` for metadata.yaml.

    `info` has at least name, sizes, fingerprint and normalization.
    """

    train: Images
    val: Images
    test: Images | None
    classes: list[str]
    info: dict[str, Any]


class Source(Protocol):
    """A data set by name; errors as in `images_from_settings`."""

    def images(self, settings: Any, device: str | torch.device, channels: int) -> ImageData:
        """The images as `settings` ask for them, prepared in DATA_DIR if they are not yet."""

    def prepared(self, settings: Any) -> Path:
        """The file in DATA_DIR that `images` prepares once and reads from then on."""

    def check(self, settings: Any) -> Iterator[str]:
        """Read every byte of what is prepared; a line for each part. Raises Failure if damaged."""
