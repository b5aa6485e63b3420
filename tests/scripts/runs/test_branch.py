# SPDX-License-Identifier: MIT
"""`make branch`: a new run that begins where another one was."""

import os
import shutil

import numpy as np
import pytest
import torch
import yaml

from lib.errors import BadUse, Failure
from lib.runs import metadata
from lib.runs.branch import branch
from lib.runs.journal import current_rows, read_rows
from lib.runs.run import Run
from lib.runs.stored import find_runs, latest_interrupted, load_run
from lib.train.checkpoint.find import load_newest
from lib.train.checkpoint.index import read_index
from lib.train.checkpoint.writer import Writer
from scripts.tracking.read_back import read
from tests.lib.conftest import forward, home, settings  # noqa: F401, a fixture
from tests.scripts.runs.test_runs import call


def go_on(run: Run, first: int, last: int, best: int) -> None:
    """Train: rows and an image for each step, a checkpoint at every second one."""
    writer = Writer(run.dir / "checkpoints", keep=9, every=0, compress=False)
    for step in range(first, last + 1):
        run.log({"train/loss": 1 / step, "val/loss": abs(step - best)}, step)
        run.log_image("picture", np.zeros((2, 2)), step)
        if step % 2 == 0:
            contents = {
                "model_state_dict": {"weight": torch.full((10,), float(step))},
                "step": step,
                "training_state": {"elapsed_s": 10.0 * step, "best_step": min(step, best)},
                "journal": {"offset": run.position()},
            }
            writer.write(contents, step=step, metrics={}, best=step == best, nbytes=400)


@pytest.fixture
def run(tmp_path):
    """Six steps, then back to step 2 and on to step 8; the best is step 4."""
    files = {".config": "CONFIG_SEED=3\n", "config.yaml": yaml.safe_dump({"Tracking": settings()})}
    out = tmp_path / "runs"
    with pytest.raises(KeyboardInterrupt), Run.create(out, "x", files=files) as run:
        go_on(run, 1, 6, best=4)
        raise KeyboardInterrupt
    _, saved = load_newest(run.dir / "checkpoints", print)
    assert saved["step"] == 6
    offset = torch.load(run.dir / "checkpoints" / "step_00000002.pt")["journal"]["offset"]
    changed = {"LR": [1, 2]}
    with Run.resume(run.dir, step=2, offset=offset, changed=changed) as run:
        go_on(run, 3, 8, best=4)
    return run.dir


def make(program, output_dir, *arguments) -> tuple[int, str, str]:
    done = call(program, output_dir, *arguments)
    return done.returncode, done.stdout, done.stderr


def lines_that_count(run_dir) -> list[bytes]:
    path = run_dir / "logs" / "metrics.jsonl"
    data, ends = path.read_bytes(), [end for _, end in current_rows(path)]
    return [data[data.rfind(b"\n", 0, end - 1) + 1 : end] for end in ends]


def steps_of(run_dir) -> list[int]:
    rows = current_rows(run_dir / "logs" / "metrics.jsonl")
    return [row["step"] for row, _ in rows if "metrics" in row]


