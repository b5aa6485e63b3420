# SPDX-License-Identifier: MIT
"""MNIST (LeCun, Cortes and Burges): 60,000 training and 10,000 test images of 28 × 28 pixels.

They come from ylecun/mnist on the Hugging Face hub, or from Parquet files of the same schema (an
`image` with its PNG bytes, a `label`) in a local folder. They are decoded once and kept in one
file.
"""

import hashlib
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lib.data.cache import Tensors, cached
from lib.data.hub import probe
from lib.errors import BadUse, Failure

HUB = "huggingface.co/datasets"
REPOSITORY = "ylecun/mnist"
SIZE = 28


def load(data_dir: Path, files: str = "", workers: int = 0) -> Tensors:
    """train_images, test_images: uint8 [n, 28, 28]; train_labels, test_labels: int64 [n].

    `files` is a folder with train-*.parquet and test-*.parquet, empty for the hub. `workers`
    processes decode the images, 0 for one per core. Raises BadUse when `files` does not hold them,
    Failure when the hub cannot be reached or an image cannot be read.
    """

    def build() -> Tensors:
        data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=data_dir, prefix=".mnist-") as scratch:
            splits = _from_files(_local_files(Path(files)), scratch) if files else _from_hub()
            tensors = {}
            for split in ("train", "test"):
                decoded = _decode(splits[split], workers or os.cpu_count() or 1, scratch)
                tensors[f"{split}_images"], tensors[f"{split}_labels"] = decoded
            return tensors

    return cached(prepared_file(data_dir, files), build)


def prepared_file(data_dir: Path, files: str = "") -> Path:
    """Where `load` keeps the images; other local files, or changed ones, are kept separately."""
    key = f"-{_key(_local_files(Path(files)))}" if files else ""
    return data_dir / f"mnist{key}.safetensors"


def to_canvas(images: Tensor) -> Tensor:
    """Padded with background to float32 [n, 1, 32, 32] in [0, 1]."""
    return F.pad(images[:, None].float() / 255, (2, 2, 2, 2))


def _local_files(folder: Path) -> dict[str, list[str]]:
    found = {
        split: sorted(str(path) for path in folder.glob(f"{split}-*.parquet"))
        for split in ("train", "test")
    }
    missing = [f"{split}-*.parquet" for split, paths in found.items() if not paths]
    if missing:
        raise BadUse(
            f"DATA_FILES={folder}: no {' and no '.join(missing)} there. Give the folder "
            f"with the Parquet files of {REPOSITORY}, or leave DATA_FILES empty to download them"
        )
    return found


def _key(sources: dict[str, list[str]]) -> str:
    """8 hex digits that depend on the path, size and time of each file."""
    paths = [Path(name).resolve() for names in sources.values() for name in names]
    stats = [path.stat() for path in paths]
    text = repr([(str(p), s.st_size, s.st_mtime_ns) for p, s in zip(paths, stats, strict=True)])
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _from_files(sources: dict[str, list[str]], scratch: str) -> Any:
    """A datasets.DatasetDict with the splits train and test, out of Parquet files."""
    import datasets  # 1.3 s; needed only once

    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset("parquet", data_files=sources, cache_dir=scratch)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise Failure(_how_to_bring("the files given", error)) from error


def _from_hub() -> Any:
    """The same from the Hugging Face hub, or from its cache after an earlier download."""
    import datasets

    datasets.disable_progress_bars()
    try:
        probe(REPOSITORY)
    except Exception as unreachable:  # of many unrelated types
        try:
            with _offline():
                return datasets.load_dataset(REPOSITORY)
        except (OSError, ValueError, datasets.exceptions.DatasetsError):
            raise Failure(_how_to_bring("the hub", unreachable)) from unreachable
    try:
        return datasets.load_dataset(REPOSITORY)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise Failure(_how_to_bring("the hub", error)) from error


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


def _how_to_bring(place: str, error: Exception) -> str:
    reason = f"{error}".strip().partition("\n")[0] or type(error).__name__
    return (
        f"cannot read MNIST from {place}: {reason}\n"
        f"       Without a network: put the Parquet files of {HUB}/{REPOSITORY}\n"
        "       into a folder and set DATA_FILES to it (--data-files …);\n"
        "       or train on DATASET=digits, which needs no network"
    )


def _decode(split: Any, workers: int, scratch: str) -> tuple[Tensor, Tensor]:
    """(images uint8 [n, 28, 28], labels int64 [n]) of a datasets.Dataset."""
    import datasets

    kinds = datasets.Features(
        image=datasets.Array2D((SIZE, SIZE), "uint8"), label=datasets.Value("uint8")
    )
    processes = min(workers, len(split) // 1000)  # starting one costs more than that
    try:
        if set(split.column_names) != {"image", "label"}:
            raise ValueError(f"columns image and label expected, found {split.column_names}")
        decoded = split.cast_column("image", datasets.Image(decode=False)).map(
            _pixels,
            batched=True,
            input_columns="image",
            features=kinds,
            num_proc=processes if processes > 1 else None,
            cache_file_name=f"{scratch}/{split.split}.arrow",
        )
        columns = decoded.with_format("numpy", dtype=np.uint8)[:]
        return torch.from_numpy(columns["image"]), torch.from_numpy(columns["label"]).long()
    except (OSError, ValueError, TypeError) as error:
        raise Failure(f"MNIST: a file is not as expected: {error}") from error


def _pixels(encoded: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    from PIL import Image

    images = [np.asarray(Image.open(io.BytesIO(one["bytes"])).convert("L")) for one in encoded]
    wrong = {image.shape for image in images} - {(SIZE, SIZE)}
    if wrong:
        raise ValueError(f"images of {wrong} pixels instead of {SIZE} × {SIZE}")
    return {"image": np.stack(images)}
