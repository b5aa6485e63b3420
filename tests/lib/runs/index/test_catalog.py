# SPDX-License-Identifier: MIT
"""The index says what the run directories say, whatever has happened to them and to it."""

import os
import shutil
import sqlite3
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import orjson
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import lock
from lib.runs.index import catalog, database, reading
from lib.runs.index.catalog import NAME, Catalog, open_catalog
from lib.runs.index.database import Database
from lib.runs.index.rows import SCHEMA, VERSION
from lib.runs.query.fields import FIELDS
from lib.runs.stored_run import HOW, load_run
from tests.forked import in_child, kill_self

NAMES = ("a", "b", "c")
METRICS = ("train/loss", "val/loss", "val/accuracy")


def make(folder: Path, name: str, **fields) -> Path:
    (folder / name / "logs").mkdir(parents=True)
    save(folder / name, {"status": "completed", "start_time": "2025-01-01T00:00:00Z", **fields})
    (folder / name / "config.yaml").write_text("General:\n  SEED: 1\n  LEARNING_RATE: 0.5\n")
    (folder / name / "logs" / "metrics.jsonl").write_bytes(b"")
    return folder / name


def save(run: Path, fields: dict) -> None:
    (run / ".new").write_text(yaml.safe_dump(fields))
    (run / ".new").rename(run / "metadata.yaml")


def log(run: Path, *rows: dict) -> None:
    with (run / "logs" / "metrics.jsonl").open("ab") as file:
        file.writelines(orjson.dumps(row) + b"\n" for row in rows)


def in_memory(folder: Path) -> Catalog:
    """What the directories say, without the index."""
    return Catalog(folder, Database(None, SCHEMA, VERSION))


def said(found: Catalog) -> dict:
    """Everything that it knows, by run; repr because NaN is not equal to itself."""
    known = {}
    for run in found.runs():
        fields = {name: run.field(name) for name in FIELDS if name != "age"}
        values = {f"{m}:{how}": run.value(f"{m}:{how}") for m in METRICS for how in HOW}
        values |= {m: run.value(m) for m in METRICS}
        parts = (fields, values, run.metadata, run.settings, run.summary, run.best)
        known[run.name] = repr(parts)
    return known


def both_say_the_same(folder: Path) -> None:
    assert said(open_catalog(folder)) == said(in_memory(folder))


rows = st.builds(
    lambda step, names, value: {"step": step, "time": 1.0, "metrics": dict.fromkeys(names, value)},
    st.integers(0, 20),
    st.sets(st.sampled_from(METRICS), min_size=1),
    st.sampled_from([0.5, -1.0, 2, 1e300, "NaN", "Infinity", "-Infinity"]),
)
changes = st.one_of(
    st.tuples(st.just("log"), st.lists(rows, max_size=4)),
    st.tuples(st.just("tear"), st.just(None)),
    st.tuples(st.just("resume"), st.integers(0, 300)),
    st.tuples(st.just("damage"), st.integers(0, 300)),
    st.tuples(st.just("cut"), st.integers(0, 300)),
    st.tuples(st.just("remove journal"), st.just(None)),
    st.tuples(st.just("metadata"), st.sampled_from(["failed", "running", "a: [", "min", "max"])),
    st.tuples(st.just("remove"), st.just(None)),
    st.tuples(st.just("rename"), st.sampled_from(NAMES)),
    st.tuples(st.just("keep"), st.just(None)),
    st.tuples(st.just("damage index"), st.integers(0, 20)),
    st.tuples(st.just("look"), st.just(None)),
)


