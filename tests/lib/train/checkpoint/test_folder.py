# SPDX-License-Identifier: MIT
"""Directories that appear, are replaced and disappear as a whole, and what they consist of."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.train.checkpoint import CheckpointError, folder, manifest


def put(path, content):
    """A directory with one file."""
    temporary = folder.new_temporary(path)
    (temporary / "file").write_text(content)
    folder.put_in_place(temporary, path)


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_directory_replaces_another(tmp_path, monkeypatch, exchanges):
    if not exchanges:  # as on a file system that cannot
        monkeypatch.setattr(folder, "_exchange", lambda one, other: False)
    for content in ("one", "two", "three"):
        put(tmp_path / "run" / "step", content)
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["step"]
        assert (tmp_path / "run" / "step" / "file").read_text() == content
    folder.remove(tmp_path / "run" / "step")
    assert not list((tmp_path / "run").iterdir())


def test_what_killed_writers_left_is_removed_and_nothing_else(tmp_path):
    left = folder.new_temporary(tmp_path / "step_00000001")
    (left / "file").write_text("half")
    (tmp_path / ".last.pt.1.tmp").write_text("a file that another writer may be using")
    (tmp_path / ".hidden").mkdir()
    put(tmp_path / "step_00000002", "whole")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"step_00000002", ".last.pt.1.tmp", ".hidden"}


@pytest.fixture
def whole(tmp_path_factory):
    """A directory with a file and its manifest."""
    path = tmp_path_factory.mktemp("whole")
    (path / "file").write_text("content")
    files = {"file": manifest.describe(path / "file")}
    manifest.write(path, manifest.Manifest(files, {"val/loss": 0.5}, True))
    return path


def test_a_manifest_is_read_as_it_was_written(whole):
    assert manifest.read(whole) == manifest.Manifest(
        {"file": manifest.describe(whole / "file")}, {"val/loss": 0.5}, True
    )
    assert manifest.verify(whole) == manifest.digest_of(whole)
    assert manifest.size(whole) == sum(path.stat().st_size for path in whole.iterdir())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(
    st.binary()
    | VALUES.map(json.dumps).map(str.encode)
    | st.fixed_dictionaries({"files": VALUES | st.dictionaries(st.just("file"), VALUES)},
                            optional={"metrics": VALUES, "best": VALUES})
    .map(json.dumps).map(str.encode)
)  # fmt: skip
def test_any_other_manifest_is_an_error_of_one_kind(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "other"
    path.mkdir(exist_ok=True)
    (path / "file").write_text("content")
    (path / manifest.NAME).write_bytes(content)
    for read in (manifest.read, manifest.verify, manifest.size):
        with pytest.raises(CheckpointError, match=r"checkpoint .*other is damaged: "):
            read(path)


def test_a_deep_manifest_is_damage(whole):
    (whole / manifest.NAME).write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match=r"manifest.json cannot be read"):
        manifest.read(whole)
