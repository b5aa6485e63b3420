# SPDX-License-Identifier: MIT
"""A ResNet-18 of 45,000 parameters for the tests that every model passes (tests/models.py)."""

from pathlib import Path

import datasets
import numpy as np
from PIL import Image

from tests.image_files import encoded, write_classes


def flags(folder: Path) -> list[str]:
    """Digits in `folder`; a batch that 1, 2, 4 ranks or micro-steps can share."""
    return [
        *("--data-dir", str(folder / "digits"), "--resnet-width", "4", "--image-size", "8"),
        *("--batch-size", "16", "--num-threads", "1", "--warmup-steps", "0"),
    ]


def local_cifar(folder: Path, label: str, classes: int) -> list[str]:
    """Parquet files of the hub's schema with five training images and a test image a class."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for split, n in (("train", 5 * classes), ("test", classes)):
        images = random.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
        rows = {
            "img": [{"bytes": encoded(Image.fromarray(image)), "path": None} for image in images],
            label: [i % classes for i in range(n)],
        }
        features = {"img": datasets.Image(), label: datasets.Value("int64")}
        table = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
        table.to_parquet(str(folder / f"{split}-00000-of-00001.parquet"))
    return ["--data-files", str(folder), "--data-dir", str(folder / "data"), *HELD_OUT]


def local_photographs(folder: Path) -> list[str]:
    """Class folders below train/ and val/, with more images than the largest effective batch."""
    write_classes(folder / "photographs" / "train", {"cat": 700, "dog": 700})
    write_classes(folder / "photographs" / "val", {"cat": 10, "dog": 10}, first=1400)
    data = ["--data-files", str(folder / "photographs"), "--data-dir", str(folder / "data")]
    return [*data, *HELD_OUT]


HELD_OUT = ["--val-fraction", "0.2"]  # of so few images, so that there are some of each class
IN_PARTS = ["--resnet-norm", "frozen"]
# A training of two steps would prune in the second, when not every weight has had a gradient.
DEFCONFIG = [
    *("--resnet-depth", "18", "--resnet-width", "4", "--image-size", "32", "--batch-size", "16"),
    *("--num-workers", "1", "--device", "cpu", "--warmup-steps", "1"),
    *("--max-steps", "5"),
]
LOCAL_DATA = {
    "cifar10": lambda folder: local_cifar(folder, "label", 10),
    "cifar100": lambda folder: local_cifar(folder, "fine_label", 100),
    "imagenet": local_photographs,
    "imagefolder": local_photographs,
}
FIXED_DATA = {"digits": lambda folder: []}
RESUMED = {
    "averaged": ("--ema-decay", "0.9"),
    "frozen norm": ("--resnet-norm", "frozen"),
    "mixup": ("--mixup", "0.2", "--label-smoothing", "0.1"),
}
