# SPDX-License-Identifier: MIT
"""A sweep that is killed goes on with what is missing: each cell is trained once, undisturbed.

Its processes, its database and its run directories are real; only the model is tiny.
"""

import os
import random
import shutil
import signal
import subprocess
from contextlib import contextmanager

import pytest

from benchmarks import sweep_kills
from benchmarks.sweep_checks import trials_of
from benchmarks.sweep_kills import sqlite
from benchmarks.sweep_tree import make_tree
from lib.runs import open_runs
from tests.lib.sweep.sweeps import ended_well, trainings, until, write

MOMENTS = {
    "between-study-and-trials": "after optuna:create_study",
    "while-it-claims": "after lib.sweep.claims:take",
    "between-claim-and-start": "after lib.sweep.study:Study.claim",
    "right-after-the-start": "after lib.sweep.training:Training.start",
    "between-end-and-record": "before lib.sweep.study:Study.complete",
    "while-it-records": "after lib.sweep.claims:complete",
    "right-after-the-record": "after lib.sweep.study:Study.complete",
}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_a_chosen_moment(tree, forks, moment):
    write(tree, moment, seeds=[3])
    assert forks.sweep(SWEEP=moment, kill=MOMENTS[moment]) == -signal.SIGKILL
    assert forks.sweep(SWEEP=moment) == 0
    ended_well(tree, moment, cells=1)


@pytest.mark.slow
def test_killed_at_random(tmp_path):
    tree = make_tree(tmp_path / "tree")
    tree.write_sweep("grid", sweep_kills.description(16, step_ms=25))
    campaign = sweep_kills.one_process(tree, random.Random(4), 16, 3, "grid")
    campaign.limit_s = 120
    campaign.play()
    assert campaign.struck.total() == 3
    ended_well(tree, "grid", cells=16)


@pytest.mark.slow
def test_a_training_outlives_neither_its_worker_nor_its_checkpoint(tree, forks):
    """The worker is killed: its training saves and ends, and goes on from there."""
    write(tree, "orphan", seeds=[1], set={"TINY_STEP_MS": 150, "CHECKPOINT_INTERVAL": 1000})
    program = forks.start(SWEEP="orphan")
    until(lambda: list(tree.output_dir.glob("orphan_*/logs/metrics.jsonl")))
    journal = next(tree.output_dir.glob("orphan_*/logs/metrics.jsonl"))
    until(lambda: b'"step":5' in journal.read_bytes())
    program.signal(signal.SIGKILL)
    until(lambda: not trainings(tree), limit=5)
    assert forks.sweep(SWEEP="orphan") == 0
    assert ended_well(tree, "orphan", cells=1).resumed == 1


@pytest.mark.slow
def test_a_training_that_is_killed_each_time_fails_in_the_end(tree, forks):
    write(tree, "doomed", seeds=[1])
    program = forks.start(SWEEP="doomed", set={"lib.sweep.claims:MOST_LOST": 2})
    for _ in range(3):
        (training,) = until(lambda: trainings(tree))
        os.kill(training, signal.SIGKILL)
        until(lambda gone=training: gone not in trainings(tree))
    assert program.wait() == 1
    (trial,) = trials_of("doomed", sqlite(tree))
    assert trial.state.name == "FAIL"
    assert trial.user_attrs["reason"] == "it was ended by SIGKILL, as 2 times before"


@pytest.mark.slow
def test_a_run_that_is_discarded_is_not_missed(tree, forks):
    """What the study has recorded counts: what was thrown away is not trained again."""
    write(tree, "discarded", seeds=[1, 2], set={"TINY_STEP_MS": 0})
    assert forks.sweep(SWEEP="discarded", JOBS="2") == 0
    run = next(run for run in open_runs(tree.output_dir) if run.field("group") == "discarded")
    shutil.rmtree(run.dir)
    before = len(tree.said)
    assert forks.sweep(SWEEP="discarded") == 0
    assert "starts" not in tree.said[before:]
    assert [t.state.name for t in trials_of("discarded", sqlite(tree))] == ["COMPLETE"] * 2


@contextmanager
def small_disk(folder, megabytes):
    """A disk of that size at `folder`; skips where mounting is not allowed."""
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs to mount a small disk, which root may")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path):
    """Write a file until the disk is full."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(2**16) if os.statvfs(path).f_bavail > 16 else bytes(4096))
        except OSError:
            pass


@pytest.mark.slow
def test_the_disk_fills_up_in_the_middle(tmp_path):
    tree = make_tree(tmp_path / "tree")
    write(tree, "full", seeds=[1, 2, 3], set={"TINY_STEP_MS": 50})
    with small_disk(tree.output_dir, 64):
        program = tree.popen("-m", "scripts.sweep.run", SWEEP="full", JOBS="1")
        until(lambda: "completed" in tree.said)
        until(lambda: trainings(tree))
        fill(tree.output_dir / "filler")
        assert program.wait(60) == 1
        assert "Traceback" not in tree.said and "full" in tree.said.rpartition("error: ")[2]
        (tree.output_dir / "filler").unlink()
        again = tree.popen("-m", "scripts.sweep.run", SWEEP="full", JOBS="1")
        assert again.wait(60) == 0, tree.said
        ended_well(tree, "full", cells=3)
