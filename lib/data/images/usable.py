# SPDX-License-Identifier: MIT
"""Which images of a collection are used, once their facts are known, and which of them for what."""

import hashlib
import sys
from typing import NamedTuple

import numpy as np
import torch

from ...errors import BadUse, Failure
from ...launch_env import launch_env
from .records import Collection, Facts, Records
from .split import training_and_validation

SHOWN = 20  # images that a message names


class Usable(NamedTuple):
    """The images that are not broken: `collection`, their `facts` by split, count of the others."""

    collection: Collection
    facts: dict[str, Facts]
    broken: int

    def fingerprint(self) -> str:
        """SHA-256, in hex, over the contents, the labels and the order of the images."""
        digest = hashlib.sha256(repr(self.collection.classes).encode())
        for split, records in self.collection.splits.items():
            digest.update(f"{split} {len(records)}\n".encode())
            digest.update(records.labels.tobytes())
            digest.update(self.facts[split].digests.tobytes())
        return digest.hexdigest()


class Part(NamedTuple):
    """train, val or test: the images at `indices` of the collection's `split`."""

    split: str
    indices: np.ndarray  # int64, ascending
    records: Records
    sizes: np.ndarray  # int32 [n, 2], width and height


def usable(collection: Collection, facts: dict[str, Facts], policy: str) -> Usable:
    """The collection without its broken images, by the `policy` BROKEN_IMAGES: skip or stop.

    Raises Failure, naming them, with `stop`, and when no image of a class is left.
    """
    broken = [
        f"{records.name(i)}: {reason}"
        for split, records in collection.splits.items()
        for i, reason in enumerate(facts[split].reasons)
        if reason
    ]
    if not broken:
        return Usable(collection, facts, 0)
    more = [f"and {len(broken) - SHOWN:,} more"] if len(broken) > SHOWN else []
    total = sum(map(len, collection.splits.values()))
    said = "\n       ".join(
        [f"{len(broken):,} of {total:,} images are broken:", *broken[:SHOWN], *more]
    )
    if policy == "stop":
        cure = "Repair or remove them; BROKEN_IMAGES=skip leaves them out"
        raise Failure(f"{said}\n       {cure}")
    if launch_env().is_main:
        print(f"warning: {said}\n       They are left out", file=sys.stderr)
    splits, kept = {}, {}
    for split, records in collection.splits.items():
        digests, sizes, _ = facts[split]
        good = np.flatnonzero(sizes[:, 0] > 0)
        lost = np.setdiff1d(records.labels, records.labels[good])
        if len(lost):
            name = collection.classes[lost[0]]
            raise Failure(f"{said}\n       No image is left of the class {name} in {split}")
        splits[split] = records[good]
        kept[split] = Facts(digests[good], sizes[good], [""] * len(good))
    return Usable(collection._replace(splits=splits), kept, len(broken))


def refuse_other_sizes(found: Usable, size: int) -> None:
    """Raise BadUse, naming the first, when images are not `size` × `size` pixels."""
    for split, records in found.collection.splits.items():
        sizes = found.facts[split].sizes
        others = np.flatnonzero((sizes != size).any(axis=1))
        if len(others):
            width, height = sizes[others[0]]
            raise BadUse(
                f"{len(others):,} images ({split}) are not of IMAGE_SIZE={size} × {size} pixels, "
                f"the first is {records.name(others[0])} with {width} × {height}: set RESIZE=y, or "
                "another IMAGE_SIZE if all have the same"
            )


def parts(found: Usable, val_fraction: float, seed: int) -> dict[str, Part]:
    """train, val and, if there is one, test.

    Without a split val, `val_fraction` of each class of train, chosen by `seed`. Raises BadUse when
    that leaves nothing on one of the sides.
    """

    def part(split: str, indices: np.ndarray | None = None) -> Part:
        records, sizes = found.collection.splits[split], found.facts[split].sizes
        indices = np.arange(len(records)) if indices is None else indices
        return Part(split, indices, records[indices], sizes[indices])

    splits = found.collection.splits
    if "val" in splits:
        divided = {"train": part("train"), "val": part("val")}
    else:
        labels = torch.from_numpy(splits["train"].labels)
        train, val = training_and_validation(labels, val_fraction, seed)
        divided = {"train": part("train", train.numpy()), "val": part("train", val.numpy())}
    return divided | ({"test": part("test")} if "test" in splits else {})
