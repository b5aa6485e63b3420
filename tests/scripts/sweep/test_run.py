# SPDX-License-Identifier: MIT
"""`make sweep` with real trainings, which are killed, fail, and are stopped."""

import json
import os
import signal
import subprocess

import pytest

from benchmarks.tiny.model import expected_loss
from lib import lock

pytestmark = pytest.mark.slow

ONE = {"LEARNING_RATE": [0.001]}
SLOW = {"MAX_STEPS": 30, "TINY_STEP_MS": 60}


def pids(sweeps) -> list[int]:
    """The trainings that are alive."""
    command = ["pgrep", "-f", f"tiny/train.py --config {sweeps.folder.resolve()}"]
    return list(
        map(int, subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout.split())
    )


def states(sweeps, name: str) -> set[str]:
    """Those of its trials."""
    return {trial.state for trial in sweeps.study(name).trials()}


def assert_right(sweeps, name: str, cells: int, steps: int = 20) -> None:
    """Each cell has one completed run, which ended with the numbers of an undisturbed training."""
    found = [t for t in sweeps.study(name).trials() if t.state == "complete"]
    assert len({t.key for t in found}) == len(found) == cells
    completed = {run.name for run in sweeps.runs if run.status == "completed"}
    assert {t.run for t in found} == completed
    for trial in found:
        lr = trial.params["LEARNING_RATE"]
        assert trial.values == (pytest.approx(expected_loss(trial.seed, lr, steps)),)


def test_a_cell_is_trained_once(sweeps):
    sweeps.write("grid", axes=ONE, set={"TRACKER_TAGS": "mine"})
    code, said = sweeps.run("grid", "--jobs", "2")
    assert code == 0, said
    assert_right(sweeps, "grid", cells=2)
    run = sweeps.runs[0]
    assert run.metadata["tags"] == ["mine", "sweep:grid"]
    assert (run.metadata["group"], run.metadata["job_type"]) == ("grid", "sweep")
    assert not [p for p in sweeps.folder.rglob("*") if p.stat().st_mode & 0o077]

    code, said = sweeps.run("grid")
    assert code == 0 and "starts" not in said

    # The database is lost, or the worker died before it could tell it of its runs.
    (sweeps.folder / "studies.sqlite").unlink()
    code, said = sweeps.run("grid")
    assert code == 0 and said.count("was complete") == 2
    assert_right(sweeps, "grid", cells=2)

    sweeps.write("larger")
    code, said = sweeps.run("larger", "--jobs", "2", REUSE="y")
    assert code == 0 and said.count("is reused") == 2 and len(sweeps.runs) == 4
    found = [(t.reused, t.run.partition("_")[0]) for t in sweeps.study("larger").trials()]
    assert sorted(found) == [(False, "larger")] * 2 + [(True, "grid")] * 2


def test_stopped_and_gone_on_with(sweeps):
    sweeps.write("slow", set=SLOW, axes=ONE)
    for number in (signal.SIGINT, signal.SIGTERM):
        worker = sweeps.start("slow", "--jobs", "2")
        sweeps.wait(lambda: len(pids(sweeps)) == 2)
        sweeps.wait_for_checkpoints(2)
        worker.send_signal(number)
        assert worker.wait(timeout=20) == 128 + number
        assert not pids(sweeps)
        assert states(sweeps, "slow") == {"waiting"}
    assert {run.status for run in sweeps.runs} == {"interrupted"}
    assert "to go on, type the same command again" in sweeps.tree.said
    assert sweeps.run("slow", "--jobs", "2")[0] == 0
    assert_right(sweeps, "slow", cells=2, steps=30)
    assert len(sweeps.runs) == 2 and all("resumes" in run.metadata for run in sweeps.runs)


def test_a_second_ctrl_c_kills(sweeps):
    sweeps.write("slow", set=SLOW, axes=ONE)
    worker = sweeps.start("slow", "--jobs", "1")
    sweeps.wait_for_checkpoints(1)
    (training,) = pids(sweeps)
    os.kill(training, signal.SIGSTOP)  # it cannot save any more
    worker.send_signal(signal.SIGINT)
    sweeps.wait(lambda: "stopping" in sweeps.tree.said)
    worker.send_signal(signal.SIGINT)
    assert worker.wait(timeout=10) == 130
    assert not pids(sweeps)
    assert states(sweeps, "slow") == {"waiting"}


def test_killed_workers_and_trainings(sweeps):
    """A dead worker is seen long before its heartbeats are missed; its trainings save and end."""
    sweeps.write("slow", set=SLOW, axes=ONE)
    worker = sweeps.start("slow", "--jobs", "2")
    sweeps.wait_for_checkpoints(2)
    worker.kill()
    worker.wait()
    sweeps.wait(lambda: not pids(sweeps))

    worker = sweeps.start("slow", "--jobs", "2")
    sweeps.wait(lambda: sweeps.tree.said.count("goes on") == 2)
    sweeps.wait(lambda: len(pids(sweeps)) == 2)
    os.kill(pids(sweeps)[0], signal.SIGKILL)
    assert worker.wait(timeout=60) == 0
    assert_right(sweeps, "slow", cells=2, steps=30)
    assert len(sweeps.runs) == 2
    found = sweeps.study("slow").trials()
    lost = [t for t in found if t.state == "failed"]
    assert len(lost) == 2 and all("died" in t.reason and t.superseded for t in lost)
    assert len(found) == 4 and not any(t.changes for t in found)


