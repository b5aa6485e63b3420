# SPDX-License-Identifier: MIT
"""`make matrix`, `make sweep-show` and `make list-sweeps` as a user types them.

In a copy of the tree with a model that trains in an instant (benchmarks/sweep_tree.py).
"""

import subprocess
import sys

import pytest

from benchmarks.sweep_tree import make_tree
from lib.runs.open import open_runs

HOSTILE = "'$(shell touch pwned) $(touch pwned) `touch pwned`; touch pwned'"
VARIABLES = ('LEARNING_RATE=0.1 0.2', 'SEED=1 2', "TINY_STEP_MS=0", "MAX_STEPS=4")  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    made = make_tree(tmp_path_factory.mktemp("matrix") / "odd 'name'")
    assert make(made, "defconfig-tiny").returncode == 0
    return made


def make(tree, *words, **environment):
    return subprocess.run(
        ["make", f"PYTHON3={sys.executable}", *words],
        cwd=tree.root,
        env={**tree.environment, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture(scope="module")
def trained(tree):
    """What `make matrix` said; SEED in the environment is not a word."""
    done = make(tree, "matrix", *VARIABLES, f"HYPOTHESIS={HOSTILE}", NAME="windows", SEED="9")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.slow
def test_all_combinations_are_trained(tree, trained):
    assert trained.startswith("sweep learning-rate-")
    assert ": 4 cells\n" in trained
    runs = open_runs(tree.output_dir)
    found = {(run.setting("LEARNING_RATE"), run.field("seed")) for run in runs}
    assert found == {(rate, seed) for rate in (0.1, 0.2) for seed in (1, 2)}
    assert {run.status for run in runs} == {"completed"}
    assert {run.field("hypothesis") for run in runs} == {HOSTILE.strip("'")}
    assert not list(tree.root.rglob("pwned"))


@pytest.mark.slow
def test_the_same_command_goes_on_and_so_does_the_name(tree, trained):
    again = make(tree, "matrix", *VARIABLES, f"HYPOTHESIS={HOSTILE}")
    name = trained.split()[1].rstrip(":")
    assert f"{name}: 4 completed" in again.stdout
    assert make(tree, "setconfig", "SET=WEIGHT_DECAY=0.5").returncode == 0
    assert f"{name}: 4 completed" in make(tree, "sweep", f"SWEEP={name}").stdout
    assert len(open_runs(tree.output_dir)) == 4


@pytest.mark.slow
def test_what_it_took_is_known_then(tree, trained):
    name = trained.split()[1].rstrip(":")
    shown = make(tree, "sweep-show", f"SWEEP={name}").stdout
    assert "grid, 4 cells: 2 configurations × 2 seeds" in shown
    assert "HYPOTHESIS=$(shell touch" in shown
    assert "1  LEARNING_RATE=0.1  1 2" in shown
    assert "one at a time, by 4 runs of the same settings" in shown
    assert "KiB" in shown
    tree.write_sweep(
        "other",
        {"set": {"TINY_STEP_MS": 30, "MAX_STEPS": 400}, "axes": {"LEARNING_RATE": [0.1, 0.2]},
         "metric": {"name": "val/loss"}},
    )  # fmt: skip
    assert "time and disk: not known" in make(tree, "sweep-show", "SWEEP=other").stdout
    listed = make(tree, "list-sweeps").stdout
    assert "  other  " in listed
    assert f"Begun:\n  {name}  4 of 4 finished\n" in listed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "make matrix needs values to combine"),
        (["LEARNING_RAT=1 2"], "there is no variable LEARNING_RAT: did you mean LEARNING_RATE="),
        (["LEARNING_RATE=1 x"], "LEARNING_RATE=x: wrong type, want a real number"),
        (["SEED=1 2", "NAME=Capital"], "`Capital`: a sweep's name has lower-case letters"),
        (["SEED=1 2", "NAME=digits-grid"], "sweeps/digits-grid.yaml has this name"),
        (["SEED=1 2", "JOBS=x"], "JOBS=x"),
        (["RUN=1 2"], "RUN has no effect here"),
    ],
    ids=lambda of: str(of)[:30],
)
def test_what_is_refused(tree, words, said):
    done = make(tree, "matrix", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_symbol_is_no_variable_of_other_targets(tree):
    done = make(tree, "sweep", "LEARNING_RATE=1 2")
    assert "LEARNING_RATE is a symbol of the configuration" in done.stderr


def test_help_does_not_list_every_symbol(tree):
    shown = make(tree, "help").stdout
    assert "  matrix " in shown
    assert "LEARNING_RATE=" not in shown.partition("\n  matrix ")[2].partition("\n  sweep ")[0]


def test_the_program_takes_the_words_itself(tree):
    done = subprocess.run(
        [sys.executable, "-m", "scripts.sweep.matrix", "LEARNING_RATE=0.1 -1", "BATCH_SIZE"],
        cwd=tree.root, env={**tree.environment, "BATCH_SIZE": "8"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert "LEARNING_RATE=-1: out of range" in done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "scripts.sweep.matrix", "BATCH_SIZE"],
        cwd=tree.root, env=tree.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        2,
        'error: BATCH_SIZE: give it values: BATCH_SIZE="… …"\n',
    )
