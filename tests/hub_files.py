# SPDX-License-Identifier: MIT
"""Small Parquet files with the schema of image sets on the hub, for tests without network."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import datasets
import numpy as np
from PIL import Image

from lib.data.images.hub_sets import HUB_SETS


def png(image: np.ndarray) -> bytes:
    """`image` uint8 [height, width] or [height, width, 3] as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def write_hub_set(
    folder: Path,
    name: str,
    train: int,
    test: int,
    *,
    size: tuple[int, int] | None = None,
    encode: Callable[[np.ndarray], bytes] = png,
    classes: Sequence[str] | None = None,
) -> Path:
    """Write `train` and `test` random images of the set `name`, their labels in turn.

    Below `folder`, which is returned.
    """
    hub_set = HUB_SETS[name]
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    names = list(classes or hub_set.classes)
    shape = size or (hub_set.size, hub_set.size)
    shape = shape if hub_set.channels == 1 else (*shape, 3)
    kinds = {hub_set.image: datasets.Image(), hub_set.label: datasets.ClassLabel(names=names)}
    for split, n in (("train", train), ("test", test)):
        images = random.integers(0, 256, (n, *shape), dtype=np.uint8)
        rows = {
            hub_set.image: [{"bytes": encode(image), "path": None} for image in images],
            hub_set.label: [i % len(names) for i in range(n)],
        }
        features = dict(kinds)
        if name == "cifar100":
            rows["coarse_label"] = [i % 20 for i in range(n)]
            features["coarse_label"] = datasets.Value("int64")
        table = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
        table.to_parquet(str(folder / f"{split}-00000-of-00001.parquet"))
    return folder