def test_two_share_a_sweep(sweeps):
    sweeps.write("grid", set={"MAX_STEPS": 40})
    workers = [sweeps.start("grid", "--jobs", "1") for _ in range(2)]
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0]
    assert_right(sweeps, "grid", cells=4, steps=40)
    assert len(sweeps.runs) == 4
    assert len({t.worker for t in sweeps.study("grid").trials()}) == 2


def test_failures(sweeps):
    """Out of memory: half the batch, as many examples. Anything else: the same again, as told."""
    arms = {"large": {"TINY_MEMORY": 40}, "broken": {"TINY_FAILS_AT": 7}, "good": {}}
    sweeps.write("arms", arms=arms, axes={}, seeds=[1])
    code, said = sweeps.run("arms")
    assert code == 1
    of = {arm: [t for t in sweeps.study("arms").trials() if t.params["arm"] == arm] for arm in arms}
    first, second = of["large"]
    assert (first.state, second.state) == ("failed", "complete")
    assert "needs more memory; the next attempt has BATCH_SIZE=32 GRAD_ACCUM=2" in first.reason
    assert second.changes == {"BATCH_SIZE": "32", "GRAD_ACCUM": "2"}
    trained = next(run for run in sweeps.runs if run.name == second.run)
    assert (trained.settings["BATCH_SIZE"], trained.settings["GRAD_ACCUM"]) == (32, 2)
    assert [t.state for t in of["broken"]] == ["failed", "failed"]
    assert {t.reason for t in of["broken"]} == {"RuntimeError: step 7 failed, as it was asked to"}
    assert [t.state for t in of["good"]] == ["complete"]
    (line,) = [line for line in said.splitlines() if line.startswith("  failed: ")]
    assert "broken" in line and "step 7 failed" in line
    logs = [path.read_text() for path in sweeps.folder.glob("arms/log-*.txt")]
    assert any("MemoryError" in text for text in logs)


def test_a_metric_that_no_run_logs(sweeps):
    sweeps.write("wrong", metric={"name": "val/los", "goal": "minimize"})
    for _ in range(2):  # the second time it takes no training to find out
        code, said = sweeps.run("wrong", "--jobs", "1")
        assert code == 1
        assert "logged no metric val/los; did you mean val/loss?" in said
        assert [run.status for run in sweeps.runs] == ["completed"]
        assert states(sweeps, "wrong") == {"waiting"}


def test_pruned_trials(sweeps):
    rates = {"a": {"LEARNING_RATE": 0.001}, "b": {"LEARNING_RATE": 0.0011}}
    rates["bad"] = {"LEARNING_RATE": 0.1, "TINY_STEP_MS": 200}  # there is time to stop it
    pruner = {"name": "median", "startup_trials": 2, "warmup_steps": 10}
    sweeps.write("prune", arms=rates, axes={}, seeds=[1], pruner=pruner)
    code, said = sweeps.run("prune", "--jobs", "1")
    assert code == 0, said
    *good, bad = sweeps.study("prune").trials()
    assert [t.state for t in good] == ["complete", "complete"]
    assert bad.state == "pruned" and bad.reason.startswith("given up by the pruner at step 1")
    run = next(run for run in sweeps.runs if run.name == bad.run)
    assert run.status == "interrupted" and "pruned" in run.metadata["tags"]
    assert run.metadata["notes"][0]["text"].endswith(bad.reason)
    assert (run.dir / "checkpoints" / "tiny.json").exists()


def test_a_run_that_another_process_holds_is_waited_for(sweeps):
    sweeps.write("grid", axes=ONE, seeds=[1])
    assert sweeps.run("grid")[0] == 0
    (run,) = sweeps.runs
    metadata = run.dir / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("status: completed", "status: running"))
    (sweeps.folder / "studies.sqlite").unlink()
    held = lock.hold(run.dir / ".lock")
    try:
        worker = sweeps.start("grid")
        sweeps.wait(lambda: (sweeps.folder / "studies.sqlite").exists())
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(timeout=4)
        assert len(sweeps.runs) == 1
    finally:
        lock.release(held)
    assert worker.wait(timeout=30) == 0
    (trial,) = sweeps.study("grid").trials()
    assert trial.values == (pytest.approx(expected_loss(1, 0.001, 20)),)
    assert json.loads((run.dir / "checkpoints" / "tiny.json").read_text())["step"] == 20


def test_bad_use_begins_nothing(sweeps):
    sweeps.write("grid")
    code, said = sweeps.run("grid", "--gpus", "all")
    assert code == 2 and "GPUS=all: this machine has no GPU" in said
    assert not sweeps.folder.exists()


def test_a_worker_that_was_thought_dead_lets_its_trial_go(sweeps):
    """Its training stops, and the next attempt goes on with the run."""
    pruner = {"name": "median", "startup_trials": 100}  # which has it report each evaluation
    sweeps.write("slow", set=SLOW, axes=ONE, seeds=[1], pruner=pruner)
    worker = sweeps.start("slow")
    sweeps.wait_for_checkpoints(1)
    assert len(sweeps.study("slow").lost(lambda worker: True)) == 1
    assert worker.wait(timeout=60) == 0
    assert "was taken away" in sweeps.tree.said
    assert_right(sweeps, "slow", cells=1, steps=30)
    assert [run.status for run in sweeps.runs] == ["completed"]
    assert len(sweeps.runs[0].metadata["resumes"]) == 1
