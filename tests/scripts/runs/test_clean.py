# SPDX-License-Identifier: MIT
"""`make clean-runs`: what is removed, and what never is."""

import os
import pty
import subprocess
import sys
import threading

import pytest

from lib import lock
from lib.runs import metadata
from lib.runs.removal import InUse, remove, sweep_removed
from lib.runs.run import Run
from lib.runs.stored import find_runs, load_run
from tests.scripts.runs.test_runs import ROOT, call


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """One run of each kind; `killed` was interrupted, `running` is held by this process."""
    monkeypatch.delenv("RANK", raising=False)
    with Run.create(tmp_path, "completed") as done:
        (done.dir / "checkpoints" / "last.pt").write_bytes(b"x")
    for name in ("failed", "failed-later"):
        with pytest.raises(ZeroDivisionError), Run.create(tmp_path, name):
            raise ZeroDivisionError
    (tmp_path / "failed-later" / "checkpoints" / "step_00000001.pt").write_bytes(b"x")
    with pytest.raises(KeyboardInterrupt), Run.create(tmp_path, "killed"):
        raise KeyboardInterrupt
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "metadata.yaml").write_text("[")
    with Run.create(tmp_path, "running"):
        yield tmp_path


def names(output_dir):
    return {run.name for run in find_runs(output_dir)}


def test_without_a_status_what_has_no_checkpoint(runs):
    done = call("clean", runs, YES="1")
    assert (done.returncode, done.stderr) == (0, "")
    assert names(runs) == {"completed", "failed-later", "damaged", "running"}
    assert done.stdout.splitlines()[-1].startswith("2 removed, ")
    assert call("clean", runs).stdout.startswith("no run that ended before its first checkpoint")


@pytest.mark.parametrize(
    ("status", "gone"),
    [
        ("failed", {"failed", "failed-later"}),
        ("failed,interrupted", {"failed", "failed-later", "killed"}),
        ("completed unreadable", {"completed", "damaged"}),
    ],
)
def test_a_status_names_all_its_runs(runs, status, gone):
    before = names(runs)
    assert call("clean", runs, "--status", status, "--yes").returncode == 0
    assert names(runs) == before - gone
    assert not [path for path in runs.glob(".*") if not path.name.startswith(".index.")]


@pytest.mark.parametrize("status", ["running", "fialed", "*"])
def test_other_statuses_are_refused(runs, status):
    before = names(runs)
    done = call("clean", runs, STATUS=status, YES="1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "must be some of failed, interrupted, completed" in done.stderr
    assert names(runs) == before


def test_nothing_is_removed_unasked(runs):
    before = names(runs)
    done = call("clean", runs)
    assert done.returncode == 2
    assert "failed" in done.stdout
    assert "YES=1" in done.stderr
    assert names(runs) == before


@pytest.mark.parametrize(("answer", "goes"), [("y\n", True), ("\n", False), ("no\n", False)])
def test_a_terminal_is_asked(runs, answer, goes):
    ours, theirs = pty.openpty()
    program = subprocess.Popen(
        [sys.executable, "-m", "scripts.runs.clean", "--output-dir", str(runs)],
        cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, answer.encode())
    assert program.wait(30) == 0
    os.close(ours)
    assert ("failed" not in names(runs)) == goes


def test_a_run_that_goes_on_meanwhile_is_left_alone(runs):
    listed = load_run(runs / "killed")
    held = lock.hold(runs / "killed" / ".lock")
    with pytest.raises(InUse, match="killed is running"):
        remove(listed)
    lock.release(held)
    metadata.save(runs / "killed" / "metadata.yaml", {**listed.metadata, "status": "completed"})
    with pytest.raises(InUse, match="changed meanwhile"):
        remove(listed)
    assert load_run(runs / "killed").status == "completed"


def test_a_run_that_is_being_sent_is_left_alone(runs):
    from lib.tracking import cursor

    with cursor.exclusive(runs / "killed", "mlflow") as take:
        assert take()
        done = call("clean", runs, YES="1")
    assert done.returncode == 1
    assert "killed is being sent to mlflow: left alone" in done.stderr
    assert names(runs) == {"completed", "failed-later", "damaged", "running", "killed"}


def test_what_a_removal_left_is_swept_but_not_from_under_one(runs):
    left, busy = runs / ".removed-a-1", runs / ".removed-b-2"
    for folder in (left, busy):
        folder.mkdir()
        (folder / ".lock").touch()
    held = lock.hold(busy / ".lock")
    sweep_removed(runs)
    lock.release(held)
    assert (left.exists(), busy.exists()) == (False, True)


def test_one_of_two_removals_wins(runs):
    listed, outcomes = load_run(runs / "killed"), []

    def attempt():
        try:
            remove(listed)
            outcomes.append("removed")
        except (InUse, FileNotFoundError):
            outcomes.append("left")

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["left"] * 7 + ["removed"]
