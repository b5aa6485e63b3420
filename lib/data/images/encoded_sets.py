# SPDX-License-Identifier: MIT
"""Image sets of any size: imagefolder and imagenet.

Every image is read and decoded once beforehand (index.py), so that a broken one is found before
the training. What fits into IMAGE_MEMORY is then decoded into a file and lies in memory; what does
not is decoded by worker processes in each epoch (from_files.py).
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ...errors import BadUse
from ...launch_env import launch_env
from .. import cache
from ..cache import Tensors, cached, fingerprint
from ..workers import cpu_count, map_tasks
from .augment import Augmentation
from .datasets import ImageData, Images
from .folder import find_images
from .from_files import CHUNK, Decoders, FromFiles
from .imagenet import find_imagenet
from .in_memory import InMemory, canvas
from .index import check, examine
from .normalization import Normalization
from .progress import reading_progress
from .records import Collection, Fit, Task
from .usable import Part, Usable, parts, refuse_other_sizes, usable

MIB = 1 << 20


@dataclass(frozen=True)
class EncodedSet:
    """A source (lib/data/images/datasets.py); `find` lists its images without opening them."""

    find: Callable[[Any], Collection]

    def images(self, settings: Any, device: str | torch.device, channels: int) -> ImageData:
        """If it has no images for validation, VAL_FRACTION of each class of the training images is.

        Raises BadUse when the settings do not fit the images; Failure when they cannot be read or,
        with BROKEN_IMAGES=stop, some are broken.
        """
        collection = self.find(settings)
        path = _index(settings, collection)
        progress = partial(reading_progress, settings.DATASET)
        facts = examine(collection, path, _workers(settings), progress)
        found = usable(collection, facts, settings.BROKEN_IMAGES)
        if not settings.RESIZE:
            refuse_other_sizes(found, settings.IMAGE_SIZE)
        divided = parts(found, settings.VAL_FRACTION, settings.SEED)
        hold = _in_memory if _fits(settings, found) else _from_files
        splits, normalize = hold(settings, device, channels, found, divided, path)
        info = {
            "name": settings.DATASET,
            "sizes": {name: len(part.records) for name, part in divided.items()},
            "classes": len(collection.classes),
            "fingerprint": found.fingerprint(),
            "split": _split_info(settings, divided),
            "normalization": normalize.as_dict(),
            "decoded": "once" if hold is _in_memory else "in each epoch",
            "broken": found.broken,
            "ignored": collection.ignored,
        }
        test = splits.get("test")
        return ImageData(splits["train"], splits["val"], test, [*collection.classes], info)

    def prepared(self, settings: Any) -> Path:
        """The file of index.py."""
        return _index(settings, self.find(settings))

    def check(self, settings: Any) -> Iterator[str]:
        """Read all images and what was decoded. Raises Failure naming what is not as it was."""
        collection = self.find(settings)
        path = _index(settings, collection)
        yield from check(collection, path, _workers(settings))
        for decoded in sorted(path.parent.glob(f"{path.stem}-*.safetensors")):
            yield f"{decoded}: {len(cache.read(decoded))} tensors are sound"


def _find_folder(settings: Any) -> Collection:
    if not settings.DATA_FILES:
        raise BadUse(
            "DATASET=imagefolder needs DATA_FILES: a folder with one folder of images for each "
            "class, or with such folders in train/ and val/"
        )
    return find_images(Path(settings.DATA_FILES))


def _find_imagenet(settings: Any) -> Collection:
    return find_imagenet(settings.DATA_FILES, Path(settings.DATA_DIR))


ENCODED_SETS = {"imagefolder": EncodedSet(_find_folder), "imagenet": EncodedSet(_find_imagenet)}


def _index(settings: Any, collection: Collection) -> Path:
    key = hashlib.sha256(os.fsencode(collection.place)).hexdigest()[:8]
    return Path(settings.DATA_DIR) / f"{settings.DATASET}-{key}.index"


def _workers(settings: Any) -> int:
    """NUM_WORKERS, or this rank's share of the machine's cores."""
    return settings.NUM_WORKERS or max(1, cpu_count() // launch_env().local_size)


def _fits(settings: Any, found: Usable) -> bool:
    n = sum(map(len, found.collection.splits.values()))
    return n * 3 * settings.IMAGE_SIZE**2 <= settings.IMAGE_MEMORY * MIB


def _split_info(settings: Any, divided: dict[str, Part]) -> dict[str, Any]:
    val = divided["val"]
    own = {"fingerprint": fingerprint({"validation": torch.from_numpy(val.indices)})}
    if val.split == "val":
        return own
    return {"seed": settings.SEED, "val_fraction": settings.VAL_FRACTION, **own}


Held = tuple[dict[str, Images], Normalization]


def _from_files(
    settings: Any,
    device: str | torch.device,
    channels: int,
    found: Usable,
    divided: dict[str, Part],
    path: Path,
) -> Held:
    """Decoded in each epoch."""
    if settings.NORMALIZATION == "data":
        raise BadUse(
            "NORMALIZATION=data needs images that are in memory, and these do not fit into "
            f"IMAGE_MEMORY={settings.IMAGE_MEMORY}: set NORMALIZATION=imagenet, or more memory"
        )
    normalize = Normalization.of_imagenet(channels)
    augment = Augmentation.from_settings(settings, normalize, len(found.collection.classes))
    decoders = Decoders(_fit(settings, found), _workers(settings))
    to_canvas = partial(canvas, size=settings.IMAGE_SIZE, channels=channels)
    return {
        name: FromFiles(part, decoders, to_canvas, augment, settings.SEED, device)
        for name, part in divided.items()
    }, normalize


def _in_memory(
    settings: Any,
    device: str | torch.device,
    channels: int,
    found: Usable,
    divided: dict[str, Part],
    path: Path,
) -> Held:
    """Decoded once, into a file beside the index `path`."""
    exact = "" if settings.RESIZE else "-exact"
    key = f"{found.fingerprint()[:8]}-{settings.IMAGE_SIZE}{exact}"
    file = path.with_name(f"{path.stem}-{key}.safetensors")
    pixels = cached(file, lambda: _decoded(settings, found))
    to_canvas = partial(canvas, size=settings.IMAGE_SIZE, channels=channels)
    images = {name: pixels[part.split][part.indices] for name, part in divided.items()}
    if settings.NORMALIZATION == "data":
        normalize = Normalization.of(to_canvas(some) for some in images["train"].split(1000))
    else:
        normalize = Normalization.of_imagenet(channels)
    augment = Augmentation.from_settings(settings, normalize, len(found.collection.classes))
    return {
        name: InMemory(
            images[name].to(device),
            torch.from_numpy(part.records.labels),
            to_canvas,
            augment,
            settings.SEED,
        )
        for name, part in divided.items()
    }, normalize


def _decoded(settings: Any, found: Usable) -> Tensors:
    """uint8 [n, 3, size, size] of each split."""
    size, fit = settings.IMAGE_SIZE, _fit(settings, found)
    splits = found.collection.splits
    tasks = [
        Task(split, records.keys[at : at + CHUNK].tolist())
        for split, records in splits.items()
        for at in range(0, len(records), CHUNK)
    ]
    pixels = {s: torch.empty(len(r), 3, size, size, dtype=torch.uint8) for s, r in splits.items()}
    done = dict.fromkeys(splits, 0)
    total = sum(map(len, splits.values()))
    with reading_progress(f"{settings.DATASET}, decoding", total) as update:
        results = map_tasks(fit, tasks, _workers(settings))
        for task, result in zip(tasks, results, strict=True):
            at = done[task.split]
            pixels[task.split][at : at + len(result)] = torch.from_numpy(result)
            done[task.split] += len(result)
            update(sum(done.values()))
    return pixels


def _fit(settings: Any, found: Usable) -> Fit:
    readers = {split: records.reader for split, records in found.collection.splits.items()}
    return Fit(readers, settings.IMAGE_SIZE, settings.RESIZE)
