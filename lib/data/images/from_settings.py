# SPDX-License-Identifier: MIT
"""The images that a run's settings ask for, the same for every model with HAS_IMAGE_DATA."""

from collections.abc import Iterator
from typing import Any

import torch

from .datasets import ImageData, Source
from .digits import Digits
from .encoded_sets import ENCODED_SETS
from .hub_sets import HUB_SETS
from .small_sets import InOneFile

SOURCES: dict[str, Source] = {
    "digits": InOneFile(Digits()),
    **{name: InOneFile(hub_set) for name, hub_set in HUB_SETS.items()},
    **ENCODED_SETS,
}


def images_from_settings(
    settings: Any, device: str | torch.device = "cpu", channels: int = 1
) -> ImageData:
    """The data set of `settings`, for a model that sees images of 1 (grey) or 3 `channels`.

    Raises Failure when the images cannot be read, BadUse when the settings do not fit them.
    """
    return SOURCES[settings.DATASET].images(settings, device, channels)


def prepare_data(settings: Any) -> str:
    """Prepare the images in DATA_DIR if need be; returns a line that says what is there."""
    info = images_from_settings(settings).info
    sizes = ", ".join(f"{count:,} {split}" for split, count in info["sizes"].items())
    path = SOURCES[settings.DATASET].prepared(settings)
    return f"{path}: {sizes} images, fingerprint {info['fingerprint'][:16]}"


def check_data(settings: Any) -> Iterator[str]:
    """Read every byte of what is prepared and yield lines for it. Raises Failure if damaged."""
    return SOURCES[settings.DATASET].check(settings)
