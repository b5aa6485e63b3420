# SPDX-License-Identifier: MIT
"""Image folders: what is prepared, broken images, changes, what fits and what is refused."""

import errno
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lib.data.images import index, progress
from lib.data.images.from_settings import check_data, prepare_data
from lib.data.images.records import Collection, Facts, FileReader, Records
from lib.data.images.usable import Usable, parts
from lib.errors import BadUse, Failure
from lib.files import ROOT
from tests.image_files import encoded, picture, write_classes
from tests.image_sets import SIZE, all_of, load, options


@pytest.fixture
def folder(tmp_path):
    return write_classes(tmp_path / "images", {"a": 8, "b": 12})


def test_the_index_is_made_once_and_knows_what_changed(tmp_path, folder, monkeypatch):
    first = load(tmp_path).info
    monkeypatch.setattr(index, "examined", pytest.fail)
    assert load(tmp_path).info == first
    monkeypatch.undo()
    read = []
    monkeypatch.setattr(index.Index, "learn", _noting(index.Index.learn, read))
    (folder / "a" / "new.png").write_bytes(encoded(picture(99)))
    second = load(tmp_path).info
    assert second["sizes"] == {"train": 16, "val": 5} and read == [1]
    assert second["fingerprint"] != first["fingerprint"]
    (folder / "a" / "new.png").unlink()
    assert load(tmp_path).info["fingerprint"] == first["fingerprint"] and read == [1]
    os.utime(folder / "b" / "000.jpg", ns=(1, 1))
    assert load(tmp_path).info["fingerprint"] == first["fingerprint"] and read == [1, 1]


def _noting(learn, read):
    def noting(self, positions, facts):
        read.append(len(positions))
        return learn(self, positions, facts)

    return noting


def test_the_fingerprint_is_of_contents_and_classes_wherever_they_lie(tmp_path, folder):
    first = load(tmp_path).info["fingerprint"]
    shutil.copytree(folder, tmp_path / "copy")
    assert load(tmp_path, DATA_FILES=str(tmp_path / "copy")).info["fingerprint"] == first
    (tmp_path / "copy" / "a").rename(tmp_path / "copy" / "A")
    assert load(tmp_path, DATA_FILES=str(tmp_path / "copy")).info["fingerprint"] != first


class Killed(BaseException):
    pass


def test_an_interrupted_preparation_goes_on_where_it_was(tmp_path, monkeypatch):
    write_classes(tmp_path / "images", {"a": 40, "b": 40})
    whole = load(tmp_path, DATA_DIR=str(tmp_path / "other")).info
    read = []
    noting = _noting(index.Index.learn, read)

    def interrupted(self, positions, facts):
        if sum(read) > 50:
            raise Killed
        noting(self, positions, facts)

    monkeypatch.setattr(index.Index, "learn", interrupted)
    with pytest.raises(Killed):
        load(tmp_path)
    before = sum(read)
    monkeypatch.setattr(index.Index, "learn", noting)
    assert load(tmp_path).info == whole
    assert 0 < before < sum(read) == 80


PREPARATION = """
import sys
from pathlib import Path
from lib.data.images import index
from tests.image_sets import load
index.SAVE_SECONDS = 0.0
print(load(Path(sys.argv[1])).info["fingerprint"])
"""


@pytest.mark.slow
def test_a_preparation_that_is_killed_goes_on_where_it_was(tmp_path, monkeypatch):
    write_classes(tmp_path / "images", {"a": 600, "b": 600}, size=(12, 12))
    command = [sys.executable, "-c", PREPARATION, str(tmp_path)]
    killed = subprocess.Popen(command, cwd=ROOT)
    while not list(tmp_path.glob("data/*.index")) and killed.poll() is None:
        time.sleep(0.001)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL  # there was work left
    read = []
    monkeypatch.setattr(index.Index, "learn", _noting(index.Index.learn, read))
    found = load(tmp_path).info
    assert 0 < sum(read) < 1200
    shutil.rmtree(tmp_path / "data")
    assert load(tmp_path).info == found


