# SPDX-License-Identifier: MIT
"""Folders of a user: what is found in them, by which rule, and what is refused."""

import errno
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.data.images.folder import find_images, is_image
from lib.errors import BadUse, Failure
from tests.image_files import write_classes


def listed(collection):
    return {split: records.keys.tolist() for split, records in collection.splits.items()}


def test_class_folders_in_the_order_of_their_names(tmp_path):
    write_classes(tmp_path, {"b": 2, "a": 1, "B": 1})
    found = find_images(tmp_path)
    assert found.classes == ["B", "a", "b"]
    assert listed(found) == {"train": ["B/000.jpg", "a/000.jpg", "b/000.jpg", "b/001.jpg"]}
    assert found.splits["train"].labels.tolist() == [0, 1, 2, 2]
    assert found.splits["train"].name(1) == str(tmp_path / "a" / "000.jpg")
    assert found.ignored == 0


@pytest.mark.parametrize("val", ["val", "validation"])
def test_folders_of_splits(tmp_path, val):
    for split in ("train", val, "test"):
        write_classes(tmp_path / split, {"a": 1, "b": 1})
    found = find_images(tmp_path)
    assert list(found.splits) == ["train", "val", "test"]
    assert listed(found)["val"] == [f"{val}/a/000.jpg", f"{val}/b/000.jpg"]


def test_hidden_files_other_files_and_deeper_folders(tmp_path):
    write_classes(tmp_path, {"a": 1, "b": 1, "a/more/yet": 1, ".git": 1, "b/.thumbs": 3})
    for name in ("a/notes.txt", "b/.hidden.jpg", "README", "b/more.json"):
        (tmp_path / name).write_text("x")
    found = find_images(tmp_path)
    assert listed(found) == {"train": ["a/000.jpg", "a/more/yet/000.jpg", "b/000.jpg"]}
    assert found.ignored == 3


def test_names_of_any_kind(tmp_path):
    write_classes(tmp_path, {"a": 1, "with space\n": 1})
    odd = os.fsdecode(b"\xff\xfe.PNG")
    (tmp_path / "a" / odd).write_bytes(b"")
    found = find_images(tmp_path)
    assert listed(found)["train"] == ["a/000.jpg", f"a/{odd}", "with space\n/000.jpg"]


def test_links_to_files_and_folders_are_followed(tmp_path):
    write_classes(tmp_path / "store", {"x": 2})
    root = tmp_path / "root"
    write_classes(root, {"a": 1})
    (root / "b").symlink_to(tmp_path / "store" / "x")
    (root / "a" / "link.jpg").symlink_to(tmp_path / "store" / "x" / "000.jpg")
    assert len(listed(find_images(root))["train"]) == 4
    (root / "a" / "self").symlink_to(root / "a")
    with pytest.raises(BadUse, match="a link to a folder that holds it"):
        find_images(root)
    (root / "a" / "self").unlink()
    (root / "a" / "gone.jpg").symlink_to(tmp_path / "nowhere")
    with pytest.raises(Failure, match=r"gone\.jpg: cannot be read: No such file"):
        find_images(root)


def _no_class(root):
    (root / "a.txt").write_text("")


def _images_without_class(root):
    write_classes(root, {"": 2})


def _loose(root):
    write_classes(root, {"a": 1, "b": 1, "": 2})


def _empty_class(root):
    write_classes(root, {"a": 1, "b": 0})
    (root / "b" / "x.txt").write_text("")


def _one_class(root):
    write_classes(root, {"only": 3})


def _other_classes(root):
    write_classes(root / "train", {"a": 1, "b": 1})
    write_classes(root / "val", {"a": 1, "c": 1, "d": 1})


def _two_vals(root):
    for name in ("train", "val", "validation"):
        write_classes(root / name, {"a": 1, "b": 1})


def _strange(root):
    for name in ("train", "extra"):
        write_classes(root / name, {"a": 1, "b": 1})


REFUSED = {
    _no_class: "there are no class folders in it",
    _images_without_class: "there are 2 images, but no class folders",
    _loose: r"2 images lie beside the class folders, the first is 000\.jpg",
    _empty_class: r"/b: a class folder without images, though 1 other files",
    _one_class: "a single class, only",
    _other_classes: r"train/ and val/ need the same class folders; only in train/: b; "
    r"only in val/: c, d",
    _two_vals: "both val and validation",
    _strange: r"there may be val/, validation/, test/; extra/ is none of them",
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__.strip("_"))
def test_what_is_arranged_otherwise_is_refused(tmp_path, make):
    make(tmp_path)
    with pytest.raises(BadUse, match=REFUSED[make]):
        find_images(tmp_path)


def test_no_folder_is_refused(tmp_path):
    with pytest.raises(BadUse, match=re.escape(f"{tmp_path}/x: there is no such folder")):
        find_images(tmp_path / "x")


def test_a_folder_that_cannot_be_read_is_a_failure(tmp_path, monkeypatch):
    write_classes(tmp_path, {"a": 1, "b": 1})
    scan = os.scandir

    def refused(path):
        if path.name == "a":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.raises(Failure, match=r"/a: cannot be read: Permission denied"):
        find_images(tmp_path)


@given(st.sampled_from([".jpg", ".JPEG", ".png", ".webp", ".tif", ".bmp", ".gif", ".ppm"]))
def test_names_of_images(suffix):
    assert is_image(f"x{suffix}")


@given(st.sampled_from(["x", "jpg", "x.txt", "x.pdf", "x.jpg.part", "x.", "x.mp4"]))
def test_names_of_other_files(name):
    assert not is_image(name)
