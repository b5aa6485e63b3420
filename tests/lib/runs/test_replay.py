# SPDX-License-Identifier: MIT
"""What of a run can be replayed, and two journals compared; nothing is trained here."""

import math
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import BadUse
from lib.runs import metadata
from lib.runs.journal import Journal
from lib.runs.replay.journals import compare_journals, first_difference
from lib.runs.replay.machine import compare_machines
from lib.runs.replay.plan import command_settings, plan_replay
from lib.runs.run import Run
from lib.runs.stored import load_run

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CLEAN = {"commit": COMMIT, "branch": "main", "dirty": False, "untracked": [], "diff": None}
CONFIG = 'CONFIG_SEED=3\nCONFIG_DATA_DIR="data"\nCONFIG_INIT_FROM=""\n'
OTHER = "f" * 40


@pytest.fixture
def run_dir(tmp_path) -> Path:
    with Run.create(tmp_path, "a", files={".config": CONFIG}, info={"git": CLEAN}) as run:
        (run.dir / "git.diff").unlink(missing_ok=True)
        for step in range(1, 11):
            run.log({"train/loss": 1 / step}, step)
    return run.dir


def plan(run_dir: Path, diff: str = "", **fields):
    """The plan for the run with other metadata and diff."""
    metadata.save(run_dir / "metadata.yaml", {**metadata.load(run_dir / "metadata.yaml"), **fields})
    if diff:
        (run_dir / "git.diff").write_text(diff)
    return plan_replay(load_run(run_dir))


def resumed(step: int, commit: str = COMMIT, dirty: bool = False, **changed) -> dict:
    return {"step": step, "commit": commit, "dirty": dirty, "changed": changed}


def test_a_plain_run_is_replayed_whole_with_the_data_of_this_tree(run_dir):
    found = plan(run_dir, batch={"world_size": 2})
    assert (found.commit, found.diff, found.until, found.notes) == (COMMIT, "", None, [])
    assert found.processes == 2
    assert Path(found.settings["DATA_DIR"]).is_absolute()
    assert command_settings({"A": "b c", "D": "$(x) 'y'"}) == """'A=b c' 'D=$(x) '"'"'y'"'"''"""


def test_what_a_trial_chose_is_chosen_again(run_dir):
    (run_dir / ".config").write_text(CONFIG + 'CONFIG_PRECISION="auto"\nCONFIG_KERNELS="auto"\n')
    run = load_run(run_dir)
    run.metadata.update(precision="bfloat16", kernels={"attention": "whole", "gelu": "pytorch"})
    found = plan_replay(run).settings
    assert found["PRECISION"] == "bfloat16"
    assert found["KERNELS"] == "attention=whole gelu=pytorch"
    (run_dir / ".config").write_text(CONFIG + 'CONFIG_PRECISION="float32"\nCONFIG_KERNELS=""\n')
    assert not {"PRECISION", "KERNELS"} & plan_replay(load_run(run_dir)).settings.keys()


def test_data_of_another_machine_is_looked_for_here(run_dir, tmp_path):
    (run_dir / ".config").write_text(CONFIG.replace('DIR="data"', 'DIR="/nowhere/data"'))
    found = plan_replay(load_run(run_dir), data_dir=f"{tmp_path}/here")
    assert found.settings["DATA_DIR"] == f"{tmp_path}/here"
    (run_dir / ".config").write_text(CONFIG.replace('DIR="data"', f'DIR="{tmp_path}"'))
    found = plan_replay(load_run(run_dir), data_dir=f"{tmp_path}/here")
    assert found.settings["DATA_DIR"] == str(tmp_path)


def test_equal_resumes_are_one_training(run_dir):
    found = plan(run_dir, resumes=[resumed(4), resumed(6, CHECKPOINT_KEEP=[1, 2])])
    assert found.until is None
    assert found.settings["CHECKPOINT_KEEP"] == "1"


def test_what_a_resume_changed_ends_what_can_be_compared(run_dir):
    changes = [resumed(6, SEED=[2, 3], CHECKPOINT_KEEP=[1, 2]), resumed(8, SEED=[3, 4])]
    found = plan(run_dir, resumes=changes)
    assert (found.until, found.settings["SEED"]) == (6, "2")
    assert any("changes in SEED" in note for note in found.notes)
    assert plan(run_dir, resumes=[resumed(5, OTHER)]).until == 5
    assert plan(run_dir, resumes=[resumed(5, dirty=True)]).until == 5
    assert plan(run_dir, resumes=[resumed(5, NO_SUCH_SYMBOL=["a", "b"])]).until == 5
    with pytest.raises(BadUse, match="no step that can be replayed"):
        plan(run_dir, resumes=[resumed(0, SEED=[2, 3])])


def test_an_interrupted_run_is_compared_up_to_its_end(run_dir):
    assert plan(run_dir, status="interrupted").until == 10
    (run_dir / "checkpoints" / "step_00000012.pt").touch()  # saved, and logged every tenth step
    assert plan(run_dir, status="interrupted").until == 12
    found = plan(run_dir, status="failed", resumes=[resumed(4, SEED=[2, 3])])
    assert found.until == 4


def test_what_is_not_recorded_is_said(run_dir):
    found = plan(run_dir, git={**CLEAN, "untracked": ["new.py", "and 3 more"]})
    assert "new.py, and 3 more" in found.notes[0]
    (run_dir / ".config").write_text(f'{CONFIG}CONFIG_MAX_TIME=5\nCONFIG_X="[redacted]"\n')
    said = " ".join(plan(run_dir).notes)
    assert "MAX_TIME" in said
    assert "these settings lack them: X" in said


