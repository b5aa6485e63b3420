# SPDX-License-Identifier: MIT
"""Small image data sets, held in the memory of the device, with a reproducible split.

    data = load_images("digits", seed=0, val_fraction=0.1, data_dir="data", device=device)
    data.train.images, data.train.labels, data.val …, data.test …
    run.set_info(dataset=data.info)

The test images take no part in training nor in any selection; the validation images are a part of
the training images that is never trained on.
"""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from lib.data.cache import Tensors, fingerprint
from lib.data.images import digits, mnist
from lib.data.images.split import hold_out
from lib.errors import BadUse


class Split(NamedTuple):
    """`images` float32 [n, 1, 32, 32], normalised; `labels` int64 [n]."""

    images: Tensor
    labels: Tensor


class ImageData(NamedTuple):
    """The three splits, and `info` for metadata.yaml: sizes, fingerprints, normalisation."""

    train: Split
    val: Split
    test: Split
    info: dict[str, Any]


class Source(Protocol):
    """A module that knows one data set; `files` and `workers` as in `load_images`."""

    def load(self, data_dir: Path, files: str = "", workers: int = 0) -> Tensors:
        """train_images, test_images: uint8 [n, height, width]; train_labels, test_labels."""

    def prepared_file(self, data_dir: Path, files: str = "") -> Path:
        """The file that `load` makes once and reads from then on."""

    def to_canvas(self, images: Tensor) -> Tensor:
        """The images as float32 [n, 1, 32, 32] in [0, 1]."""


SOURCES: dict[str, Source] = {"digits": digits, "mnist": mnist}


def load_images(
    name: str,
    *,
    seed: int,
    val_fraction: float,
    data_dir: str | Path,
    files: str = "",
    workers: int = 0,
    device: str | torch.device = "cpu",
) -> ImageData:
    """The data set `name` of SOURCES, prepared once and then read from `data_dir`.

    `val_fraction` of each class of the training images, chosen by `seed`, is for validation.
    `files` names local files to read instead of the network; `workers` processes decode, 0 for one
    per core.
    Raises Failure when the images cannot be read, BadUse when too few are left for a validation
    set.
    """
    source = SOURCES[name]
    raw = source.load(Path(data_dir), files, workers)
    train, val = hold_out(raw["train_labels"], val_fraction, seed)
    if not len(val) or not len(train):
        raise BadUse(
            f"a validation share of {val_fraction} leaves {len(train)} training and {len(val)} "
            f"validation images of {len(train) + len(val)}; neither can be 0"
        )
    images = source.to_canvas(raw["train_images"])
    # Rounded, so that the order of summation, which differs between machines, has no effect.
    std, mean = (round(value.item(), 4) for value in torch.std_mean(images[train]))

    def split(images: Tensor, labels: Tensor) -> Split:
        return Split(((images - mean) / std).to(device), labels.to(device))

    return ImageData(
        train=split(images[train], raw["train_labels"][train]),
        val=split(images[val], raw["train_labels"][val]),
        test=split(source.to_canvas(raw["test_images"]), raw["test_labels"]),
        info={
            "name": name,
            "sizes": {"train": len(train), "val": len(val), "test": len(raw["test_labels"])},
            "fingerprint": fingerprint(raw),
            "split": {"seed": seed, "val_fraction": val_fraction, "fingerprint": _of(val)},
            "normalization": {"mean": mean, "std": std},
        },
    )


def _of(indices: Tensor) -> str:
    tensors: Tensors = {"validation": indices}
    return fingerprint(tensors)
