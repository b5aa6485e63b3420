# SPDX-License-Identifier: MIT
"""A run that is killed and goes on is one run in every tracker, with each step exactly once."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from lib.runs.journal import current_rows, read_rows
from lib.runs.run import Run
from lib.tracking import cursor
from lib.tracking.launch import launch
from scripts.tracking.read_back import read
from tests.lib.conftest import TRACKERS, forward, forwarder, make_run, settings

# One training of the run: from a step to a step, killed at the end unless it is the last one.
TRAINING = """
import json, os, signal, sys, time
from functools import partial
from pathlib import Path
from lib.runs.run import Run
from lib.tracking.launch import launch
from tests.lib.conftest import make_run, settings

first, last, offset, trackers, pause, dies = json.loads(sys.argv[1])
values = settings(SYSTEM_METRICS_INTERVAL=0.2 if trackers else 0)
if first == 1:
    run = make_run(SYSTEM_METRICS_INTERVAL=values["SYSTEM_METRICS_INTERVAL"])
else:
    run = Run.resume("runs/run", step=first - 1, offset=offset)
with run:
    if trackers:
        run.track(partial(launch, trackers=trackers, settings=values))
    positions = {}
    for step in range(first, last + 1):
        run.log({"train/loss": 1 / step, "lr": 0.5}, step)
        if step % 10 == 0:
            run.log({"val/loss": 2 / step}, step)
            run.log_text("sample", f"text of step {step}", step)
        positions[step] = run.position()
        time.sleep(pause)
    Path("positions").write_text(json.dumps(positions))
    if dies:
        os.kill(os.getpid(), signal.SIGKILL)