def test_of_two_callers_one_reads_and_both_know(tmp_path, folder, monkeypatch):
    read, found = [], []
    noting = _noting(index.Index.learn, read)
    monkeypatch.setattr(index.Index, "learn", lambda *args: (time.sleep(0.2), noting(*args)))
    callers = [threading.Thread(target=lambda: found.append(load(tmp_path).info)) for _ in "ab"]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert found[0] == found[1] and sum(read) == 20


def test_a_damaged_index_is_made_again(tmp_path, folder, capsys):
    first = load(tmp_path).info
    [path] = (tmp_path / "data").glob("*.index")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(Failure, match=re.escape(f"{path}: cannot be read")):
        list(check_data(options(tmp_path)))
    assert load(tmp_path).info == first
    assert "reading the images again" in capsys.readouterr().err


def test_a_data_dir_that_cannot_be_written_costs_only_time(tmp_path, folder, capsys):
    (tmp_path / "data").write_text("a file")
    assert load(tmp_path).info["sizes"] == {"train": 15, "val": 5}
    assert "cannot write" in capsys.readouterr().err


def spoil(folder, *names):
    for name in names:
        (folder / name).write_bytes((folder / name).read_bytes()[:300])


def test_broken_images_stop_or_are_left_out(tmp_path, folder, capsys):
    spoil(folder, "a/001.jpg", "b/003.jpg")
    with pytest.raises(Failure) as failure:
        load(tmp_path)
    said = str(failure.value)
    assert said.startswith("2 of 20 images are broken:") and "BROKEN_IMAGES=skip" in said
    assert re.search(rf"{folder}/a/001\.jpg: .*[Tt]runcated", said)
    for memory in (0, 1):
        data = load(tmp_path, BROKEN_IMAGES="skip", IMAGE_MEMORY=memory)
        assert sum(data.info["sizes"].values()) == 18 and data.info["broken"] == 2
        assert f"{folder}/b/003.jpg" in capsys.readouterr().err
        assert len(all_of(data.train)[0]) == len(data.train)
    (folder / "a" / "001.jpg").write_bytes(encoded(picture(7)))
    assert load(tmp_path, BROKEN_IMAGES="skip").info["broken"] == 1


def test_of_many_broken_images_the_first_are_named(tmp_path):
    folder = write_classes(tmp_path / "images", {"a": 30, "b": 2})
    spoil(folder, *(f"a/{i:03}.jpg" for i in range(29)))
    with pytest.raises(Failure, match=r"(?s)29 of 32.*019\.jpg.*and 9 more"):
        load(tmp_path)
    spoil(folder, "a/029.jpg")
    with pytest.raises(Failure, match="No image is left of the class a in train"):
        load(tmp_path, BROKEN_IMAGES="skip")


def test_an_image_that_may_not_be_read_is_not_called_broken(tmp_path, folder, monkeypatch):
    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(Failure, match=r"a/000\.jpg: cannot be read: Permission denied"):
        load(tmp_path, BROKEN_IMAGES="skip")


def test_images_of_another_size_are_refused_without_resize(tmp_path):
    folder = write_classes(tmp_path / "images", {"a": 4, "b": 4}, size=(SIZE, SIZE))
    for memory in (0, 1):
        data = load(tmp_path, RESIZE=False, IMAGE_MEMORY=memory, AUGMENT=False)
        x = all_of(data.val)[0]
        paths = sorted(folder.glob("*/*.jpg"))
        pixels = torch.stack([torch.tensor(np.asarray(Image.open(p))) for p in paths])
        whole = {tuple((p / 255).flatten().tolist()[::97]) for p in pixels}
        mean, std = (torch.tensor(data.info["normalization"][k]).view(3, 1, 1)
                     for k in ("mean", "std"))  # fmt: skip
        back = (x * std + mean).permute(0, 2, 3, 1)
        for image in back:
            near = [np.abs(np.subtract(image.flatten().tolist()[::97], w)).max() for w in whole]
            assert min(near) < 1e-5
    write_classes(tmp_path / "images", {"a": 5}, size=(SIZE, SIZE + 1))
    with pytest.raises(BadUse, match=rf"a/000\.jpg with {SIZE} × {SIZE + 1}: set RESIZE=y"):
        load(tmp_path, RESIZE=False)


