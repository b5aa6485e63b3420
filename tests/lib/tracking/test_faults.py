# SPDX-License-Identifier: MIT
"""Trackers that hang, fail or are missing: real faults; the others and the training go on."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from lib.runs import metadata
from lib.runs.run import Run
from lib.tracking import cursor
from lib.tracking.launch import launch
from scripts.tracking.read_back import read
from tests.lib.conftest import forward, make_run, settings

STEPS = 50


def log(run: Run, steps: int = STEPS) -> float:
    """Log some rows; the longest that one took, in seconds."""
    longest = 0.0
    for step in range(steps):
        started = time.perf_counter()
        run.log({"train/loss": 1 / (step + 1)}, step)
        longest = max(longest, time.perf_counter() - started)
    return longest


def fake_package(home: Path, name: str, code: str) -> None:
    """A package that shadows the real one in the forwarder."""
    folder = home / "shadow" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(code)


def train(*trackers: str, **changes) -> tuple[Run, float]:
    """A short tracked training: the run, and the seconds that its end took."""
    values = settings(**changes)
    run = make_run(**changes)
    with run:
        run.track(partial(launch, trackers=trackers, settings=values))
        assert log(run) < 0.5
        ending = time.monotonic()
    return run, time.monotonic() - ending


def condition(run: Run, tracker: str) -> cursor.Cursor:
    found = cursor.load(run.dir, tracker)
    assert found is not None
    return found


@pytest.mark.slow
def test_a_server_that_never_answers(home, capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        changes = {"MLFLOW_TRACKING_URI": uri, "TRACKER_FINISH_TIMEOUT": 4}
        run, seconds = train("mlflow", "tensorboard", **changes)
    assert seconds < 4 + 4
    assert len(read("tensorboard", run.dir).metrics["train/loss"]) == STEPS
    assert condition(run, "mlflow").condition == "failed"
    said = capsys.readouterr().out
    assert "mlflow is incomplete" in said
    assert f"make track RUN={run.name} TRACKER=mlflow" in said
    assert metadata.load(run.dir / "metadata.yaml")["status"] == "completed"


@pytest.mark.slow
def test_a_tracker_that_sleeps(home, monkeypatch, capsys):
    fake_package(home, "trackio", "import time\ntime.sleep(1000)\n")
    monkeypatch.setenv("PYTHONPATH", str(home / "shadow"), prepend=os.pathsep)
    run, seconds = train("trackio", "tensorboard", TRACKER_FINISH_TIMEOUT=3)
    assert seconds < 3 + 4
    assert len(read("tensorboard", run.dir).metrics["train/loss"]) == STEPS
    assert "did not finish within 3 s" in condition(run, "trackio").error


def test_a_package_that_is_missing(home, monkeypatch, capfd):
    fake_package(home, "trackio", "raise ModuleNotFoundError(\"No module named 'trackio'\")\n")
    monkeypatch.setenv("PYTHONPATH", str(home / "shadow"), prepend=os.pathsep)
    run, _ = train("trackio", "tensorboard")
    assert len(read("tensorboard", run.dir).metrics["train/loss"]) == STEPS
    assert "No module named 'trackio'" in condition(run, "trackio").error
    assert capfd.readouterr().err.count("No module named 'trackio'") == 1


@pytest.mark.slow
def test_a_full_disk_for_one_tracker(home):
    with make_run() as run:
        log(run, 2000)
    limited = f"ulimit -f 40; {sys.executable} -m lib.tracking.forwarder {run.dir}"
    done = subprocess.run(
        ["bash", "-c", f"{limited} --trackers tensorboard --finish-timeout 30"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("File too large") == 1
    assert condition(run, "tensorboard").condition == "failed"
    assert forward(run.dir, "tensorboard")[0] == 0
    points = read("tensorboard", run.dir).metrics["train/loss"]
    assert [step for step, _ in points] == list(range(2000))


@pytest.mark.slow
def test_a_locked_database(home, capsys):
    run, _ = train("trackio", "tensorboard")
    (database,) = (home / "trackio").glob("*.db")
    with closing(sqlite3.connect(database)) as other:
        other.execute("BEGIN EXCLUSIVE")
        other.execute("DELETE FROM metrics")
        second, seconds = train("trackio", "tensorboard", TRACKER_FINISH_TIMEOUT=4)
        other.rollback()
    assert seconds < 4 + 4
    assert len(read("tensorboard", second.dir).metrics["train/loss"]) == STEPS
    assert condition(second, "trackio").condition == "failed"
    assert forward(second.dir, "trackio")[0] == 0
    assert len(read("trackio", second.dir).metrics["train/loss"]) == STEPS
    assert len(read("trackio", run.dir).metrics["train/loss"]) == STEPS


KILLED = """
    import sys, time
    from functools import partial
    from lib.tracking.launch import launch
    from tests.lib.conftest import make_run, settings
    with make_run() as run:
        run.track(partial(launch, trackers=["tensorboard"], settings=settings()))
        for step in range(10_000):
            run.log({"train/loss": 1.0}, step)
            time.sleep(0.01)
            if step == 20:
                print(run.dir, flush=True)
"""


def test_a_killed_training_is_marked_interrupted(home):
    code = textwrap.dedent(KILLED)
    training = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert training.stdout is not None
    run_dir = Path(training.stdout.readline().strip())
    os.kill(training.pid, signal.SIGKILL)
    training.communicate()
    deadline = time.monotonic() + 30
    while (done := cursor.load(run_dir, "tensorboard")) is None or done.condition != "finished":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert metadata.load(run_dir / "metadata.yaml")["status"] == "interrupted"
    journal = (run_dir / "logs" / "metrics.jsonl").read_text().count("train/loss")
    assert len(read("tensorboard", run_dir).metrics["train/loss"]) == journal


@pytest.mark.slow
def test_a_forwarder_that_is_killed_starts_again(home):
    with make_run() as run:
        run.track(partial(launch, trackers=["tensorboard"], settings=settings()))
        for step in range(400):
            run.log({"train/loss": float(step)}, step)
            time.sleep(0.01)
            if step == 200:
                pids = subprocess.check_output(["pgrep", "-f", f"forwarder {run.dir}"], text=True)
                os.kill(int(pids.split()[0]), signal.SIGKILL)
    assert [s for s, _ in read("tensorboard", run.dir).metrics["train/loss"]] == list(range(400))


@pytest.mark.slow
def test_an_artifact_that_changed_is_dropped_and_counted(home):
    (home / "model.bin").write_bytes(b"weights")
    with make_run() as run:
        log(run, 5)
        run.log_artifact("model.bin", "model")
        log(run, 5)
    (kept,) = (run.dir / "media" / "artifacts").iterdir()
    kept.write_bytes(b"others")
    code, said = forward(run.dir, "trackio")
    assert code == 0
    assert "has changed since it was logged" in said
    assert condition(run, "trackio").dropped == 1
    assert len(read("trackio", run.dir).metrics["train/loss"]) == 10
