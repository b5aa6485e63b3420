# SPDX-License-Identifier: MIT
"""A directory appears as a whole, and replaces its own kind and nothing else."""

import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from lib import lock
from lib.data.text.tokenizers import load_tokenizer
from lib.errors import BadUse, Failure
from lib.huggingface import directory
from lib.huggingface.directory import Release, write

NAMES = {"config.json", "generation_config.json", "README.md", "model.safetensors", "export.json"}
NAMES |= {"tokenizer.json", "tokenizer_config.json"}


def release(value: float = 0.0, n: int = 10) -> Release:
    weights = {"w": torch.full((n, 2), value).t()}
    return Release({"model_type": "m"}, {}, weights, load_tokenizer("bytes"), 16, "use()")


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_all_files_appear_and_are_listed(tmp_path):
    size = write(tmp_path / "new" / "hf", release(2.0), "# card\n", {"run": "r", "step": 3})
    folder = tmp_path / "new" / "hf"
    assert names(folder) == NAMES and names(tmp_path / "new") == {"hf"}
    listed = json.loads((folder / "export.json").read_text())
    assert (listed["run"], listed["step"]) == ("r", 3)
    assert set(listed["files"]) == NAMES - {"export.json"}
    assert size == sum((folder / name).stat().st_size for name in listed["files"])
    assert torch.equal(load_file(folder / "model.safetensors")["w"], torch.full((2, 10), 2.0))
    assert (folder / "model.safetensors").stat().st_mode == (folder / "README.md").stat().st_mode


def test_an_export_is_replaced_through_a_link(tmp_path):
    write(tmp_path / "real", release(), "old", {})
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link", release(), "new", {})
    assert (tmp_path / "real" / "README.md").read_text() == "new"
    assert (tmp_path / "link").is_symlink() and names(tmp_path) == {"real", "link"}


def add_a_file(folder):
    (folder / "notes.txt").write_text("mine")


def edit_the_card(folder):
    (folder / "README.md").write_text("better")


def damage_the_list(folder):
    (folder / "export.json").write_text("[]")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (add_a_file, "did not write: notes.txt"),
        (edit_the_card, "did not write: README.md"),
        (damage_the_list, "did not write: README.md, config.json, export.json"),
    ],
)
def test_what_somebody_changed_is_not_replaced(tmp_path, change, named):
    write(tmp_path / "hf", release(), "card", {})
    change(tmp_path / "hf")
    before = {path.name: path.read_bytes() for path in (tmp_path / "hf").iterdir()}
    with pytest.raises(BadUse, match=named):
        write(tmp_path / "hf", release(1.0), "card", {})
    assert {path.name: path.read_bytes() for path in (tmp_path / "hf").iterdir()} == before
    assert names(tmp_path) == {"hf"}


def test_a_file_is_not_replaced_and_an_empty_directory_is(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BadUse, match=r"file is a file\. Move it away.*OUT=directory"):
        write(tmp_path / "file", release(), "card", {})
    assert (tmp_path / "file").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", release(), "card", {})
    assert names(tmp_path / "empty") == NAMES


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, error):
    def full(*_):
        raise error

    write(tmp_path / "hf", release(), "old", {})
    monkeypatch.setattr(directory, "save_file", full)
    with pytest.raises(Failure, match=r"cannot write .*hf: .*No space left on device"):
        write(tmp_path / "hf", release(), "new", {})
    assert (tmp_path / "hf" / "README.md").read_text() == "old"
    assert names(tmp_path) == {"hf"}


def test_two_exports_at_once_leave_one_whole(tmp_path):
    def export(number: int) -> int:
        return write(tmp_path / "hf", release(number, n=1000), f"{number}", {"step": number})

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(export, range(10, 22)))) == 1
    of = int((tmp_path / "hf" / "README.md").read_text())
    assert bool((load_file(tmp_path / "hf" / "model.safetensors")["w"] == of).all())
    assert json.loads((tmp_path / "hf" / "export.json").read_text())["step"] == of
    assert names(tmp_path) == {"hf"}


def test_what_a_killed_export_left_is_removed_and_a_live_one_is_not(tmp_path):
    for name in (".hf.dead.export", ".hf.live.export"):
        (tmp_path / name).mkdir()
    held = lock.hold(tmp_path / ".hf.live.export" / ".lock")
    for name in (".hf.dead.export", ".hf.live.export"):
        os.utime(tmp_path / name, (0, 0))
    try:
        write(tmp_path / "hf", release(), "card", {})
    finally:
        lock.release(held)
    assert names(tmp_path) == {"hf", ".hf.live.export"}
