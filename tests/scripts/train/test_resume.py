# SPDX-License-Identifier: MIT
"""`make resume`: which run goes on, with what, and what is refused."""

import os
import shlex
import subprocess
import sys

import pytest

from benchmarks.config import copy_tree
from lib import lock
from lib.config.assign import apply
from lib.config.dotconfig import parse_words
from lib.config.settings import Settings
from lib.config.tree import Tree
from lib.runs.stored import StoredRun
from scripts.train.launch import layout_from
from scripts.train.resume import with_its_processes

# Says what it goes on with.
REPORT = """
import os, pathlib, sys
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
from lib.config.settings import program_settings
settings = program_settings("lenet5")
changes = settings.changes(settings.resume)
print("resume", settings.resume, settings.SEED, settings.NUM_EPOCHS, changes)
"""


@pytest.fixture
def tree(tmp_path):
    """A tree whose model is this program, with OUTPUT_DIR at its default."""
    copy_tree(tmp_path)
    (tmp_path / "lenet5" / "train.py").write_text(REPORT)
    (tmp_path / ".config").write_text("CONFIG_MODEL_LENET5=y\nCONFIG_DEVICE_CPU=y\n")
    return tmp_path


def add_run(tree, name, status="interrupted", words="", checkpoint="last.pt", started="10:00:00"):
    """A run directory as a training leaves it; returns its path."""
    configured = Tree()
    apply(configured, [parse_words(f"DEVICE=cpu {words}", "SET")[0]])
    run = tree / "outputs" / "training" / name
    (run / "checkpoints").mkdir(parents=True)
    (run / "logs").mkdir()
    for file, text in Settings(configured).files(lambda _, text: text).items():
        (run / file).write_text(text)
    (run / "metadata.yaml").write_text(
        f"run_name: {name}\nstatus: {status}\nstart_time: '2026-01-01T{started}+00:00'\n"
    )
    if checkpoint:
        (run / "checkpoints" / checkpoint).touch()
    return run


def resume(tree, **variables):
    """(exit code, stdout, stderr) of the program behind `make resume`."""
    kept = {k: v for k, v in os.environ.items() if k not in ("SET", "RUN", "TRACKER", "LAUNCH_ID")}
    done = subprocess.run(
        [sys.executable, "-m", "scripts.train.resume"],
        cwd=tree,
        env=kept | {name: str(value) for name, value in variables.items()},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_latest_interrupted_run_goes_on_with_its_own_configuration(tree):
    add_run(tree, "old", words="SEED=1")
    add_run(tree, "new", words="SEED=2", started="11:00:00")
    add_run(tree, "done", "completed", started="12:00:00")
    add_run(tree, "lost", "failed", started="13:00:00")
    code, out, err = resume(tree)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "outputs/training/new: interrupted, goes on",
        "resume outputs/training/new 2 40 {}",
    ]


@pytest.mark.parametrize("name", ["old", "lost", "ol", "outputs/training/old"])
def test_another_one_goes_on_by_name(tree, name):
    add_run(tree, "old", words="SEED=1")
    add_run(tree, "lost", "failed", words="SEED=1")
    add_run(tree, "new", words="SEED=2", started="11:00:00")
    code, out, _ = resume(tree, RUN=name)
    assert code == 0
    assert " 1 40 {}" in out.splitlines()[-1]


def test_what_changes_reaches_the_training(tree):
    add_run(tree, "x", words="SEED=2")
    code, out, err = resume(
        tree, SET="NUM_EPOCHS=50 DESCRIPTION='more of it' SEED=2", TRACKER="none"
    )
    assert (code, err) == (0, "")
    assert out.splitlines()[1].endswith(
        "x 2 50 {'DESCRIPTION': ['', 'more of it'], 'NUM_EPOCHS': [40, 50]}"
    )


