# SPDX-License-Identifier: MIT
"""Images as a training sees them, for tests."""

from pathlib import Path

import torch

from lib.config.settings import Settings, load_settings
from lib.data.images.datasets import ImageData, Images
from lib.data.images.from_settings import images_from_settings


def image_settings(data_dir: Path, *flags: str, model: str = "lenet5") -> Settings:
    """The defaults of `model`, with the data in `data_dir`; `flags` override."""
    data_dir.mkdir(parents=True, exist_ok=True)
    config = data_dir / ".test-config"
    config.write_text(f"CONFIG_MODEL_{model.upper()}=y\n")
    return load_settings(model, ["--config", str(config), "--data-dir", str(data_dir), *flags])


def load_images(data_dir: Path, *flags: str, channels: int = 1, model: str = "lenet5") -> ImageData:
    """The images that `flags` ask for, on the CPU."""
    return images_from_settings(image_settings(data_dir, *flags, model=model), "cpu", channels)


def whole(images: Images) -> torch.Tensor:
    """All images of a split as they are evaluated, [n, channels, size, size]."""
    return torch.cat([x for x, _ in images.in_order([slice(0, len(images))])])


def batch(
    images: Images, step: int, size: int, parts: int = 1
) -> tuple[torch.Tensor, torch.Tensor]:
    """The batch of a training step, put together from equal `parts`."""
    rows = [(step, slice(i, i + size // parts)) for i in range(0, size, size // parts)]
    x, y = zip(*images.training(rows, size), strict=True)
    return torch.cat(x), torch.cat(y)
