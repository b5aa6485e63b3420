# SPDX-License-Identifier: MIT
"""`make replay`: a run that was really trained, in a clone that has moved on since, trained again.

One training and two replays of it serve all the tests that train.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from lib import lock
from lib.runs import metadata
from lib.runs.stored import find_runs
from tests.killed import edited
from tests.test_docs_typed import copy_of_the_tree

LINE = "micro_loss = F.cross_entropy(logits, y) / plan.micro_steps"
IDENTITY = ("-c", "user.name=t", "-c", "user.email=t@t")


class Clone(NamedTuple):
    """A clone with a run `dirty`, trained with a changed line that is nowhere else any more."""

    folder: Path
    environment: dict[str, str]

    @property
    def runs(self) -> Path:
        return self.folder / "outputs" / "training"

    def call(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            arguments, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    def make(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return self.call("make", "VENV=system", f"PYTHON3={sys.executable}", *arguments)

    def git(self, *arguments: str) -> str:
        done = self.call("git", *IDENTITY, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def untouched(self) -> tuple[str, str, str]:
        """What a replay must leave as it is: the state of the tree, and git's work trees."""
        trees = self.git("worktree", "list", "--porcelain")
        left = sorted(path.name for path in self.runs.glob(".*") if path.is_dir())
        return self.git("status", "--porcelain"), trees, f"{left}"


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Clone:
    folder = tmp_path_factory.mktemp("home") / "tree"
    copy_of_the_tree(folder)
    dropped = ("RUN", "MAKEFLAGS", "MAKELEVEL", "MFLAGS", "SET", "TRACKER")
    environment = {k: v for k, v in os.environ.items() if k not in dropped}
    made = Clone(folder, {**environment, "OMP_NUM_THREADS": "1"})
    made.git("add", "-A")
    made.git("commit", "-qm", "as it is here", "--allow-empty")
    edited("lenet5/train.py", LINE, f"{LINE} * 0.5")(folder)
    assert made.make("defconfig-lenet5-digits").returncode == 0
    short = "MAX_STEPS=8 EVAL_INTERVAL=2 PLOTS=n LOG_INTERVAL=1 TRACKER_RUN_NAME=dirty"
    done = made.make("TRACKER=none", f"SET={short}")
    assert done.returncode == 0, done.stdout + done.stderr
    # The tree moves on: another commit, and a change with which nothing could be trained.
    made.git("checkout", "-q", "lenet5/train.py")
    edited("lenet5/train.py", LINE, f"{LINE} * 2")(folder)
    made.git("commit", "-qam", "moved on")
    (folder / "lenet5" / "model.py").write_text("this is no Python")
    return made


@pytest.mark.slow
def test_a_run_with_a_diff_comes_out_equal(clone):
    before = clone.untouched()
    run = clone.runs / "dirty"
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    done = clone.make("replay", "RUN=dirty", "FORMAT=json", "KEEP=1")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["equal"], result["until"], result["notes"]) == (True, None, [])
    compared = {each["name"]: each["compared"] for each in result["metrics"]}
    assert compared["train/loss"] == 8
    assert compared["val/loss"] == 4
    assert not any(name.startswith("perf/") for name in compared)
    (weights,) = result["weights"]
    assert {part["name"] for part in weights["parts"]} == {"weights", "optimizer"}
    assert all(part["equal"] == part["tensors"] > 5 for part in weights["parts"])
    assert {fact["name"]: fact["same"] for fact in result["machine"]}["PyTorch"]
    assert clone.untouched() == before
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files
    assert json.loads((clone.runs / "replays.jsonl").read_text())["equal"]
    kept = metadata.load(clone.runs / "dirty_replay" / "metadata.yaml")
    assert kept["replay_of"]["run_id"] == metadata.load(run / "metadata.yaml")["run_id"]
    assert (clone.runs / "dirty_replay" / "git.diff").read_text().count("* 0.5") == 1
    assert {run.name for run in find_runs(clone.runs)} == {"dirty", "dirty_replay"}