def test_a_branch_is_the_run_up_to_a_checkpoint(run):
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    code, out, err = make("branch", run.parent, "x", "--step", "6", "--name", "new")
    assert (code, err) == (0, "")
    assert "make resume RUN=new" in out
    assert "note:" not in out
    new = run.parent / "new"
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before
    *copied, own = lines_that_count(new)
    assert copied == lines_that_count(run)[: len(copied)]
    assert steps_of(new) == [1, 2, 3, 4, 5, 6]
    assert b'"event":"branch"' in own
    folder = new / "checkpoints"
    assert (folder / "step_00000006.pt").samefile(run / "checkpoints" / "step_00000006.pt")
    assert (folder / "last.pt").samefile(folder / "step_00000006.pt")
    assert (folder / "best.pt").samefile(run / "checkpoints" / "step_00000004.pt")
    assert [(e.step, e.best) for e in read_index(folder)] == [(4, True), (6, False)]
    fields, parent = load_run(new).metadata, load_run(run).metadata
    assert fields["parent"] == {"run": "x", "run_id": parent["run_id"], "step": 6}
    assert (fields["run_name"], fields["status"], fields["duration_s"]) == (
        "new",
        "interrupted",
        60,
    )
    assert fields["run_id"] != parent["run_id"]
    assert fields["final_metrics"] == {"final/best_val_loss": 0}
    assert len(fields["resumes"]) == 1
    assert (new / ".config").read_text() == "CONFIG_SEED=3\n"
    assert latest_interrupted(run.parent) == new
    for path in [new, *new.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0 or path.stat().st_nlink > 1
    assert not [path for path in run.parent.glob(".*") if not path.name.startswith(".index.")]


def test_a_branch_goes_on_and_back_to_where_it_began(run):
    make("branch", run.parent, "x", "--step", "4")
    new = run.parent / "x_step4"
    for last in (7, 5, 9):
        _, saved = load_newest(new / "checkpoints", print)
        again = Run.resume(new, step=saved["step"], offset=saved["journal"]["offset"])
        assert isinstance(again, Run)
        with again:
            for step in range(saved["step"] + 1, last + 1):
                again.log({"train/loss": 0.5}, step)
        assert steps_of(new) == list(range(1, last + 1))
    _, out, _ = make("verify", run.parent, "x_step4")
    assert "another run" not in out
    go_on(Run.resume(new, step=4, offset=saved["journal"]["offset"]), 5, 6, best=4)
    assert make("branch", run.parent, "x_step4", "--step", "6", "--name", "second")[0] == 0
    assert steps_of(run.parent / "second") == [1, 2, 3, 4, 5, 6]


def test_settings_that_were_changed_later_are_named(run):
    code, out, _ = make("branch", run.parent, "x", "--step", "2")
    assert code == 0
    assert "LR was changed after step 2, from 1 to 2" in out
    assert "resumes" in load_run(run).metadata
    assert load_run(run.parent / "x_step2").metadata["resumes"] == []


@pytest.mark.slow
def test_a_branch_has_tracker_runs_of_its_own(home, run):  # noqa: F811
    make("branch", run.parent, "x", "--step", "6", "--name", "new")
    shutil.rmtree(run)
    new = run.parent / "new"
    assert forward(new, "tensorboard", "mlflow") == (0, "")
    for tracker in ("tensorboard", "mlflow"):
        stored = read(tracker, new)
        assert sorted(step for step, _ in stored.metrics["train/loss"]) == [1, 2, 3, 4, 5, 6]
        assert any("picture" in name for name in stored.media)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--step", "5"], "STEP=5: no checkpoint of that step; x has checkpoints of the steps 2"),
        (["--step", "x"], "STEP=x: no checkpoint of that step"),
        ([], "Add STEP=…; x has checkpoints of the steps 2, 4, 6, 8"),
        (["--step", "4", "--name", "../y"], "run name"),
    ],
)
def test_bad_use(run, given, said):
    code, out, err = make("branch", run.parent, "x", *given)
    assert (code, out) == (2, "")
    assert said in err
    assert [found.name for found in find_runs(run.parent)] == ["x"]


def test_damage_is_found_before_anything_is_made(run):
    path = run / "checkpoints" / "step_00000004.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    code, _, err = make("branch", run.parent, "x", "--step", "4")
    assert code == 1
    assert "does not match its SHA-256" in err
    journal = run / "logs" / "metrics.jsonl"
    journal.write_bytes(journal.read_bytes()[:700])
    code, _, err = make("branch", run.parent, "x", "--step", "6")
    assert code == 1
    assert "is not what it was when the checkpoint was saved" in err
    assert sorted(path.name for path in run.parent.iterdir()) == ["x"]


def test_a_branch_that_fails_leaves_nothing(run):
    def fail(_):
        raise OSError(28, "No space left on device")

    parent = load_run(run)
    with pytest.raises(Failure, match="No space left"):
        branch(parent, "y", step=0, offset=0, duration_s=0.0, fill=fail)
    with pytest.raises(BadUse):
        branch(parent, "y", step=0, offset=0, duration_s=0.0, fill=lambda _: _refuse())
    assert sorted(path.name for path in run.parent.iterdir()) == ["x"]
    for name in (".branch-killed", ".branch-begun", "killed", "begun"):
        (run.parent / name).mkdir()
    os.utime(run.parent / ".branch-killed", (0, 0))
    made = branch(parent, "y", step=0, offset=0, duration_s=0.0, fill=lambda _: None)
    left = sorted(path.name for path in run.parent.iterdir())
    assert left == [".branch-begun", "begun", "x", "y"]
    assert [row["event"] for row, _ in read_rows(made / "logs" / "metrics.jsonl")] == ["branch"]
    assert metadata.load(made / "metadata.yaml")["parent"]["run"] == "x"


def _refuse():
    raise BadUse("no")
