# SPDX-License-Identifier: MIT
"""Media in the journal: shapes, types, files, and what happens to a bad argument or a full disk."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from lib.runs.journal import read_rows
from lib.runs.run import NullRun
from tests.lib.conftest import make_run


@pytest.fixture
def run(home):
    with make_run() as made:
        yield made


def media(run) -> dict:
    rows = (row for row, _ in read_rows(run.dir / "logs" / "metrics.jsonl"))
    return {name: item for row in rows for name, item in row.get("media", {}).items()}


@pytest.mark.parametrize(
    ("pixels", "size"),
    [
        (np.zeros((4, 6)), (6, 4)),
        (np.zeros((4, 6, 3), np.uint8), (6, 4)),
        (torch.zeros(3, 4, 6), (6, 4)),
        (torch.zeros(1, 4, 6, dtype=torch.bfloat16), (6, 4)),
        (Image.new("L", (6, 4)), (6, 4)),
        ([[0.0, 1.0], [1.0, 0.0]], (2, 2)),
    ],
)
def test_images_of_many_kinds(run, pixels, size):
    run.log_image("a/b", pixels, 3)
    item = media(run)["a/b"]
    assert (item["width"], item["height"]) == size
    with Image.open(run.dir / item["path"]) as image:
        assert image.size == size


def test_pixels_are_what_was_given(run):
    run.log_image("x", np.array([[0.0, 0.5, 1.0, 7.0, np.nan]]), 0)
    with Image.open(run.dir / media(run)["x"]["path"]) as image:
        assert np.asarray(image).tolist() == [[0, 128, 255, 255, 0]]


def test_no_image_at_all(run):
    with pytest.raises(ValueError, match=r"cannot have the shape \(2, 3, 4, 5\)"):
        run.log_image("x", np.zeros((2, 3, 4, 5)), 0)


def test_histogram_is_numpys_and_leaves_out_what_is_not_finite(run):
    values = np.array([1.0, 2.0, 2.0, 4.0])
    run.log_histogram("h", torch.tensor([*values, float("nan"), float("inf")]), 0, bins=3)
    item = media(run)["h"]
    counts, edges = np.histogram(values, bins=3)
    assert (item["counts"], item["edges"]) == (counts.tolist(), edges.tolist())
    assert (item["count"], item["sum"], item["sum_squares"]) == (4, 9.0, 25.0)
    run.log_histogram("empty", [], 0)
    assert "empty" not in media(run)


def test_tables_and_matrices_say_what_is_wrong(run):
    with pytest.raises(ValueError, match="every row needs 2 cells"):
        run.log_table("t", ["a", "b"], [[1]], 0)
    with pytest.raises(ValueError, match="n × n counts and n labels"):
        run.log_confusion_matrix("c", [[1, 2], [3, 4]], 0, labels=["only one"])
    with pytest.raises(ValueError, match="no such file"):
        run.log_artifact("missing.pt")


def test_a_table_is_a_file_with_its_head_in_the_journal(run):
    run.log_table("t", ["n"], [[np.int64(i)] for i in range(60)] + [[float("nan")]], 0)
    item = media(run)["t"]
    assert (item["count"], len(item["head"])) == (61, 50)
    table = json.loads((run.dir / item["path"]).read_text())
    assert table["rows"][59:] == [[59], ["nan"]]


def test_an_artifact_outlives_its_source_without_a_copy(run, home):
    (home / "model.pt").write_bytes(b"weights")
    run.log_artifact("model.pt", "model", {"loss": 0.5}, name="best", step=9)
    item = media(run)["artifact/best"]
    kept = run.dir / item["path"]
    assert kept.stat().st_ino == (home / "model.pt").stat().st_ino
    (home / "model.pt").unlink()
    assert kept.read_bytes() == b"weights"
    assert (item["kind"], item["bytes"], item["metadata"]) == ("model", 7, {"loss": 0.5})


def test_a_folder_that_is_a_file_is_said_once(run, capsys):
    (run.dir / "media" / "x").write_text("in the way")
    for step in range(3):
        run.log_image("x", np.zeros((2, 2)), step)
    assert capsys.readouterr().out.count("media are being lost") == 1
    assert media(run) == {}


def test_names_cannot_leave_the_folder(run):
    run.log_image("../../../evil/./x y", np.zeros((2, 2)), 0)
    (item,) = media(run).values()
    assert (run.dir / item["path"]).resolve().is_relative_to(run.dir.resolve() / "media")


def test_other_ranks_do_nothing():
    null = NullRun()
    null.log_image("x", None, 0)
    null.log_artifact("missing")
    null.track(lambda *_: pytest.fail("a rank that does not log tracks nothing"))
