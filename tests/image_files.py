# SPDX-License-Identifier: MIT
"""Small image files of every kind that Pillow writes, for tests."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(seed: int = 0, size: tuple[int, int] = (40, 30)) -> Image.Image:
    """An RGB image of `size` (width, height) with soft shapes, which JPEG keeps well."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """`image` as a file of that kind."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def write_classes(
    folder: Path, classes: dict[str, int], size: tuple[int, int] = (40, 30), first: int = 0
) -> Path:
    """Write so many JPEG files for each class, all different, below `folder`; return it."""
    seed = first
    for name, count in classes.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            data = encoded(picture(seed, size), "JPEG", quality=90)
            (folder / name / f"{number:03}.jpg").write_bytes(data)
            seed += 1
    return folder