def apply(folder: Path, name: str, change: str, how) -> None:
    run = folder / name
    journal = run / "logs" / "metrics.jsonl"
    if change == "damage index":
        with suppress(OSError), (folder / NAME).open("r+b") as file:
            file.seek(4096 * how)
            file.write(bytes(4096))
    elif change == "keep":
        (folder / f"{name}.summary.yaml").write_text("status: completed\nmodel: m\n")
    elif change == "look":
        open_catalog(folder)
    elif not run.exists():
        make(folder, name)
    elif change == "log":
        log(run, *how)
    elif change == "tear":
        with journal.open("ab") as file:
            file.write(b'{"step":3,"metr')
    elif change == "resume":
        log(run, {"time": 2.0, "event": "resume", "step": 1, "offset": how, "session": 1})
    elif change == "remove":
        shutil.rmtree(run)
    elif change == "rename" and not (folder / how).exists():
        run.rename(folder / how)
    elif change == "remove journal":
        journal.unlink(missing_ok=True)
    elif change == "metadata" and how.startswith("a"):
        (run / "metadata.yaml").write_text(how)
    elif change == "metadata":
        save(run, {"status": how, "checkpoint": {"metric": "val/accuracy", "mode": how}})
    elif change in ("damage", "cut") and journal.exists():
        time.sleep(0.02)  # longer than the clock of a file system stands still
        with journal.open("r+b") as file:
            file.seek(min(how, journal.stat().st_size))
            file.truncate() if change == "cut" else file.write(b"\x00")


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(NAMES), changes), min_size=1, max_size=12))
def test_it_says_what_the_directories_say_after_any_changes(steps):
    with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "SETTLED_S", 0.0)  # otherwise no stamp would be trusted this soon
        folder = Path(temporary)
        for name in NAMES:
            make(folder, name)
        for name, (change, how) in steps:
            apply(folder, name, change, how)
            both_say_the_same(folder)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Of 20 runs."""
    monkeypatch.setattr(reading, "SETTLED_S", 0.0)
    monkeypatch.setattr(catalog, "_BATCH_S", 0.0)
    for number in range(20):
        log(make(tmp_path, f"run{number}"), {"step": 1, "metrics": {"val/loss": number}})
    return tmp_path


def examined(monkeypatch) -> list[str]:
    """The names of the runs that are read from now on."""
    names, examine = [], catalog.examine
    monkeypatch.setattr(catalog, "examine", lambda *a: (names.append(a[0].name), examine(*a))[1])
    return names


def test_only_what_has_changed_is_read(folder, monkeypatch):
    open_catalog(folder)
    names = examined(monkeypatch)
    open_catalog(folder)
    assert names == []
    log(folder / "run3", {"step": 2, "metrics": {"val/loss": 0.25}})
    shutil.rmtree(folder / "run4")
    (folder / "run5").rename(folder / "other")
    found = {run.name: run for run in open_catalog(folder).runs()}
    assert sorted(names) == ["other", "run3"]
    assert found["run3"].value("val/loss") == 0.25 and not {"run4", "run5"} & found.keys()


def test_a_long_journal_is_read_on_from_where_it_ended(folder, monkeypatch):
    run = folder / "run0"
    log(run, *({"step": n, "metrics": {"train/loss": n}} for n in range(500)))
    open_catalog(folder)
    read = []
    rows_of = reading.read_rows
    monkeypatch.setattr(
        reading, "read_rows", lambda *a, **k: (read.append(row) or row for row in rows_of(*a, **k))
    )
    log(run, {"step": 500, "metrics": {"train/loss": -7}})
    found = next(run for run in open_catalog(folder).runs() if run.name == "run0")
    assert found.summary["train/loss"].count == 501
    assert (found.value("train/loss:min"), found.value("train/loss:max")) == (-7, 499)
    assert len(read) == 1


def test_a_run_that_was_killed_is_found_out_at_once(folder):
    run = folder / "run1"
    save(run, {"status": "running", "start_time": "2025-01-01T00:00:00Z"})
    with lock.held(run / ".lock", wait=0):
        assert {r.name: r.status for r in open_catalog(folder).runs()}["run1"] == "running"
    assert {r.name: r.status for r in open_catalog(folder).runs()}["run1"] == "interrupted"
    assert load_run(run).status == "interrupted"


def test_the_first_look_at_many_runs_tells_how_far_it_is(folder, monkeypatch, capsys):
    monkeypatch.setattr(catalog, "_MANY", 20)
    open_catalog(folder)
    assert capsys.readouterr().err == "", "not on a terminal"
    (folder / NAME).unlink()
    monkeypatch.setattr(catalog.sys.stderr, "isatty", lambda: True, raising=False)
    open_catalog(folder)
    assert "\rreading runs: 7 of 20" in capsys.readouterr().err
    open_catalog(folder)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("where", ["reading", "writing"])
def test_killed_while_it_is_made(folder, monkeypatch, where):
    calls = []

    def at_the_seventh(name):
        work = getattr(catalog, name)

        def killing(*arguments):
            result = work(*arguments)
            calls.append(1)
            if len(calls) == 7:
                kill_self()
            return result

        monkeypatch.setattr(catalog, name, killing)

    with monkeypatch.context():
        at_the_seventh("examine" if where == "reading" else "put")
        assert in_child(lambda: open_catalog(folder)) == -9
        monkeypatch.undo()
    monkeypatch.setattr(reading, "SETTLED_S", 0.0)
    names = examined(monkeypatch)
    found = open_catalog(folder)
    assert len(names) == 14  # the six before it were written
    assert said(found) == said(in_memory(folder))


def test_several_processes_at_once(folder):
    expected = said(in_memory(folder))
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                code = 0 if said(open_catalog(folder)) == expected else 2
            finally:
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0, 0, 0, 0]
    both_say_the_same(folder)


def damaged(path: Path) -> None:
    path.write_bytes(b"not a database" * 1000)


def truncated(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def of_another_version(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()


def without_a_table(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE metrics")
    connection.close()


@pytest.mark.parametrize("harm", [damaged, truncated, of_another_version, without_a_table])
def test_what_cannot_be_used_is_made_anew(folder, monkeypatch, harm):
    open_catalog(folder)
    harm(folder / NAME)
    for _ in range(2):  # some harm is found only after the listing
        both_say_the_same(folder)
    names = examined(monkeypatch)
    both_say_the_same(folder)
    assert len(names) == 20  # by the catalog in memory alone: the file is whole again


def test_a_place_that_cannot_be_written(folder, monkeypatch):
    (folder / NAME).mkdir()
    both_say_the_same(folder)
    (folder / NAME).rmdir()
    open_catalog(folder)
    log(folder / "run2", {"step": 9, "metrics": {"val/loss": -1.0}})

    def read_only(path, flags, *mode):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(database.os, "open", read_only)
    before = (folder / NAME).read_bytes()
    found = Catalog(folder, Database(folder / NAME, SCHEMA, VERSION))
    assert {run.name: run.value("val/loss") for run in found.runs()}["run2"] == -1.0
    assert (folder / NAME).read_bytes() == before


def test_it_is_as_private_as_the_runs(folder):
    open_catalog(folder)
    assert (folder / NAME).stat().st_mode & 0o777 == 0o600
    assert not (folder / "missing").exists() and open_catalog(folder / "missing").runs() == []
    assert not (folder / "missing").exists()


def test_a_run_that_is_kept_elsewhere_is_in_it(folder):
    summary = {"status": "completed", "model": "m", "best_step": 40}
    summary["final_metrics"] = {"final/best_val_loss": 0.125, "final/training_time_s": 3}
    (folder / "far.summary.yaml").write_text(yaml.safe_dump(summary))
    (folder / "run1.summary.yaml").write_text(yaml.safe_dump(summary))  # which is here, too
    (folder / "run1.dvc").write_text("")
    found = {run.name: run for run in open_catalog(folder).runs()}
    far = found["far"]
    assert (far.status, far.model, far.best_step) == ("kept", "m", 40)
    assert far.value("val/loss") == far.value("final/best_val_loss") == 0.125
    assert (found["run1"].status, found["run1"].kept, far.kept) == ("completed", True, False)
    both_say_the_same(folder)
