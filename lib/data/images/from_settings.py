# SPDX-License-Identifier: MIT
"""The images that a run's settings ask for, the same for every model with HAS_IMAGE_DATA."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from lib.data import cache
from lib.data.images.datasets import SOURCES, ImageData, load_images


def images_from_settings(settings: Any, device: str | torch.device = "cpu") -> ImageData:
    """All images, in the memory of `device`; errors as in `load_images`."""
    return load_images(
        settings.DATASET,
        seed=settings.SEED,
        val_fraction=settings.VAL_FRACTION,
        data_dir=settings.DATA_DIR,
        files=settings.DATA_FILES,
        workers=settings.NUM_WORKERS,
        device=device,
    )


def prepare_data(settings: Any) -> str:
    """Prepare the images in DATA_DIR if need be; returns a line that says what is there."""
    info = images_from_settings(settings).info
    sizes = ", ".join(f"{count:,} {split}" for split, count in info["sizes"].items())
    return f"{_file(settings)}: {sizes} images, fingerprint {info['fingerprint'][:16]}"


def check_data(settings: Any) -> Iterator[str]:
    """Read every byte of the prepared file and yield a line for it. Raises Failure if damaged."""
    path = _file(settings)
    yield f"{path}: {len(cache.read(path))} tensors are sound"


def _file(settings: Any) -> Path:
    source = SOURCES[settings.DATASET]
    return source.prepared_file(Path(settings.DATA_DIR), settings.DATA_FILES)
