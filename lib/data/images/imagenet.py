# SPDX-License-Identifier: MIT
"""ImageNet (ILSVRC 2012; Russakovsky et al., 2015): from the hub, or from its files.

The hub's Parquet files are turned once into Arrow files, by the library `datasets`: from these any
row can be read. The official validation images, whose labels are public, are the test images here;
the hub's test images have no labels and are not used.
"""

import hashlib
import re
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BadUse, Failure
from ..hub import probe
from .folder import find_images
from .records import Collection, Records, TableReader

REPOSITORY = "ILSVRC/imagenet-1k"
REVISION = "49e2ee26f3810fb5a7536bbf732a7b07389a47b5"
SPLITS = {"train": "train", "validation": "test"}  # of the hub, and what they are here
FOLDERS = {"train": "train", "val": "test", "validation": "test"}


def find_imagenet(files: str, data_dir: Path) -> Collection:
    """The images of ImageNet: in the folder `files`, or those of the hub if that is empty.

    The folder has train-*.parquet and validation-*.parquet, or train/ and val/ with class folders.
    Arrow files are kept in `data_dir`. Raises BadUse when the folder has neither, Failure when what
    is there cannot be read.
    """
    folder = Path(files) if files else _downloaded()
    if (folder / "train").is_dir():
        found = find_images(folder, FOLDERS)
        if "test" not in found.splits:
            raise BadUse(f"DATA_FILES={folder}: there is no val/ beside train/")
        return found
    paths = _parquet_files(folder)
    stats = [(path, Path(path).stat()) for found in paths.values() for path in found]
    stamp = repr([(path, s.st_size, s.st_mtime_ns) for path, s in stats])
    return _collection(_as_arrow(paths, data_dir), str(folder.resolve()), stamp)


def _parquet_files(folder: Path) -> dict[str, list[str]]:
    """The paths of each of SPLITS. Raises BadUse when some are missing."""
    paths = {name: sorted(map(str, folder.glob(f"{name}-*.parquet"))) for name in SPLITS}
    missing = [f"{name}-*.parquet" for name, found in paths.items() if not found]
    if missing:
        raise BadUse(
            f"DATA_FILES={folder}: no {' and no '.join(missing)}, and no folders train/ and val/. "
            f"Give the folder with the Parquet files of {REPOSITORY} or with class folders, or "
            "leave DATA_FILES empty to download them"
        )
    for name, found in paths.items():
        total = re.search(r"-of-(\d+)\.parquet$", found[0])
        if total and int(total[1]) != len(found):
            raise BadUse(
                f"DATA_FILES={folder}: {len(found)} of {int(total[1])} files {name}-*.parquet"
            )
    return paths


def _downloaded() -> Path:
    """The folder of the hub's Parquet files; the network is used only if some are missing."""
    from huggingface_hub import snapshot_download

    patterns = [f"data/{name}-*.parquet" for name in SPLITS]
    fetch = partial(
        snapshot_download, REPOSITORY, repo_type="dataset", revision=REVISION,
        allow_patterns=patterns,
    )  # fmt: skip
    with suppress(Exception):  # of many unrelated types, whatever is missing
        folder = Path(fetch(local_files_only=True), "data")
        _parquet_files(folder)
        return folder
    try:
        probe(REPOSITORY, REVISION)
        return Path(fetch(), "data")
    except Exception as error:
        raise Failure(
            f"cannot download {REPOSITORY} from the hub: {_reason(error)}\n"
            f"       Accept its terms at huggingface.co/datasets/{REPOSITORY}, then log in with\n"
            "       `huggingface-cli login`. Without a network: put its Parquet files, or train/\n"
            "       and val/ with class folders, into a folder and set DATA_FILES to it"
        ) from error


def _as_arrow(paths: dict[str, list[str]], data_dir: Path) -> Any:
    """A datasets.DatasetDict with the splits train and validation, made once."""
    import datasets  # 1.3 s

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(
            "parquet", data_files=paths, cache_dir=str(data_dir / "imagenet-arrow")
        )
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise Failure(f"cannot read the Parquet files of ImageNet: {_reason(error)}") from error


def _collection(splits: Any, place: str, stamp: str) -> Collection:
    """Records of a datasets.DatasetDict; another `stamp` says that all images may have changed."""
    number = int.from_bytes(hashlib.sha256(stamp.encode()).digest()[:7], "big")
    found = {ours: _records(splits[name], name, number) for name, ours in SPLITS.items()}
    label = splits["train"].features["label"]
    count = int(max(records.labels.max() for records in found.values())) + 1
    classes = getattr(label, "names", None) or [str(i) for i in range(count)]
    return Collection(found, [*classes], place)


def _records(table: Any, title: str, stamp: int) -> Records:
    """The rows of a datasets.Dataset with the columns image and label."""
    import datasets

    if not {"image", "label"} <= set(table.column_names):
        raise Failure(
            f"ImageNet, {title}: columns image and label expected, found {table.column_names}"
        )
    table = table.cast_column("image", datasets.Image(decode=False))
    labels = table.with_format("numpy")["label"][:].astype(np.int64)
    if len(labels) == 0 or labels.min() < 0:
        raise Failure(f"ImageNet, {title}: images without labels")
    keys = np.empty(len(labels), object)
    keys[:] = [str(row) for row in range(len(labels))]
    files = tuple(file["filename"] for file in table.cache_files)
    stamps = np.tile(np.array([stamp, 0], np.int64), (len(labels), 1))
    return Records(TableReader(files, f"ImageNet, {title}"), keys, labels, stamps)


def _reason(error: Exception) -> str:
    return f"{error}".strip().partition("\n")[0] or type(error).__name__
