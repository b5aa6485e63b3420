# SPDX-License-Identifier: MIT
"""Image folders and tables with their settings, and what streams of them give, for tests."""

import itertools
from types import SimpleNamespace

import datasets
import torch

from lib.data.images.from_settings import images_from_settings
from tests.image_files import encoded, picture

SIZE = 16


def options(tmp_path, **changes):
    """Settings of an image folder; those that the Kconfig of images defines, and SEED."""
    values = {
        "DATASET": "imagefolder", "DATA_FILES": str(tmp_path / "images"), "SEED": 0,
        "DATA_DIR": str(tmp_path / "data"), "VAL_FRACTION": 0.25, "NUM_WORKERS": 2,
        "IMAGE_SIZE": SIZE, "IMAGE_MEMORY": 1, "RESIZE": True, "BROKEN_IMAGES": "stop",
        "NORMALIZATION": "imagenet", "AUGMENT": True, "AUGMENT_AFFINE": False,
        "AUGMENT_FLIP": True, "AUGMENT_PAD": 0, "AUGMENT_MIN_AREA": 0.3, "AUGMENT_CUTOUT": 0,
        "AUGMENT_RANDOM_OPS": 0, "AUGMENT_MAGNITUDE": None, "MIXUP": 0.0,
    }  # fmt: skip
    return SimpleNamespace(**(values | changes))


def load(tmp_path, channels=3, **changes):
    return images_from_settings(options(tmp_path, **changes), "cpu", channels)


def all_of(images, count=7):
    rows = [slice(i, min(i + count, len(images))) for i in range(0, len(images), count)]
    batches = list(images.in_order(rows))
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])


def shares(first, world, rank, micro, effective):
    """What BatchPlan.shares gives: this rank's rows, micro-step by micro-step, without an end."""
    per_rank = effective // world
    for step in itertools.count(first):
        for start in range(rank * per_rank, (rank + 1) * per_rank, micro):
            yield step, slice(start, start + micro)


def take(images, steps, first=0, world=1, micro=6, effective=6):
    """The batches of `steps` steps from `first` on, the shares of all ranks put together."""
    count = steps * (effective // world // micro)
    ranks = [
        list(itertools.islice(images.training(shares(first, world, r, micro, effective), effective),
                              count))
        for r in range(world)
    ]  # fmt: skip
    per_step = count // steps
    return [
        tuple(torch.cat([batch[k] for rank in ranks for batch in rank[s * per_step:][:per_step]])
              for k in (0, 1))
        for s in range(steps)
    ]  # fmt: skip


def same(one, two):
    return all(
        torch.equal(left, right)
        for a, b in zip(one, two, strict=True)
        for left, right in zip(a, b, strict=True)
    )


NAMES = ["fish", "bird", "dog"]


def write_imagenet(folder, splits, spoilt=()):
    """Parquet files with the schema of ILSVRC/imagenet-1k, two for each split."""
    folder.mkdir()
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=NAMES))
    seed = itertools.count()
    for split, n in splits.items():
        for file in range(2):
            images = [encoded(picture(next(seed)), "JPEG") for _ in range(n)]
            rows = {
                "image": [
                    {"bytes": b"x" if (split, file, i) in spoilt else b, "path": f"n_{i}.JPEG"}
                    for i, b in enumerate(images)
                ],
                "label": [-1 if split == "test" else i % 3 for i in range(n)],
            }
            table = datasets.Dataset.from_dict(rows, features=features)
            table.to_parquet(str(folder / f"{split}-{file:05}-of-00002.parquet"))
    return folder
