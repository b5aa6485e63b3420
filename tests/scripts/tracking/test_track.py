# SPDX-License-Identifier: MIT
"""make track and make track-status, as programs."""

import json
import os
import subprocess
import sys

import pytest

from lib.tracking import cursor
from scripts.tracking.read_back import read
from tests.lib.conftest import home, make_run  # noqa: F401, a fixture


def program(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", f"scripts.tracking.{name}", "--output-dir", "runs", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def finished(home):  # noqa: F811
    with make_run() as run:
        for step in range(5):
            run.log({"train/loss": 1.0}, step)
    return run


def test_a_finished_run_is_sent_and_its_state_shown(finished):
    assert "sent to no tracker" in program("status").stdout
    done = program("track", finished.name, "--tracker", "tensorboard")
    assert (done.returncode, done.stderr) == (0, "")
    assert "tensorboard: 7 rows" in done.stdout
    assert len(read("tensorboard", finished.dir).metrics["train/loss"]) == 5
    status = program("status", finished.name).stdout
    assert "7 rows in the journal" in status
    assert "finished" in status


def test_a_run_that_cannot_be_written(finished):
    (finished.dir / "tracking").touch()  # where a folder has to be made
    done = program("track", finished.name, "--tracker", "tensorboard")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Copy the run" in done.stderr


def test_a_run_whose_metadata_is_damaged(finished):
    (finished.dir / "metadata.yaml").write_text("run_name: ../../elsewhere\nrun_id: x\n")
    done = program("track", finished.name, "--tracker", "tensorboard")
    assert done.returncode == 1
    assert "run_name is not made of letters" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_without_a_journal(finished):
    (finished.dir / "logs" / "metrics.jsonl").unlink()
    for done in (program("track", "run", "--tracker", "tensorboard"), program("status", "run")):
        assert done.returncode == 1
        assert done.stderr.startswith("error: runs/run/logs/metrics.jsonl: ")
        assert done.stderr.count("\n") == 1


def test_a_directory_that_is_not_utf8_and_names_that_write_to_the_terminal(finished):
    hostile = "x\033[2J\u202e"
    with (finished.dir / "logs" / "metrics.jsonl").open("a") as journal:
        journal.write(json.dumps({"step": 2**63, "time": 1, "metrics": {hostile: 1}}) + "\n")
    finished.dir.rename(os.fsdecode(b"runs/caf\xe9\033[2J"))
    done = program("track", "caf", "--tracker", "tensorboard")
    assert done.returncode == 0, done.stderr
    status = program("status", "caf")
    for printed in (done.stdout, done.stderr, status.stdout):
        assert "x\N{REPLACEMENT CHARACTER}[2J" in printed
        assert all(c.isprintable() for c in printed.replace("\n", ""))


def test_what_a_tracker_could_not_take_is_said(home):  # noqa: F811
    with make_run() as run:
        run.log({"train/loss": 1.0}, 1)
        run.log({"train/loss": 1.0}, 2**63)
    done = program("track", run.name, "--tracker", "tensorboard")
    assert done.returncode == 0
    said = "1 value left out, the last was train/loss: step 9223372036854775808 is not"
    assert f"tensorboard: 4 rows; {said}" in done.stdout
    status = program("status", run.name).stdout
    assert f"tensorboard: {said}" in status


def test_no_tracker_named_and_none_configured(finished):
    done = program("track", finished.name)
    assert done.returncode == 2
    assert "add TRACKER=" in done.stderr


def test_not_twice_at_a_time(finished):
    with cursor.exclusive(finished.dir, "tensorboard") as lock:
        assert lock()
        done = program("track", finished.name, "--tracker", "tensorboard")
    assert done.returncode == 1
    assert "another process is delivering" in done.stderr


def test_an_unknown_tracker(finished):
    done = program("track", finished.name, "--tracker", "tensorbord")
    assert done.returncode == 2
    assert "did you mean tensorboard" in done.stderr


def test_a_name_is_never_broken_over_lines(finished, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    where = "/tmp/a-very-long-path-to-a-folder/of-tensorboard/that-no-terminal-is-wide-enough-for"
    state = cursor.Cursor(rows=7, condition="finished", where=where)
    state.save(finished.dir, "tensorboard")
    _, _, line = program("status", finished.name).stdout.splitlines()
    assert line.startswith("tensorboard ") and line.endswith(where)