"""


class Training:
    """A run that is killed again and again; `positions` are those of its latest training."""

    def __init__(self) -> None:
        self.dir = Path("runs/run")
        self.positions: dict[int, int] = {}

    def train(self, first, last, *, trackers=(), pause=0.0, dies=True) -> None:
        """Train from step `first`, which the positions of an earlier training must include."""
        offset = self.positions.get(first - 1, 0)
        given = json.dumps([first, last, offset, list(trackers), pause, dies])
        done = subprocess.run([sys.executable, "-c", TRAINING, given], check=False, timeout=120)
        assert done.returncode == (-signal.SIGKILL if dies else 0)
        new = json.loads(Path("positions").read_text())
        self.positions |= {int(step): position for step, position in new.items()}

    def check(self, tracker, last=50) -> None:
        """Every step up to `last` is in the tracker once, with the right value."""
        stored = read(tracker, self.dir)
        losses = [(step, pytest.approx(1 / step)) for step in range(1, last + 1)]
        assert sorted(stored.metrics["train/loss"]) == losses
        assert sorted(stored.metrics["lr"]) == [(step, 0.5) for step in range(1, last + 1)]
        evaluations = [(step, pytest.approx(2 / step)) for step in range(10, last + 1, 10)]
        assert sorted(stored.metrics["val/loss"]) == evaluations
        state = cursor.load(self.dir, tracker)
        assert state is not None
        assert (state.condition, state.dropped) == ("finished", 0)


def status_in(tracker, run_dir) -> str | None:
    return read(tracker, run_dir).config.get("status") if tracker == "mlflow" else None


@pytest.mark.slow
@pytest.mark.parametrize("tracker", TRACKERS)
def test_delivered_before_each_resume(home, tracker):
    run = Training()
    run.train(1, 30)
    assert forward(run.dir, tracker) == (0, "")
    assert status_in(tracker, run.dir) in (None, "KILLED")
    run.train(21, 40)
    assert forward(run.dir, tracker) == (0, "")
    run.train(11, 50, dies=False)  # back to before the first resume
    assert forward(run.dir, tracker) == (0, "")
    run.check(tracker)
    assert status_in(tracker, run.dir) in (None, "FINISHED")


@pytest.mark.slow
@pytest.mark.parametrize("tracker", TRACKERS)
def test_delivered_only_at_the_end_from_a_copy(home, tracker):
    run = Training()
    run.train(1, 30)
    run.train(21, 40)
    shutil.copytree(run.dir, "elsewhere")
    shutil.rmtree(run.dir)
    shutil.move("elsewhere", run.dir)
    run.train(11, 50, dies=False)
    assert forward(run.dir, tracker) == (0, "")
    run.check(tracker)
    (run.dir / "tracking" / f"{tracker}.json").unlink()
    assert forward(run.dir, tracker) == (0, "")
    run.check(tracker)


@pytest.mark.slow
@pytest.mark.parametrize("tracker", TRACKERS)
def test_the_forwarder_is_killed_around_each_resume(home, tracker):
    run, chance = Training(), random.Random(f"resumes with {tracker}")
    for first, last in [(1, 20), (11, 30), (21, 40), (31, 50)]:
        run.train(first, last, dies=last < 50)
        process = forwarder(run.dir, tracker)
        time.sleep(chance.uniform(0.5, 4.0))
        process.kill()
        process.communicate()
    code, said = forward(run.dir, tracker)
    assert code == 0, said
    run.check(tracker)


def forwarders_of(run_dir) -> list[int]:
    found = subprocess.run(
        ["pgrep", "-f", f"lib.tracking.forwarder {run_dir}"],
        capture_output=True,
        text=True,
        check=False,
    )
    here = [pid for pid in found.stdout.split() if _folder(pid) == Path.cwd()]
    return [int(pid) for pid in here]


def _folder(pid) -> Path | None:
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None


@pytest.mark.slow
@pytest.mark.parametrize("gap", [0.0, 0.6])
def test_an_orphaned_forwarder_hands_over(home, gap):
    """Training is killed while it is tracked, and goes on before its forwarder has ended."""
    run = Training()
    run.train(1, 30, trackers=TRACKERS, pause=0.05)
    time.sleep(gap)
    run.train(21, 40, trackers=TRACKERS, pause=0.05)
    orphans = forwarders_of(run.dir)
    run.train(31, 50, trackers=TRACKERS, pause=0.2, dies=False)
    deadline = time.monotonic() + 20
    while set(forwarders_of(run.dir)) & set(orphans):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    rows = [row for row, _ in read_rows(run.dir / "logs" / "metrics.jsonl")]
    system = sum("system/cpu_percent" in row.get("metrics", ()) for row in rows)
    for tracker in TRACKERS:
        run.check(tracker)
        assert len(read(tracker, run.dir).metrics["system/cpu_percent"]) == system
    current = current_rows(run.dir / "logs" / "metrics.jsonl")
    steps = [row["step"] for row, _ in current if "train/loss" in row.get("metrics", ())]
    assert steps == list(range(1, 51))


@pytest.mark.slow
def test_a_training_that_goes_on_without_tracking_is_not_tracked(home):
    run = Training()
    run.train(1, 30, trackers=["tensorboard"], pause=0.05)
    run.train(21, 40, pause=0.1)
    deadline = time.monotonic() + 20
    while forwarders_of(run.dir):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert max(step for step, _ in read("tensorboard", run.dir).metrics["lr"]) < 40
    state = cursor.load(run.dir, "tensorboard")
    # The forwarder may have ended before the run went on.
    assert state is not None and state.condition in ("handed over", "finished")
    run.train(31, 50, dies=False)
    assert forward(run.dir, "tensorboard")[0] == 0
    run.check("tensorboard")


def test_a_value_that_is_logged_twice_after_a_resume_arrives_twice(home):
    state = cursor.Cursor()
    rows = [{"step": 5, "time": 1.0, "metrics": {"x": 1.0}}, {"event": "resume", "time": 2.0}]
    rows += [{"step": step, "time": 3.0, "metrics": {"x": 1.0}} for step in (5, 6, 6)]
    given = [state.advance(row, end).metrics for end, row in enumerate(rows)]
    assert given == [{"x": 1.0}, {}, {}, {"x": 1.0}, {"x": 1.0}]
    assert state.repeated == 1


def test_other_values_after_changed_settings_are_announced(home, capsys):
    with make_run() as run:
        start = run.position()
        run.log({"x": 1.0}, 1)
    track = partial(launch, trackers=["tensorboard"], settings=settings())
    for changed, offset, said in [({}, start, 0), ({"LR": [1, 2]}, start, 1)]:
        again = Run.resume(run.dir, step=0, offset=offset, changed=changed)
        assert isinstance(again, Run)
        with again:
            again.track(track)
            again.log({"x": 2.0}, 1)
        assert capsys.readouterr().out.count("settings have changed") == said
    assert read("tensorboard", run.dir).metrics["x"] == [(1, 1.0)]


def test_what_an_earlier_training_delivered_is_not_everything(home, capsys, monkeypatch):
    """A forwarder that cannot even start leaves "finished" in the cursor, which is out of date."""
    with make_run(TRACKER_FINISH_TIMEOUT=1) as run:
        run.log({"x": 1.0}, 1)
    assert forward(run.dir, "tensorboard") == (0, "")
    again = Run.resume(run.dir, step=1, offset=(run.dir / "logs/metrics.jsonl").stat().st_size)
    assert isinstance(again, Run)
    monkeypatch.setattr("lib.tracking.launch.sys.executable", shutil.which("false"))
    with again:
        values = settings(TRACKER_FINISH_TIMEOUT=1)
        again.track(partial(launch, trackers=["tensorboard"], settings=values))
        again.log({"x": 2.0}, 2)
    assert "tensorboard is incomplete" in capsys.readouterr().out