def test_what_would_make_the_state_meaningless_is_refused_with_a_way_that_works(tree):
    add_run(tree, "x", words="SEED=2")
    code, out, err = resume(tree, SET="OPTIMIZER=sgd SEED=5 NUM_EPOCHS=50")
    assert (code, out) == (2, "")
    assert "  OPTIMIZER: adamw → sgd: the saved state of the optimizer" in err
    assert "  SEED: 2 → 5: the order of the data" in err
    assert "NUM_EPOCHS: " not in err
    command = err.splitlines()[-1].partition(": make ")[2]
    words = dict(word.split("=", 1) for word in shlex.split(command))
    assert words == {
        "KCONFIG_CONFIG": "outputs/training/x/.config",
        "SET": "INIT_FROM=outputs/training/x NUM_EPOCHS=50 OPTIMIZER=sgd SEED=5",
    }
    new = REPORT.replace("settings.changes(settings.resume)", "settings.INIT_FROM")
    (tree / "lenet5" / "train.py").write_text(new)
    done = subprocess.run(
        [sys.executable, "-m", "scripts.train.launch"],
        cwd=tree, env=os.environ | words, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "resume None 5 50 outputs/training/x"


def test_a_completed_run_goes_on_only_if_it_becomes_longer(tree):
    add_run(tree, "x", "completed", "NUM_EPOCHS=10 MAX_STEPS=100")
    for words in ("", "LEARNING_RATE=0.1", "NUM_EPOCHS=9", "MAX_STEPS=90"):
        code, out, err = resume(tree, RUN="x", SET=words)
        assert (code, out) == (2, "")
        assert 'make resume RUN=x SET="NUM_EPOCHS=…"' in err and "INIT_FROM=x" in err
    for words in ("NUM_EPOCHS=11", "MAX_STEPS=0", "MAX_STEPS=101"):
        assert resume(tree, RUN="x", SET=words)[0] == 0


def test_a_run_in_progress_is_refused(tree):
    run = add_run(tree, "x", "running")
    held = lock.hold(run / ".lock")
    try:
        code, _, err = resume(tree, RUN="x")
    finally:
        lock.release(held)
    assert code == 2
    assert err == "error: outputs/training/x is running: `make show RUN=x` says how far it is\n"
    assert resume(tree)[0] == 0, "it was killed, and so interrupted"


@pytest.mark.parametrize(
    ("runs", "name", "message"),
    [
        ([], "", "no run in outputs/training was interrupted; `make` trains a new one"),
        (["failed"], "", "goes on only by name: make resume RUN=failed"),
        (["completed"], "", "no run in outputs/training was interrupted; `make`"),
        (["interrupted"], "interupted", "RUN=interupted: no such run in outputs/training; did you"),
        ([], "outputs/nothing", "outputs/nothing/metadata.yaml is missing"),
    ],
)
def test_no_such_run(tree, runs, name, message):
    for status in runs:
        add_run(tree, status, status)
    code, out, err = resume(tree, RUN=name)
    assert (code, out) == (2, "")
    assert message in err and err.count("\n") == 1


def test_a_run_with_damaged_metadata(tree):
    run = add_run(tree, "x")
    (run / "metadata.yaml").write_text("status: [")
    code, _, err = resume(tree, RUN="x")
    assert code == 1
    assert "make verify RUN=outputs/training/x" in err and "Traceback" not in err


def test_a_run_without_a_checkpoint(tree):
    add_run(tree, "x", checkpoint="")
    code, _, err = resume(tree)
    assert code == 2
    assert "ended before its first checkpoint" in err
    assert "make KCONFIG_CONFIG=outputs/training/x/.config\n" in err


def test_secrets_come_from_the_present_configuration(tree):
    run = add_run(tree, "x")
    text = (run / ".config").read_text()
    old = 'MLFLOW_TRACKING_URI="sqlite:///mlflow.db"'
    assert old in text
    (run / ".config").write_text(text.replace(old, 'MLFLOW_TRACKING_URI="http://[redacted]@h"'))
    code, out, err = resume(tree)
    assert code == 0 and out.endswith(" {}\n")
    assert err.count("MLFLOW_TRACKING_URI=http://[redacted]@h: runs keep no secrets") == 1
    with (tree / ".config").open("a") as file:
        file.write('CONFIG_MLFLOW_TRACKING_URI="http://me:pw@h"\n')
    seen = REPORT.replace("settings.SEED", "settings.MLFLOW_TRACKING_URI")
    (tree / "lenet5" / "train.py").write_text(seen)
    code, out, err = resume(tree)
    assert (code, err) == (0, "")
    assert " http://me:pw@h " in out


def test_symbols_that_are_new_or_gone(tree):
    run = add_run(tree, "x")
    config = run / ".config"
    text = config.read_text()
    lines = [line for line in text.splitlines() if "GRAD_CLIP" not in line]
    config.write_text("\n".join([*lines, "# CONFIG_GONE is not set", ""]))
    code, _, err = resume(tree)
    assert code == 0
    assert "newer than outputs/training/x/.config, so at their defaults: GRAD_CLIP=0.0" in err
    config.write_text(text + "CONFIG_GONE=3\n")
    code, _, err = resume(tree)
    assert code == 2
    assert "GONE=3: no such symbol any more" in err and "check out the commit of the run" in err


def test_each_launch_has_a_name_and_a_restarted_one_its_own(tree):
    (tree / "lenet5" / "train.py").write_text(
        "import os, sys; print('id', os.environ['LAUNCH_ID'], sys.argv[1:])"
    )

    def launch(**variables):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "LAUNCH_"))}
        done = subprocess.run(
            [sys.executable, "-m", "scripts.train.launch"],
            cwd=tree, env=kept | variables, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        _, name, arguments = done.stdout.splitlines()[-1].split(maxsplit=2)
        return name, arguments

    auto = "['--resume', 'auto']"
    (first, plain), (second, _) = launch(), launch()
    assert first != second and plain == "[]"
    assert launch(LAUNCH_ID="mine") == ("mine", auto)
    in_job = launch(SLURM_JOB_ID="7")
    assert in_job[1] == "[]"
    assert launch(SLURM_JOB_ID="7", SLURM_RESTART_COUNT="1") == (in_job[0], auto)
    assert launch(SLURM_JOB_ID="8", SLURM_RESTART_COUNT="0")[0] != in_job[0]
    other = launch(SLURM_JOB_ID="7", SLURM_RESTART_COUNT="1", SET="SEED=9")
    assert other[0] != in_job[0] and other[1] == auto


@pytest.mark.parametrize(
    ("given", "device", "had", "expected"),
    [
        ({}, "cpu", 2, 2),
        ({"NPROC": "1"}, "cpu", 2, 1),
        ({}, "cpu", 1, 0),
        ({}, "cpu", 10**6, 0),
        ({}, "cuda:0", 2, 0),  # there is no GPU
        ({"NNODES": "2", "MASTER_ADDR": "a"}, "cpu", 2, 0),
        ({}, "cpu", "two", 0),
    ],
)
def test_as_many_processes_as_before(tmp_path, monkeypatch, given, device, had, expected):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    run = StoredRun(tmp_path, {"device": device, "batch": {"world_size": had}})
    assert with_its_processes(layout_from(given), run, "cpu").nproc == expected
