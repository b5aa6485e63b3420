# SPDX-License-Identifier: MIT
"""Image sets of the Hugging Face hub that fit into memory: MNIST, CIFAR-10 and CIFAR-100.

They come from the hub, at a pinned revision, or from Parquet files of the same schema (a column
with the bytes of PNG files, another with labels) in a local folder. They are decoded once and kept
in one file.
"""

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import BadUse, Failure
from ..cache import Tensors, cached
from ..hub import probe
from .decode import BrokenImage, decode

HUB = "huggingface.co/datasets"


@dataclass(frozen=True)
class HubSet:
    """A small set (lib/data/images/small_sets.py): `size` × `size` pixels of `channels` colours.

    `image` and `label` are columns of `repository`; others are not read.
    """

    name: str
    repository: str
    revision: str
    image: str
    label: str
    size: int
    channels: int
    classes: tuple[str, ...]
    pad: int = 0
    brightest: int = 255

    def load(self, data_dir: Path, files: str = "", workers: int = 0) -> Tensors:
        """train_images, test_images: uint8 [n, size, size] or [n, 3, size, size]; train_labels,
        test_labels: int64 [n].

        `files` is a folder with train-*.parquet and test-*.parquet, empty for the hub. `workers`
        processes decode the images, 0 for one per core. Raises BadUse when `files` does not hold
        them, Failure when the hub cannot be reached or an image cannot be read.
        """

        def build() -> Tensors:
            data_dir.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=data_dir, prefix=f".{self.name}-") as scratch:
                splits = _from_files(self, Path(files), scratch) if files else _from_hub(self)
                tensors = {}
                for split in ("train", "test"):
                    decoded = _decode(self, splits[split], workers or os.cpu_count() or 1, scratch)
                    tensors[f"{split}_images"], tensors[f"{split}_labels"] = decoded
                return tensors

        return cached(self.prepared_file(data_dir, files), build)

    def prepared_file(self, data_dir: Path, files: str = "") -> Path:
        """Where `load` keeps the images; other files, or changed ones, have their own."""
        key = f"-{_key(_local_files(self, Path(files)))}" if files else ""
        return data_dir / f"{self.name}{key}.safetensors"


_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100 = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
    camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile
    cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp
    lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom
    oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
    possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake
    spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor
    train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

HUB_SETS = {
    # LeCun, Cortes and Burges: 60,000 training and 10,000 test images, padded to 32 × 32
    "mnist": HubSet(
        "mnist",
        "ylecun/mnist",
        revision="77f3279092a1c1579b2250db8eafed0ad422088c",
        image="image",
        label="label",
        size=28,
        channels=1,
        classes=tuple("0123456789"),
        pad=2,
    ),
    # Krizhevsky (2009): 50,000 training and 10,000 test images each
    "cifar10": HubSet(
        "cifar10",
        "uoft-cs/cifar10",
        revision="0b2714987fa478483af9968de7c934580d0bb9a2",
        image="img",
        label="label",
        size=32,
        channels=3,
        classes=tuple(_CIFAR10.split()),
    ),
    "cifar100": HubSet(
        "cifar100",
        "uoft-cs/cifar100",
        revision="aadb3af77e9048adbea6b47c21a81e47dd092ae5",
        image="img",
        label="fine_label",
        size=32,
        channels=3,
        classes=tuple(_CIFAR100.split()),
    ),
}


def _local_files(hub_set: HubSet, folder: Path) -> dict[str, list[str]]:
    found = {
        split: sorted(str(path) for path in folder.glob(f"{split}-*.parquet"))
        for split in ("train", "test")
    }
    missing = [f"{split}-*.parquet" for split, paths in found.items() if not paths]
    if missing:
        raise BadUse(
            f"DATA_FILES={folder}: no {' and no '.join(missing)} there. Give the folder with the "
            f"Parquet files of {hub_set.repository}, or leave DATA_FILES empty to download them"
        )
    return found


def _key(sources: dict[str, list[str]]) -> str:
    """8 hex digits that depend on the path, size and time of each file."""
    paths = [Path(name).resolve() for names in sources.values() for name in names]
    stats = [path.stat() for path in paths]
    text = repr([(str(p), s.st_size, s.st_mtime_ns) for p, s in zip(paths, stats, strict=True)])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _from_files(hub_set: HubSet, folder: Path, scratch: str) -> Any:
    """A datasets.DatasetDict with the splits train and test, out of Parquet files."""
    sources = _local_files(hub_set, folder)
    import datasets  # 1.3 s; needed only once

    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset("parquet", data_files=sources, cache_dir=scratch)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise Failure(_how_to_bring(hub_set, "the files given", error)) from error