def test_normalisation_by_the_images_needs_them_in_memory(tmp_path, folder):
    x, _ = all_of(load(tmp_path, NORMALIZATION="data").train)
    assert x.mean(dim=(0, 2, 3)).abs().max() < 1e-3
    with pytest.raises(BadUse, match="IMAGE_MEMORY=0: set NORMALIZATION=imagenet"):
        load(tmp_path, NORMALIZATION="data", IMAGE_MEMORY=0)


def test_own_folders_for_validation_and_test(tmp_path):
    for number, split in enumerate(("train", "val", "test")):
        write_classes(tmp_path / "images" / split, {"a": 3, "b": 3}, first=10 * number)
    data = load(tmp_path)
    assert data.info["sizes"] == {"train": 6, "val": 6, "test": 6}
    assert data.info == load(tmp_path).info
    assert data.info["split"] == load(tmp_path, SEED=3).info["split"]
    assert not torch.equal(all_of(data.val)[0], all_of(data.test)[0])


def test_the_line_of_make_data_and_the_check(tmp_path, folder):
    line = prepare_data(options(tmp_path))
    assert re.fullmatch(r".*\.index: 15 train, 5 val images, fingerprint [0-9a-f]{16}", line)
    lines = list(check_data(options(tmp_path)))
    assert lines[0].endswith("20 images are as they were prepared") and len(lines) == 2
    spoil(folder, "a/001.jpg")
    (folder / "a" / "002.jpg").unlink()
    (folder / "b" / "new.jpg").write_bytes(b"")
    os.utime(folder / "b" / "001.jpg")
    checked = check_data(options(tmp_path))
    assert "18 images are as they were" in next(checked)
    with pytest.raises(Failure) as failure:
        next(checked)
    said = str(failure.value)
    assert f"{folder}/a/001.jpg: changed" in said and f"{folder}/b/new.jpg: added" in said
    assert "a/002.jpg: removed" in said and "b/001.jpg" not in said


def test_a_check_before_the_preparation_says_so(tmp_path, folder):
    with pytest.raises(Failure, match="`make data` prepares it"):
        list(check_data(options(tmp_path)))


def test_imagefolder_needs_a_folder(tmp_path):
    with pytest.raises(BadUse, match="imagefolder needs DATA_FILES"):
        load(tmp_path, DATA_FILES="")


@given(counts=st.lists(st.integers(4, 30), min_size=2, max_size=5), seed=st.integers(0, 2**32))
def test_a_split_is_complete_disjoint_and_class_by_class(counts, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    n = len(labels)
    keys = np.array([f"{i}" for i in range(n)], object)
    records = Records(FileReader(""), keys, labels, np.zeros((n, 2), np.int64))
    facts = Facts(np.zeros((n, 32), np.uint8), np.ones((n, 2), np.int32), [""] * n)
    found = Usable(Collection({"train": records}, [], ""), {"train": facts}, 0)
    divided = parts(found, 0.25, seed)
    train, val = (divided[name].indices for name in ("train", "val"))
    assert sorted([*train, *val]) == list(range(n))
    assert np.bincount(labels[val]).tolist() == [round(0.25 * count) for count in counts]
    assert divided["val"].records.keys.tolist() == keys[val].tolist()


def test_the_progress_of_a_long_reading_is_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    with progress.reading_progress("flowers", 40) as update:
        update(10)
    assert re.fullmatch(
        r"flowers: 10 of 40 images read, [\d,]+ a second, 0 minutes left\n", capsys.readouterr().err
    )


def test_on_a_terminal_it_is_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stderr", Terminal())
    with progress.reading_progress("flowers", 40) as update:
        update(10)
    assert "10/40" in sys.stderr.getvalue()
