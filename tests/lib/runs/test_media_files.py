# SPDX-License-Identifier: MIT
"""A journal may name files of its own run only."""

import json
import os

import pytest

from lib.runs.media_files import NoMediaFile, media_file
from tests.lib.conftest import files_below, forward, make_run


@pytest.fixture
def run_dir(tmp_path):
    (tmp_path / "secret").write_text("from outside")
    (tmp_path / "run-2").mkdir()
    (tmp_path / "run-2" / "file").write_text("of another run")
    run_dir = tmp_path / "run"
    (run_dir / "media").mkdir(parents=True)
    (run_dir / "media" / "file").write_text("its own")
    (run_dir / "media" / "inside").symlink_to("file")
    (run_dir / "media" / "outside").symlink_to("../../secret")
    (run_dir / "media" / "folder").symlink_to(tmp_path)
    (run_dir / "media" / "loop").symlink_to("loop")
    return run_dir


@pytest.mark.parametrize("path", ["media/file", "media/inside", "media/../media/file"])
def test_a_file_of_the_run(run_dir, path):
    assert media_file(run_dir, path).read_text() == "its own"


def test_the_run_directory_may_itself_be_a_link(run_dir, tmp_path):
    (tmp_path / "link").symlink_to(run_dir)
    assert media_file(tmp_path / "link", "media/file").read_text() == "its own"


def test_what_is_outside_is_called_so_whether_it_exists_or_not(run_dir):
    for path in ("../secret", "../no-secret"):
        with pytest.raises(NoMediaFile, match="outside the run directory"):
            media_file(run_dir, path)
    with pytest.raises(NoMediaFile, match="media/gone is gone"):
        media_file(run_dir, "media/gone")


@pytest.mark.parametrize(
    "path",
    [
        "../secret", "media/../../secret", "/etc/passwd", "media/outside", "media/folder/secret",
        "../run-2/file", "", ".", "..", "media/loop/x", "a\0b", "x" * 5000, "media", "gone",
        None, 7, ["media"],
    ],
)  # fmt: skip
def test_anything_else_is_refused(run_dir, path):
    with pytest.raises(NoMediaFile):
        media_file(run_dir, path)


def test_a_tracker_is_not_given_a_file_from_outside(home):
    secret = os.urandom(32)
    (home / "secret.png").write_bytes(secret)
    with make_run() as run:
        for number, path in enumerate(["../../secret.png", "media/link.png"]):
            item = {"type": "image", "path": path, "caption": "", "width": 1, "height": 1}
            run.record({"media": {f"stolen/{number}": item}}, number)
        (run.dir / "media" / "link.png").symlink_to(home / "secret.png")
    forward(run.dir, "mlflow")
    holding = {path for path, content in files_below(home) if secret in content}
    assert holding == {home / "secret.png", run.dir.absolute() / "media" / "link.png"}
    cursor = json.loads((run.dir / "tracking" / "mlflow.json").read_text())
    assert (cursor["condition"], cursor["dropped"]) == ("finished", 2)
    assert "outside the run directory" in cursor["refusal"]
