# SPDX-License-Identifier: MIT
"""What each augmentation of images costs: python -m benchmarks.augmentation [--repeats 60]

Processor time of one core for a batch of 128 images of 32 × 32 pixels in three colours, the least
of the repetitions, less that of normalising alone. The last line is JSON.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import json
import time

import torch

from lib import text
from lib.data.images.augment import Augmentation
from lib.data.images.normalization import Normalization

BATCH, SIZE, CLASSES = 128, 32, 10
KINDS = {
    "AUGMENT_AFFINE": {"affine": True},
    "AUGMENT_FLIP": {"flip": True},
    "AUGMENT_PAD": {"pad": 4},
    "AUGMENT_FLIP and AUGMENT_PAD": {"flip": True, "pad": 4},
    "AUGMENT_MIN_AREA": {"min_area": 0.35},
    "AUGMENT_CUTOUT": {"cutout": 8},
    "AUGMENT_RANDOM_OPS=2": {"random_ops": 2, "magnitude": 9},
    "MIXUP": {"mixup": 0.2},
}


def milliseconds(augment: Augmentation, repeats: int) -> float:
    """The least processor time of a batch."""
    images = torch.rand(BATCH, 3, SIZE, SIZE)
    labels = torch.arange(BATCH) % CLASSES
    taken = []
    for step in range(repeats):
        start = time.process_time()
        augment(augment.crop(images, step, 0, BATCH), labels, step, 0, BATCH)
        taken.append(time.process_time() - start)
    return 1000 * min(taken)


def main() -> None:
    """The program; see the top of the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=60)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    plain = Normalization.of_imagenet(3)
    nothing = milliseconds(Augmentation(plain), repeats)
    costs = {
        name: milliseconds(Augmentation(plain, classes=CLASSES, **kind), repeats) - nothing
        for name, kind in KINDS.items()
    }
    rows = [("augmentation", "ms"), *((name, f"{cost:.1f}") for name, cost in costs.items())]
    print(*text.columns(rows, right=(1,)), sep="\n")
    print(json.dumps({"benchmark": "augmentation", "ms": costs}))


if __name__ == "__main__":
    run_main(main)
