# SPDX-License-Identifier: MIT
"""Finding runs by name, in order, with their size."""

import os
import tempfile
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import BadUse
from lib.runs import metadata
from lib.runs.journal import Journal
from lib.runs.query.fields import FIELDS as FIELDS_OF_RUNS
from lib.runs.query.select import Names
from lib.runs.stored import UnreadableRun, disk_usage, find_runs, last_metrics, load_run, resolve
from scripts.runs.show import show
from scripts.runs.table import chosen_columns, print_json, print_table


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
    assert [run.name for run in find_runs(tmp_path)] == ["damaged", "c", "b", "a"]
    assert find_runs(tmp_path / "missing") == []


def test_order_is_by_instant_not_by_text(tmp_path):
    make(tmp_path, "first", "2025-01-01T12:00:00+02:00")
    make(tmp_path, "second", "2025-01-01T11:00:00+00:00")
    make(tmp_path, "timeless", None)
    assert [run.name for run in find_runs(tmp_path)] == ["timeless", "first", "second"]


def test_a_run_that_is_found_has_the_metadata_of_one_that_is_loaded(tmp_path):
    directory = make(tmp_path, "a", git={"commit": "x"}, model={"name": "lenet5"})
    (found,) = find_runs(tmp_path)
    assert found.metadata == load_run(directory).metadata
    assert found.part("git") == {"commit": "x"}
    with pytest.raises(UnreadableRun, match=r"metadata\.yaml: No such file"):
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


# -- one bad run must not hide the others

UNREADABLE = {
    "brackets": "a: " + "[" * 50_000,
    "braces": "a: " + "{a: " * 50_000,
    "dashes": "- " * 50_000,
    "indentation": "".join(f"{' ' * i}a:\n" for i in range(1000)),
    "aliases": "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    "large": "a: " + "x" * 5_000_000,
    "list": "- 1",
    "empty": "",
    "open": "a: [",
    "control": "\0",
    "timestamp": "start_time: 2025-99-99",
    "bool": "a: !!bool maybe",
    "object": "a: !!python/object/apply:os.system [true]",
    "digits": "a: " + "9" * 5000,
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_run_is_listed_as_one(tmp_path, text):
    make(tmp_path, "good")
    (make(tmp_path, "bad") / "metadata.yaml").write_text(text)
    bad, good = find_runs(tmp_path)
    assert (bad.name, bad.status, good.status) == ("bad", "unreadable", "completed")
    assert bad.metadata["error"].startswith(f"{tmp_path}/bad/metadata.yaml: ")
    with pytest.raises(UnreadableRun) as error:
        load_run(tmp_path / "bad")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
    assert resolve(tmp_path) == tmp_path / "good"


def test_so_are_bytes_pipes_folders_and_a_journal_alone(tmp_path):
    for name in ("bytes", "pipe", "folder", "missing"):
        (make(tmp_path, name) / "metadata.yaml").unlink()
    (tmp_path / "bytes" / "metadata.yaml").write_bytes(b"a: \xff")
    os.mkfifo(tmp_path / "pipe" / "metadata.yaml")
    (tmp_path / "folder" / "metadata.yaml").mkdir()
    (tmp_path / "missing" / "logs" / "metrics.jsonl").touch()
    (tmp_path / "no-run").mkdir()
    assert {run.name: run.status for run in find_runs(tmp_path)} == dict.fromkeys(
        ("bytes", "pipe", "folder", "missing"), "unreadable"
    )


@pytest.mark.parametrize("file", [".lock", "logs/metrics.jsonl"])
def test_a_pipe_in_place_of_a_file_blocks_nobody(tmp_path, file):
    directory = make(tmp_path, "a", status="running")
    os.mkfifo(directory / file)
    assert load_run(directory).name == "a"
    assert last_metrics(directory / "logs" / "metrics.jsonl") == {}


yaml_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.floats(), inner),
    max_leaves=8,
)
FIELDS = ["status", "start_time", "end_time", "duration_s", "model", "optimizer", "final_metrics"]
FIELDS += ["pruning", "environment", "git", "tags", "description", "best"]


def damage_shows(found, directory):
    """The fields in which the index and the directory differ, without the passing of time."""
    if found.status == "unreadable":
        return []
    loaded = load_run(directory)
    names = FIELDS_OF_RUNS.keys() - {"age"}
    return [name for name in names if repr(found.field(name)) != repr(loaded.field(name))]


@settings(max_examples=30)
@given(
    fields=st.dictionaries(st.sampled_from(FIELDS), yaml_values),
    status=st.sampled_from(["running", "completed", None]),
    tail=st.binary(max_size=20),
)
def test_whatever_metadata_says_the_run_is_found(fields, status, tail):
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "run"
        (directory / "logs").mkdir(parents=True)
        (directory / "logs" / "metrics.jsonl").write_bytes(b'{"time": 1e300}\n' + tail)
        fields = {**fields, "status": status} if status else fields
        text = yaml.dump(fields, Dumper=yaml.CSafeDumper, allow_unicode=True)
        (directory / "metadata.yaml").write_bytes(text.encode("utf-8", "surrogatepass") + tail)
        (found,) = find_runs(folder)
        names = Names([found])
        columns = chosen_columns(names, "", every=True)
        print_table([found], columns)
        print_json([found], columns)
        assert not damage_shows(found, directory)
        if found.status != "unreadable":
            show(load_run(directory))


def test_a_killed_run_ended_with_its_last_row(tmp_path):
    directory = make(tmp_path, "a", "2025-01-01T00:00:00+00:00", status="running")
    start = datetime.fromisoformat("2025-01-01T00:00:00+00:00").timestamp()
    rows = [f'{{"step":{n},"time":{start + n},"metrics":{{"lr":1}}}}\n' for n in range(90)]
    long = f'{{"step":90,"time":{start + 90},"media":{{"x":{{"text":"{"x" * 100_000}"}}}}}}\n'
    (directory / "logs" / "metrics.jsonl").write_text("".join(rows) + long + '{"time": 17')
    fields = load_run(directory).metadata
    assert fields["duration_s"] == 90
    assert datetime.fromisoformat(fields["end_time"]).timestamp() == start + 90
    assert metadata.load(directory / "metadata.yaml") == fields


def test_a_killed_run_without_a_row_has_no_end(tmp_path):
    directory = make(tmp_path, "a", status="running", end_time=None)
    fields = load_run(directory).metadata
    assert (fields["status"], fields["end_time"]) == ("interrupted", None)