@pytest.mark.parametrize(
    ("git", "diff", "said"),
    [
        ({**CLEAN, "commit": None}, "", "not recorded with a git commit"),
        ({**CLEAN, "commit": "--upload-pack=x"}, "", "not recorded with a git commit"),
        ({**CLEAN, "dirty": True}, "", "git.diff is missing"),
        ({**CLEAN, "dirty": True}, "x\n[cut: 5000000 characters in all]\n", "is cut off"),
        ({**CLEAN, "dirty": True}, "--- a\n+++ b\n+k = '[redacted]'\n", ":3: a secret"),
        ({**CLEAN, "dirty": True}, "+caf\N{REPLACEMENT CHARACTER}\n", "not UTF-8"),
    ],
)
def test_code_that_is_not_known_in_full_is_refused(git, diff, said, run_dir):
    with pytest.raises(BadUse, match=said):
        plan(run_dir, diff, git=git)


def test_redacted_text_that_was_there_before_is_no_secret(run_dir):
    """In a line that the diff removes or shows around it, it is the text of the commit."""
    diff = "--- a/x\n+++ b/x\n@@ -1,2 +1 @@\n [redacted]\n-[redacted]\n"
    assert plan(run_dir, diff, git={**CLEAN, "dirty": True}).diff == diff


def test_the_weights_that_a_run_began_with(run_dir, tmp_path):
    (run_dir / ".config").write_text(CONFIG.replace('FROM=""', 'FROM="parent"'))
    with Run.create(tmp_path, "parent") as parent:
        pass
    about = {"run": "parent", "run_id": parent.id, "checkpoint": "best.pt", "step": 12}
    with pytest.raises(BadUse, match="which are not here"):
        plan(run_dir, parent=about)
    best = parent.dir / "checkpoints" / "best.pt"
    best.touch()
    assert plan(run_dir, parent=about).settings["INIT_FROM"] == str(best)
    with Run.create(tmp_path, "trunk", info={"parent": about}) as trunk:
        pass
    branch = {"run": "trunk", "run_id": trunk.id, "step": 4}  # of a run that began with weights
    assert plan(run_dir, parent=branch).settings["INIT_FROM"] == str(best)
    with pytest.raises(BadUse, match="a branch of trunk, which is not here"):
        plan(run_dir, parent={**branch, "run_id": "0" * 12})
    step = best.with_name("step_00000012.pt")
    step.touch()  # best.pt may have moved on
    assert plan(run_dir, parent=about).settings["INIT_FROM"] == str(step)
    with pytest.raises(BadUse, match="which are not here"):
        plan(run_dir, parent={**about, "run_id": "0" * 12})
    shutil.rmtree(parent.dir)
    with pytest.raises(BadUse, match="no such run"):
        plan(run_dir, parent=about)


def test_a_run_in_progress_or_without_a_journal(tmp_path, run_dir):
    with Run.create(tmp_path, "b") as run, pytest.raises(BadUse, match="is running"):
        plan_replay(load_run(run.dir))
    (run_dir / "logs" / "metrics.jsonl").unlink()
    with pytest.raises(BadUse, match="nothing to replay"):
        plan_replay(load_run(run_dir))


# --------------------------------------------------------------------------------------- journals


def written(path: Path, rows: dict[int, float]) -> Path:
    path.unlink(missing_ok=True)
    journal = Journal(path)
    for step, value in rows.items():
        journal.log({"a": value, "perf/step_ms": value + step, "constant": 1}, step)
    journal.close()
    return path


VALUES = st.dictionaries(st.integers(0, 30), st.floats(), min_size=1)


@given(rows=VALUES, data=st.data())
def test_the_first_difference_is_found(rows, data, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    changed, steps = dict(rows), sorted(rows)
    one = written(folder / "one", rows)
    assert all(s.equal for s in compare_journals(one, written(folder / "other", rows)))
    step = data.draw(st.sampled_from(steps))
    changed[step] = data.draw(st.floats(0, 9).filter(lambda v: v != rows[step]))
    a, constant = compare_journals(one, written(folder / "other", changed))
    assert (a.name, a.equal, a.compared, a.first.step) == ("a", False, len(rows), step)
    assert constant.equal
    assert first_difference([constant, a]) == ("a", a.first)
    assert a.max_abs >= 0
    until = compare_journals(one, folder / "other", until=step - 1)
    assert all(each.equal for each in until)


def test_missing_steps_signs_and_nan(tmp_path):
    one = written(tmp_path / "one", {1: 0.0, 2: math.nan, 3: 1.0})
    (a, constant) = compare_journals(one, written(tmp_path / "two", {1: -0.0, 2: math.nan}))
    assert (a.first.step, a.missing, a.max_abs) == (1, 1, 0.0)
    assert not constant.equal
    (a, _) = compare_journals(one, written(tmp_path / "two", {1: math.inf, 2: math.nan, 3: 1.0}))
    assert a.max_abs == math.inf


def test_what_differs_between_machines():
    was = {
        "torch": "2.0",
        "cpu": {"model": "x", "cores": 4},
        "packages": {"numpy": "1", "ruff": "1"},
    }
    now = {"torch": "2.1", "cpu": {"model": "x", "cores": 8}, "packages": {"numpy": "2"}}
    facts = {fact.name: fact for fact in compare_machines(was, now)}
    differing = {name for name, fact in facts.items() if not fact.same}
    assert differing == {"PyTorch", "cores", "numpy", "ruff"}
    assert {name for name in differing if facts[name].matters} == {"PyTorch", "numpy"}
    assert compare_machines({"cpu": 3, "gpus": "x", "packages": None}, now)
