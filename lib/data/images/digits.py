# SPDX-License-Identifier: MIT
"""The handwritten digits bundled with scikit-learn: 1,797 images of 8 × 8 pixels, no network.

They are the test set of "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak,
UCI, 1998), written by 13 people.
"""

from pathlib import Path

import torch

from ..cache import Tensors, cached
from .split import hold_out

TEST_FRACTION = 0.2
TEST_SEED = 0  # not the run's, so that runs with different seeds are tested on the same images


class Digits:
    """A small set (lib/data/images/small_sets.py); `files` and `workers` have no effect."""

    classes = tuple("0123456789")
    brightest = 16
    pad = 0

    def load(self, data_dir: Path, files: str = "", workers: int = 0) -> Tensors:
        """train_images, test_images: uint8 [n, 8, 8], 0 to 16; train_labels, test_labels.

        The data set has no test split of its own: a fifth of each digit, the same in all runs,
        becomes one.
        """
        whole = cached(self.prepared_file(data_dir), _from_scikit_learn)
        rest, test = hold_out(whole["labels"], TEST_FRACTION, TEST_SEED)
        return {
            "train_images": whole["images"][rest],
            "train_labels": whole["labels"][rest],
            "test_images": whole["images"][test],
            "test_labels": whole["labels"][test],
        }

    def prepared_file(self, data_dir: Path, files: str = "") -> Path:
        """Where `load` keeps the images."""
        return data_dir / "digits.safetensors"


def _from_scikit_learn() -> Tensors:
    from sklearn.datasets import load_digits  # takes two seconds to import; needed only once

    digits = load_digits()
    return {
        "images": torch.from_numpy(digits.images).to(torch.uint8),
        "labels": torch.from_numpy(digits.target).to(torch.int64),
    }
