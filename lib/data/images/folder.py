# SPDX-License-Identifier: MIT
"""Images of a user in class folders: which there are, without opening them.

    flowers/rose/1.jpg, flowers/tulip/a.png, …                  divided by VAL_FRACTION and SEED
    flowers/train/rose/1.jpg, flowers/val/rose/2.jpg, …         with train/, val/ and perhaps test/

A class is a folder; its name is that of the class, and classes are numbered in the order of their
names. Images in folders within it are of that class, too. What begins with a dot is hidden: it
counts for nothing. Other files are images if Pillow knows the end of their names; those that are
not are counted and left alone.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...errors import BadUse, Failure
from .records import Collection, FileReader, Records

SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}


def find_images(root: Path, splits: dict[str, str] = SPLITS) -> Collection:
    """The images below `root`. `splits`: what folders beside train/ are called, and what they are.

    Raises BadUse when `root` is not arranged like this: no folder, no class, a class without
    images, images outside classes, classes that differ between splits.
    """
    root = root.absolute()
    folders = _folders(root)
    if "train" in folders:
        return _of_splits(root, folders, splits)
    records, classes, ignored = _of_classes(root, root)
    return Collection({"train": records}, classes, str(root.resolve()), ignored)


def _of_splits(root: Path, folders: list[str], splits: dict[str, str]) -> Collection:
    strange = sorted(set(folders) - set(splits))
    twice = [name for name in ("val", "validation") if name in folders and name in splits]
    if strange or len(twice) > 1:
        problem = f"{strange[0]}/ is none of them" if strange else f"both {' and '.join(twice)}"
        raise BadUse(
            f"DATA_FILES={root}: beside train/ there may be {', '.join(_others(splits))}; {problem}"
        )
    found: dict[str, Records] = {}
    classes: list[str] = []
    ignored = 0
    for name in sorted(folders, key=lambda name: list(splits).index(name)):
        records, its_classes, its_ignored = _of_classes(root, root / name)
        if name != "train" and its_classes != classes:
            raise BadUse(_different(root, name, classes, its_classes))
        found[splits[name]], classes = records, its_classes
        ignored += its_ignored
    return Collection(found, classes, str(root.resolve()), ignored)


def _others(splits: dict[str, str]) -> list[str]:
    return [f"{name}/" for name in splits if name != "train"]


def _different(root: Path, name: str, train: list[str], other: list[str]) -> str:
    def only(one: list[str], two: list[str]) -> str:
        names = sorted(set(one) - set(two))
        return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

    parts = [
        f"only in {where}/: {names}"
        for where, names in (("train", only(train, other)), (name, only(other, train)))
        if names
    ]
    return f"DATA_FILES={root}: train/ and {name}/ need the same class folders; {'; '.join(parts)}"


def _of_classes(root: Path, folder: Path) -> tuple[Records, list[str], int]:
    """(images of the class folders in `folder`, the classes, how many other files there are)."""
    classes = _folders(folder)
    loose = [entry.name for entry in _entries(folder) if entry.is_file() and is_image(entry.name)]
    if not classes:
        what = f"{len(loose)} images, but no" if loose else "no"
        raise BadUse(
            f"DATA_FILES={folder}: there are {what} class folders in it. Give a folder that has "
            "one folder of images for each class, or train/ and val/ with such folders"
        )
    if loose:
        raise BadUse(
            f"{folder}: {len(loose)} images lie beside the class folders, the first is "
            f"{sorted(loose)[0]}: move them into the folder of their class, or elsewhere"
        )
    if len(classes) == 1:
        raise BadUse(f"{folder}: a single class, {classes[0]}; there must be two at least")
    above = f"{root}{os.sep}"
    keys: list[str] = []
    labels: list[int] = []
    stamps: list[tuple[int, int]] = []
    ignored = sum(entry.is_file() for entry in _entries(folder))
    for label, name in enumerate(classes):
        images, others = _images(folder / name)
        ignored += others
        if not images:
            files = f", though {others} other files" if others else ""
            raise BadUse(f"{folder / name}: a class folder without images{files}")
        keys += [path[len(above) :] for path, _ in images]
        stamps += [stamp for _, stamp in images]
        labels += [label] * len(images)
    names = np.empty(len(keys), object)
    names[:] = keys
    reader = FileReader(str(root.resolve()))
    records = Records(reader, names, np.array(labels, np.int64), np.array(stamps, np.int64))
    return records, classes, ignored


def _images(folder: Path) -> tuple[list[tuple[str, tuple[int, int]]], int]:
    """Images below `folder`, as (path, (size, time of change in ns)), and how many others."""
    images, others = [], 0
    for entry in _files(folder, ()):
        if is_image(entry.name):
            try:
                status = entry.stat()
            except OSError as error:
                raise Failure(f"{entry.path}: cannot be read: {error.strerror}") from error
            images.append((entry.path, (status.st_size, status.st_mtime_ns)))
        else:
            others += 1
    return sorted(images), others


def _files(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[os.DirEntry]:
    """All visible files below `folder`, which lies in the folders (device, inode) `above`."""
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        raise BadUse(f"{folder}: a link to a folder that holds it")
    for entry in _entries(folder):
        if entry.is_dir():
            yield from _files(Path(entry.path), (*above, here))
        else:
            yield entry


def _folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in _entries(folder) if entry.is_dir())


def _entries(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        raise BadUse(f"DATA_FILES={folder}: there is no such folder") from None
    except OSError as error:
        raise Failure(f"{folder}: cannot be read: {error.strerror}") from error


def is_image(name: str) -> bool:
    """Whether the end of the name is one that Pillow knows, as .jpg or .PNG."""
    from PIL import Image

    known = Image.registered_extensions()  # loads all formats at the first call
    return known.get(Path(name).suffix.lower()) in Image.OPEN
