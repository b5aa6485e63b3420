# SPDX-License-Identifier: MIT
"""Small Parquet files with the schema of ylecun/mnist, for tests without network."""

import io
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
from PIL import Image


def png(image: np.ndarray) -> bytes:
    """`image` uint8 [height, width] as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def write_mnist(
    folder: Path,
    train: int,
    test: int,
    size: tuple[int, int] = (28, 28),
    encode: Callable[[np.ndarray], bytes] = png,
) -> Path:
    """Write `train` and `test` random images, their labels in turn, below `folder`; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=list("0123456789"))
    )
    for split, n in (("train", train), ("test", test)):
        images = random.integers(0, 256, (n, *size), dtype=np.uint8)
        rows = {
            "image": [{"bytes": encode(image), "path": None} for image in images],
            "label": [i % 10 for i in range(n)],
        }
        table = datasets.Dataset.from_dict(rows, features=features)
        table.to_parquet(str(folder / f"{split}-00000-of-00001.parquet"))
    return folder
