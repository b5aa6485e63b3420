# SPDX-License-Identifier: MIT
"""Image sets that are decoded once into one file and then lie in memory as a whole."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from .. import cache
from ..cache import Tensors, fingerprint
from .augment import Augmentation
from .datasets import ImageData
from .in_memory import InMemory, canvas
from .normalization import Normalization
from .split import training_and_validation


class SmallSet(Protocol):
    """What is particular about one set; `brightest` and `pad` as in `canvas`."""

    classes: Sequence[str]
    brightest: int
    pad: int

    def load(self, data_dir: Path, files: str = "", workers: int = 0) -> Tensors:
        """train_images and test_images: uint8 [n, height, width] or [n, 3, height, width];
        train_labels and test_labels: int64 [n].

        Prepared once and then read from `data_dir`. `files` names local files to read instead of
        the network; `workers` processes decode, 0 for one per core. Raises BadUse when `files` does
        not hold the set, Failure when it cannot be read.
        """

    def prepared_file(self, data_dir: Path, files: str = "") -> Path:
        """The file that `load` makes once and reads from then on."""


@dataclass(frozen=True)
class InOneFile:
    """The source (lib/data/images/datasets.py) of a small set."""

    of: SmallSet

    def images(self, settings: Any, device: str | torch.device, channels: int) -> ImageData:
        """`VAL_FRACTION` of each class of the training images, chosen by SEED, is for validation.

        Raises BadUse when too few images are left for validation, and what `SmallSet.load` raises.
        """
        raw = self.of.load(Path(settings.DATA_DIR), settings.DATA_FILES, settings.NUM_WORKERS)
        seed, fraction = settings.SEED, settings.VAL_FRACTION
        train, val = training_and_validation(raw["train_labels"], fraction, seed)
        to_canvas = partial(
            canvas,
            size=settings.IMAGE_SIZE,
            channels=channels,
            brightest=self.of.brightest,
            pad=self.of.pad,
        )
        pixels = _with_channels(raw["train_images"])
        if settings.NORMALIZATION == "imagenet":
            normalize = Normalization.of_imagenet(channels)
        else:
            normalize = Normalization.of(to_canvas(part) for part in pixels[train].split(1000))
        augment = Augmentation.from_settings(settings, normalize, len(self.of.classes))

        def split(images: Tensor, labels: Tensor) -> InMemory:
            return InMemory(images.to(device), labels, to_canvas, augment, seed)

        return ImageData(
            train=split(pixels[train], raw["train_labels"][train]),
            val=split(pixels[val], raw["train_labels"][val]),
            test=split(_with_channels(raw["test_images"]), raw["test_labels"]),
            classes=[*self.of.classes],
            info={
                "name": settings.DATASET,
                "sizes": {"train": len(train), "val": len(val), "test": len(raw["test_labels"])},
                "fingerprint": fingerprint(raw),
                "split": {
                    "seed": seed,
                    "val_fraction": fraction,
                    "fingerprint": fingerprint({"validation": val}),
                },
                "normalization": normalize.as_dict(),
            },
        )

    def prepared(self, settings: Any) -> Path:
        """See `SmallSet.prepared_file`."""
        return self.of.prepared_file(Path(settings.DATA_DIR), settings.DATA_FILES)

    def check(self, settings: Any) -> Iterator[str]:
        """Read every byte of the prepared file. Raises Failure when it is damaged."""
        path = self.prepared(settings)
        yield f"{path}: {len(cache.read(path))} tensors are sound"


def _with_channels(images: Tensor) -> Tensor:
    """[n, height, width] as [n, 1, height, width]; colour images as they are."""
    return images[:, None] if images.ndim == 3 else images
