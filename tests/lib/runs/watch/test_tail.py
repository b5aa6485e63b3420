# SPDX-License-Identifier: MIT
"""A journal read as it grows says the same as one that is read when it is whole."""

import json
import math
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.runs.best import best_evaluation
from lib.runs.journal import Journal, current_rows
from lib.runs.run import Run
from lib.runs.stored import load_run
from lib.runs.watch.tail import MOST_CURVES, Tail, last_lines, latest_step


def read_all(tail: Tail) -> None:
    while tail.read(seconds=0.0):
        pass


def journal_in(run_dir: Path) -> Journal:
    (run_dir / "logs").mkdir(parents=True, exist_ok=True)
    return Journal(run_dir / "logs" / "metrics.jsonl")


ROWS = st.lists(st.tuples(st.floats(0.125, 9, width=32), st.booleans()), min_size=1, max_size=40)


@settings(max_examples=40)
@given(st.lists(st.tuples(ROWS, st.floats(0, 1)), min_size=1, max_size=4))
def test_resumes_and_pauses_make_no_difference(sessions):
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder)
        journal, tail, places = journal_in(run_dir), Tail(run_dir, {}), [(0, 0)]
        for number, (rows, back) in enumerate(sessions):
            if number:
                step, offset = places[int(back * (len(places) - 1))]
                journal.event("resume", step=step, offset=offset, session=number)
            else:
                step = 0
            for value, look in rows:
                step += 1
                journal.log({"val/loss": value}, step)
                places.append((step, journal.position()))
                if look:
                    tail.read(seconds=0.0)
        read_all(tail)
        rows = [row for row, _ in current_rows(tail.path) if "metrics" in row]
        points = tail.curves["val/loss"].points()
        assert points == [(row["step"], row["metrics"]["val/loss"]) for row in rows]
        assert tail.last == rows[-1]["metrics"]
        assert tail.step == rows[-1]["step"]
        assert tail.best.found == best_evaluation(tail.path, {})
        journal.close()


def test_torn_and_damaged_rows_wait_or_are_counted_once(tmp_path):
    journal, tail = journal_in(tmp_path), Tail(tmp_path, {})
    journal.log({"lr": 1.0}, 1)
    with tail.path.open("a") as file:
        file.write("not json\n" + json.dumps({"step": 2, "time": 0.0, "metrics": {"lr": 2.0}}))
    for _ in range(3):
        assert not tail.read(seconds=1.0)
    assert (tail.step, tail.damaged) == (1, 1)
    with tail.path.open("a") as file:
        file.write("\n")
    tail.read(seconds=1.0)
    assert (tail.step, tail.damaged, tail.last) == (2, 1, {"lr": 2.0})


def test_what_is_not_finite_is_counted_and_not_drawn(tmp_path):
    journal, tail = journal_in(tmp_path), Tail(tmp_path, {})
    for step, value in enumerate((1.0, math.nan, 2.0, math.inf, 1e200)):
        journal.log({"train/loss": value}, step)
    read_all(tail)
    assert tail.curves["train/loss"].points() == [(0, 1.0), (2, 2.0)]
    assert tail.lost == {"train/loss": (3, 1)}


def test_memory_is_bounded_by_points_and_curves(tmp_path):
    journal, tail = journal_in(tmp_path), Tail(tmp_path, {})
    for step in range(5000):
        journal.log({"a": step, f"m{step}": 1.0}, step)
    read_all(tail)
    assert len(tail.curves) == MOST_CURVES
    assert len(tail.curves["a"].points()) <= 1024
    assert tail.curves["a"].points()[-1][0] == 4999


def test_a_journal_that_comes_late_goes_or_is_replaced(tmp_path):
    tail = Tail(tmp_path, {})
    assert not tail.read(seconds=1.0)
    assert (tail.rows, tail.progress) == (0, 1.0)
    for value in (1.0, 2.0):
        journal_in(tmp_path).log({"lr": value}, 1)
        read_all(tail)
        assert tail.curves["lr"].points() == [(1, value)]
        tail.path.unlink()
        assert not tail.read(seconds=1.0)


def test_another_criterion_is_looked_for_from_the_beginning(tmp_path):
    journal, tail = journal_in(tmp_path), Tail(tmp_path, {})
    for step, value in enumerate((0.1, 0.9, 0.5)):
        journal.log({"val/loss": value}, step)
    read_all(tail)
    assert tail.best.found.step == 0
    tail.describe({"pruning": {"end_step": 1}})
    read_all(tail)
    assert tail.best.found.step == 2


def test_a_run_is_not_touched_and_its_latest_step_is_found(tmp_path):
    with Run.create(tmp_path, "x") as run:
        assert latest_step(run.dir) is None
        for step in range(300):
            run.log({"train/loss": 1.0}, step)
        run.say("one\ntwo")
    before = {path: path.stat().st_mtime_ns for path in run.dir.rglob("*")}
    tail = Tail(run.dir, load_run(run.dir).metadata)
    read_all(tail)
    assert latest_step(run.dir) == 299
    assert [line[-3:] for line in last_lines(run.dir / "logs" / "train.log", 2)] == ["one", "two"]
    assert {path: path.stat().st_mtime_ns for path in run.dir.rglob("*")} == before


@pytest.mark.parametrize("count", [1, 3])
def test_last_lines_of_odd_files(tmp_path, count):
    assert last_lines(tmp_path / "missing", count) == []
    assert last_lines(tmp_path, count) == []
    (tmp_path / "long").write_bytes(b"x" * 10_000 + b"\xff\nend")
    assert last_lines(tmp_path / "long", count)[-1] == "end"
