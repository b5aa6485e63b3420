# SPDX-License-Identifier: MIT
"""Finding runs by name, in order, with their size."""

import os

import pytest

from lib.errors import BadUse
from lib.runs import metadata
from lib.runs.journal import Journal
from lib.runs.stored import disk_usage, find_runs, last_metrics, load_run, resolve


def make(output_dir, name, start="2025-01-01T00:00:00+00:00", **fields):
    directory = output_dir / name
    (directory / "logs").mkdir(parents=True)
    fields = {"run_name": name, "status": "completed", "start_time": start, **fields}
    metadata.save(directory / "metadata.yaml", fields)
    return directory


def test_oldest_first_and_only_runs(tmp_path):
    make(tmp_path, "b", "2025-01-02T00:00:00+00:00")
    make(tmp_path, "a", "2025-01-03T00:00:00+00:00")
    make(tmp_path, "c", "2025-01-01T00:00:00+00:00")
    make(tmp_path, ".hidden")
    (tmp_path / "no-run").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "metadata.yaml").write_text("a: [")
    assert [run.name for run in find_runs(tmp_path)] == ["c", "b", "a"]
    assert find_runs(tmp_path / "missing") == []


def test_order_is_by_instant_not_by_text(tmp_path):
    make(tmp_path, "first", "2025-01-01T12:00:00+02:00")
    make(tmp_path, "second", "2025-01-01T11:00:00+00:00")
    make(tmp_path, "timeless", None)
    assert [run.name for run in find_runs(tmp_path)] == ["timeless", "first", "second"]


def test_details_are_left_to_load_run(tmp_path):
    directory = make(tmp_path, "a", git={"commit": "x"}, model={"name": "lenet5"})
    (found,) = find_runs(tmp_path)
    assert found.part("git") == {}
    assert found.part("model") == {"name": "lenet5"}
    assert load_run(directory).part("git") == {"commit": "x"}
    with pytest.raises(FileNotFoundError):
        load_run(tmp_path / "missing")


def test_resolve(tmp_path):
    for number, name in enumerate(["lenet5_sgd_1", "lenet5_sgd_12", "lenet5_adam_1"]):
        make(tmp_path, name, f"2025-01-0{number + 1}T00:00:00+00:00")
    assert resolve(tmp_path) == tmp_path / "lenet5_adam_1"  # the latest
    assert resolve(tmp_path, "lenet5_sgd_1") == tmp_path / "lenet5_sgd_1"  # exact before prefix
    assert resolve(tmp_path, "lenet5_a") == tmp_path / "lenet5_adam_1"
    path = tmp_path / "lenet5_sgd_12"
    assert resolve(tmp_path / "elsewhere", str(path)) == path


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("lenet5_s", "fits 2 runs: lenet5_sgd_1, lenet5_sgd_12"),
        ("sgd_12", "did you mean lenet5_sgd_12?"),
        ("lenet5_adma_1", "did you mean lenet5_adam_1"),
        ("zzz", "`make runs` lists them"),
        ("../x", "'..' is not allowed"),
        ("..", "'..' is not allowed"),
        ("/etc", "there is no run"),
        ("$(touch x)", "no such run"),
    ],
)
def test_resolve_refuses(tmp_path, given, said):
    for name in ["lenet5_sgd_1", "lenet5_sgd_12", "lenet5_adam_1"]:
        make(tmp_path, name)
    with pytest.raises(BadUse) as error:
        resolve(tmp_path, given)
    assert said in str(error.value)


def test_resolve_without_runs(tmp_path):
    with pytest.raises(BadUse, match="train one with `make`"):
        resolve(tmp_path)


def test_disk_usage_counts_a_linked_file_once(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a").write_bytes(b"x" * 1000)
    (tmp_path / "sub" / "b").write_bytes(b"x" * 500)
    os.link(tmp_path / "a", tmp_path / "sub" / "best")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "sub" / "b")
    assert disk_usage(tmp_path) == 1500
    assert disk_usage(tmp_path / "missing") == 0


def test_last_metrics(tmp_path):
    journal = Journal(tmp_path / "journal")
    for step, loss in enumerate([3.0, 1.0, float("nan"), 2.0]):
        journal.log({"train/loss": loss}, step)
        journal.log({"val/loss": loss, "val/accuracy": loss / 4}, step)
    journal.close()
    path = tmp_path / "journal"
    assert last_metrics(path) == {"train/loss": 2.0, "val/loss": 2.0, "val/accuracy": 0.5}
    assert last_metrics(path, tail=100) == {"val/loss": 2.0, "val/accuracy": 0.5}
    assert last_metrics(tmp_path / "missing") == {}
