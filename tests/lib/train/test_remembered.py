# SPDX-License-Identifier: MIT
"""What a trial found is kept for its key, by whoever was first, and damage counts as nothing."""

import json

import pytest

from lib.train import remembered
from lib.train.remembered import recall, remember

KEY, FOUND, OTHER = {"cpu": "x", "batch": 8}, {"precision": "bfloat16"}, {"precision": "float32"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ADAMWPRUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_each_key_has_its_own():
    assert recall(KEY) is None
    assert remember(KEY, FOUND) == FOUND == recall(KEY)
    assert recall({"batch": 8, "cpu": "x"}) == FOUND, "the order makes no difference"
    assert recall({**KEY, "batch": 9}) is None


def test_of_two_that_try_at_once_the_first_counts():
    remember(KEY, FOUND)
    assert remember(KEY, OTHER) == FOUND == recall(KEY)


@pytest.mark.parametrize("damage", [b"", b"[]", b"{}", b"\xff\xfe", b"cut", b"changed"])
def test_a_damaged_file_counts_as_none_and_is_replaced(damage, cache):
    remember(KEY, FOUND)
    (path,) = cache.glob("trials/*.json")
    whole = path.read_bytes()
    damaged = {b"cut": whole[:-9], b"changed": whole.replace(b"bfloat16", b"bfloat17")}
    path.write_bytes(damaged.get(damage, damage))
    assert recall(KEY) is None
    assert remember(KEY, OTHER) == OTHER == recall(KEY)


def test_nothing_else_is_left_in_the_folder(cache):
    remember(KEY, FOUND)
    remember(KEY, OTHER)
    (path,) = (cache / "trials").iterdir()
    assert json.loads(path.read_text())["key"] == KEY


def test_where_nothing_can_be_written_the_trial_counts(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ADAMWPRUNE_CACHE", str(tmp_path / "file"))
    assert remember(KEY, FOUND) == FOUND and recall(KEY) is None


def test_it_lies_in_the_cache_of_the_user(tmp_path, monkeypatch):
    monkeypatch.delenv("ADAMWPRUNE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    remember(KEY, FOUND)
    assert len(list((tmp_path / "adamwprune" / "trials").iterdir())) == 1
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    remember(KEY, FOUND)
    assert len(list((tmp_path / "home" / ".cache" / "adamwprune" / "trials").iterdir())) == 1
    monkeypatch.setattr(
        remembered.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home"))
    )
    assert remember(KEY, FOUND) == FOUND and recall(KEY) is None