def _from_hub(hub_set: HubSet) -> Any:
    """The same from the Hugging Face hub, or from its cache after an earlier download."""
    import datasets

    datasets.disable_progress_bars()
    repository, revision = hub_set.repository, hub_set.revision
    try:
        probe(repository, revision)
    except Exception as unreachable:  # of many unrelated types
        try:
            with _offline():
                found = datasets.load_dataset(repository, revision=revision)
        except (OSError, ValueError, datasets.exceptions.DatasetsError):
            raise Failure(_how_to_bring(hub_set, "the hub", unreachable)) from unreachable
        _warn_of_other_revision(hub_set, found)
        return found
    try:
        return datasets.load_dataset(repository, revision=revision)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise Failure(_how_to_bring(hub_set, "the hub", error)) from error


def _warn_of_other_revision(hub_set: HubSet, found: Any) -> None:
    """Without a network the libraries take whatever revision they have."""
    revision = Path(found["train"].cache_files[0]["filename"]).parent.name
    if revision != hub_set.revision:
        print(
            f"warning: {hub_set.name} is an earlier download of another revision, {revision}; "
            f"{hub_set.revision} cannot be reached",
            file=sys.stderr,
        )


@contextmanager
def _offline() -> Iterator[None]:
    """Let the libraries use their cache alone; otherwise they would retry for half a minute."""
    import datasets
    import huggingface_hub

    places = (datasets.config, huggingface_hub.constants)
    before = [place.HF_HUB_OFFLINE for place in places]
    try:
        for place in places:
            place.HF_HUB_OFFLINE = True
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value


def _how_to_bring(hub_set: HubSet, place: str, error: Exception) -> str:
    reason = f"{error}".strip().partition("\n")[0] or type(error).__name__
    return (
        f"cannot read {hub_set.name} from {place}: {reason}\n"
        f"       Without a network: put the Parquet files of {HUB}/{hub_set.repository}\n"
        "       into a folder and set DATA_FILES to it (--data-files …);\n"
        "       or train on DATASET=digits, which needs no network"
    )


def _decode(hub_set: HubSet, split: Any, workers: int, scratch: str) -> tuple[Tensor, Tensor]:
    """(images uint8 [n, (3,) size, size], labels int64 [n]) of a datasets.Dataset."""
    import datasets

    size, image = hub_set.size, hub_set.image
    mode = "L" if hub_set.channels == 1 else "RGB"
    pixels = (
        datasets.Array2D((size, size), "uint8")
        if hub_set.channels == 1
        else datasets.Array3D((hub_set.channels, size, size), "uint8")
    )
    processes = min(workers, len(split) // 1000)  # starting one costs more than that
    try:
        _check_columns(hub_set, split)
        labels = _checked_labels(hub_set, split[hub_set.label][:])
        decoded = (
            split.select_columns([image])
            .cast_column(image, datasets.Image(decode=False))
            .map(
                partial(_pixels, image=image, size=size, mode=mode, split=str(split.split)),
                with_indices=True,
                batched=True,
                input_columns=image,
                features=datasets.Features({image: pixels}),
                num_proc=processes if processes > 1 else None,
                cache_file_name=f"{scratch}/{split.split}.arrow",
            )
        )
        return torch.from_numpy(decoded.with_format("numpy", dtype=np.uint8)[:][image]), labels
    except (OSError, ValueError, TypeError) as error:
        raise Failure(f"{hub_set.name}: a file is not as expected: {error}") from error


def _check_columns(hub_set: HubSet, split: Any) -> None:
    """Raise ValueError unless `split` has both columns and the right number of classes."""
    wanted = (hub_set.image, hub_set.label)
    if not {*wanted} <= {*split.column_names}:
        raise ValueError(f"columns {' and '.join(wanted)} expected, found {split.column_names}")
    names = getattr(split.features[hub_set.label], "names", None)
    if names is not None and len(names) != len(hub_set.classes):
        raise ValueError(f"{len(hub_set.classes)} classes expected, found {len(names)}")


def _checked_labels(hub_set: HubSet, labels: list[int | None]) -> Tensor:
    n = len(hub_set.classes)
    for label in labels:
        if label is None or not 0 <= label < n:
            raise ValueError(f"label {label} in column {hub_set.label} is not one of 0 to {n - 1}")
    return torch.tensor(labels)


def _pixels(
    encoded: list[dict[str, Any]], rows: list[int], image: str, size: int, mode: str, split: str
) -> dict[str, Any]:
    """{image: uint8 [n, (3,) size, size]} of image files, in RGB or grey by `mode`."""
    images = []
    for row, one in zip(rows, encoded, strict=True):
        try:
            pixels = np.asarray(decode(one["bytes"]).convert(mode))
        except BrokenImage as error:
            raise ValueError(f"{split} image {row}: {error}") from error
        height, width = pixels.shape[:2]
        if (height, width) != (size, size):
            raise ValueError(f"{split} image {row}: {width} × {height} pixels, not {size} × {size}")
        images.append(pixels)
    stack = np.stack(images)
    return {image: stack if mode == "L" else np.ascontiguousarray(stack.transpose(0, 3, 1, 2))}