@pytest.mark.slow
def test_a_resumed_run_is_replayed_up_to_where_it_changed(clone):
    """With the settings of its beginning; a value that was never logged is found."""
    run = clone.runs / "resumed"
    subprocess.run(["cp", "-r", clone.runs / "dirty", run], check=True)
    fields = yaml.safe_load((run / "metadata.yaml").read_text())
    commit, changed = fields["git"]["commit"], {"SEED": [0, 5], "CHECKPOINT_KEEP": [1, 2]}
    fields["resumes"] = [{"step": 6, "changed": changed, "commit": commit, "dirty": True}]
    metadata.save(run / "metadata.yaml", fields)
    edited(".config", "CONFIG_SEED=0", "CONFIG_SEED=5")(run)
    lines = (run / "logs" / "metrics.jsonl").read_text().splitlines(keepends=True)
    for number, line in enumerate(lines):
        row = json.loads(line)
        if row.get("step") in (3, 8) and "train/loss" in row.get("metrics", {}):
            row["metrics"]["train/loss"] += 1.0
            lines[number] = json.dumps(row) + "\n"
    (run / "logs" / "metrics.jsonl").write_text("".join(lines))
    before = clone.untouched()
    done = clone.make("replay", "RUN=resumed")
    assert done.returncode == 2, done.stdout + done.stderr  # make's own, for exit code 1
    assert "Error 1" in done.stderr
    assert "resumed after step 6 with changes in SEED: one training cannot" in done.stdout
    assert "the first difference: train/loss at step 3, recorded" in done.stdout
    assert "NOT equal up to step 6" in done.stdout
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.split()}
    assert rows["train/loss"] == ["6", "no", "3", "1", rows["train/loss"][-1]]
    assert rows["val/loss"] == ["3", "yes"]
    assert clone.untouched() == before


@pytest.mark.slow
def test_stopped_in_the_middle_nothing_is_left(clone):
    before = clone.untouched()
    program = [sys.executable, "-m", "scripts.runs.replay", "dirty"]
    with subprocess.Popen(
        program, cwd=clone.folder, env=clone.environment, stdout=subprocess.DEVNULL
    ) as replay:
        deadline = time.monotonic() + 60
        while not list(clone.runs.glob(".replay/dirty-*/tree/.config")):
            assert replay.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        replay.send_signal(signal.SIGINT)
        assert replay.wait(60) == 130
    assert clone.untouched() == before


@pytest.mark.slow
def test_what_a_killed_replay_left_is_swept(clone):
    """Its work tree is taken off git's list; one that a training still holds stays."""
    before = clone.untouched()
    left = clone.runs / ".replay" / "dirty-0"
    left.mkdir(parents=True)
    (left / ".lock").touch()
    clone.git("worktree", "add", "-q", "--detach", str(left / "tree"))
    os.utime(left, (0, 0))
    held = clone.runs / ".replay" / "dirty-1"
    held.mkdir()
    lock_fd = lock.hold(held / ".lock")
    os.utime(held, (0, 0))
    code = (
        "from pathlib import Path; from lib.runs.replay.tree import work_place\n"
        "with work_place(Path('outputs/training'), 'x') as place: place.tree.mkdir()"
    )
    done = clone.call(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    assert held.is_dir()
    lock.release(lock_fd)
    assert clone.call(sys.executable, "-c", code).returncode == 0
    assert clone.untouched() == before


@pytest.mark.slow
def test_a_commit_that_is_not_here_and_code_of_somebody_else(clone):
    before, program = clone.untouched(), (sys.executable, "-m", "scripts.runs.replay")
    for name in ("elsewhere", "unpacked"):
        subprocess.run(["cp", "-r", clone.runs / "dirty", clone.runs / name], check=True)
    path = clone.runs / "elsewhere" / "metadata.yaml"
    fields = metadata.load(path)
    metadata.save(path, {**fields, "git": {**fields["git"], "commit": "1" * 40}})
    done = clone.call(*program, "elsewhere")
    assert done.returncode == 2
    assert "is not in this repository. Get it: git fetch --all" in done.stderr
    origin = {"file": "a.tar.zst", "time": "now", "sha256": "0" * 64}
    metadata.save(clone.runs / "unpacked" / "metadata.yaml", {**fields, "unpacked": origin})
    done = clone.call(*program, "unpacked")
    assert done.returncode == 2
    assert "read it, then add YES=1" in done.stderr
    (clone.runs / "unpacked" / "git.diff").write_text("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n")
    done = clone.call(*program, "unpacked", "--yes")
    assert done.returncode == 2
    assert "git.diff of the run cannot be applied to its commit" in done.stderr
    assert clone.untouched() == before
