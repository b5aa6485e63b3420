# SPDX-License-Identifier: MIT
"""LeNet-5 for the tests that every model passes (tests/models.py)."""

from pathlib import Path


def flags(folder: Path) -> list[str]:
    """Data in `folder`; a batch that 1, 2, 4 ranks or micro-steps can share."""
    return ["--data-dir", str(folder / "digits"), "--batch-size", "16", "--num-threads", "1"]
