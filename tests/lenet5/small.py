# SPDX-License-Identifier: MIT
"""LeNet-5 for the tests that every model passes (tests/models.py)."""

from pathlib import Path

from tests.hub_files import write_hub_set


def flags(folder: Path) -> list[str]:
    """Data in `folder`; a batch that 1, 2, 4 ranks or micro-steps can share."""
    return ["--data-dir", str(folder / "digits"), "--batch-size", "16", "--num-threads", "1"]


def local_mnist(folder: Path) -> list[str]:
    """Enough images for any batch size that the set itself allows and a defconfig asks for."""
    return ["--data-files", str(write_hub_set(folder, "mnist", train=1000, test=100))]


IN_PARTS: list[str] = []
DEFCONFIG: list[str] = []
LOCAL_DATA = {"mnist": local_mnist}
FIXED_DATA = {"digits": lambda folder: []}
RESUMED = {"augmentation": ("--augment",)}
