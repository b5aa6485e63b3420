# SPDX-License-Identifier: MIT
"""`gc`: what nothing refers to goes, and every version of a kept run stays; the hash of data."""

import os
import time

import pytest

from lib.runs.keep.data import data_hash
from lib.runs.keep.discard import discard, trash_of
from lib.runs.keep.dvc import dvc
from lib.runs.keep.garbage import collect, find
from lib.runs.keep.git import git
from lib.runs.keep.keep import keep
from lib.runs.keep.pull import pull
from lib.runs.keep.repository import Repository
from lib.runs.stored import load_run
from tests.lib.runs.keep.conftest import RUNS, train


@pytest.mark.slow
def test_versions_that_only_the_cache_has_stay(tree):
    run = train(tree, "a")
    repository = Repository.of(RUNS)
    keep(run)
    (run / "logs" / "train.log").write_text("more\n")
    keep(run)
    git("rm", "-q", "outputs/training/a.dvc", "outputs/training/a.summary.yaml", at=tree)
    git("commit", "-q", "-m", "no longer", at=tree)
    dvc("add", "-q", "--no-relink", str(train(tree, "b")), at=tree)
    (RUNS / "b.dvc").unlink()
    half = tree / ".dvc/cache/files/md5/00/.half.tmp"
    half.parent.mkdir()
    half.write_bytes(b"x")
    os.utime(half, (0, 0))
    train(tree, "old")
    discard(load_run(RUNS / "old"))
    day = time.strftime("%Y%m%d", time.localtime(time.time() - 31 * 86400))
    (trashed,) = trash_of(RUNS)
    trashed.rename(trashed.with_name(f"old@{day}-120000.0-1"))
    before = {path for path in repository.cache.rglob("*") if path.is_file()}
    assert find(repository).objects == []  # a `dvc add` may be under way
    for path in before:
        os.utime(path, (0, 0))
    garbage = find(repository)
    assert {path for path in repository.cache.rglob("*") if path.is_file()} == before
    assert (len(garbage.trash), garbage.halves) == (1, [half])
    assert garbage.objects
    assert garbage.size > 1
    collect(repository, garbage)
    left = {path for path in repository.cache.rglob("*") if path.is_file()}
    assert left == before - {half, *garbage.objects}
    assert trash_of(RUNS) == []
    run.rename(run.with_name("mine"))
    for tag in ("run/a", "run/a.v2"):  # nothing was pushed: there is no remote
        assert pull(repository, "a", tag=tag).new
        run.rename(run.with_name(tag.replace("/", "-")))
    again = find(repository)
    assert (again.trash, again.objects, again.halves, again.size) == ([], [], [], 0)


@pytest.mark.slow
def test_a_shared_cache_is_left_alone(tree, tmp_path):
    with (tree / ".dvc/config").open("a") as file:
        file.write(f"[cache]\n    dir = {tmp_path / 'shared'}\n")
    repository = Repository.of(train(tree, "a").parent)
    used_elsewhere = tmp_path / "shared/files/md5/00/11"
    used_elsewhere.parent.mkdir(parents=True)
    used_elsewhere.touch()
    os.utime(used_elsewhere, (0, 0))
    garbage = find(repository)
    assert (garbage.is_shared, garbage.objects) == (True, [])
    assert repository.cache == tmp_path / "shared"
    collect(repository, garbage)
    assert used_elsewhere.exists()


@pytest.mark.slow
def test_data_under_dvc_have_a_hash(tree):
    (tree / "data/digits").mkdir(parents=True)
    (tree / "data/digits/x.bin").write_text("1")
    (tree / "texts").mkdir()
    (tree / "texts/a.txt").write_text("a")
    assert data_hash({"DATA_DIR": "data", "DATA_FILES": ""}, {"name": "digits"}) is None
    with (tree / ".gitignore").open("r+") as file:
        text = file.read().replace("/data/\n", "")
        file.seek(0)
        file.truncate()
        file.write(text)
    dvc("add", "-q", "data", "texts/a.txt", at=tree)
    folder = data_hash({"DATA_DIR": "data", "DATA_FILES": ""}, {"name": "digits"})
    assert folder is not None
    assert folder.endswith(".dir")
    assert f"md5: {folder}" in (tree / "data.dvc").read_text()
    assert data_hash({"DATA_DIR": str(tree / "data")}, {}) == folder
    listed = data_hash({"DATA_DIR": "data", "DATA_FILES": "texts/a.txt b/*.txt"}, {"name": "x"})
    assert listed == "0cc175b9c0f1b6a831c399e269772661"  # md5 of "a"
