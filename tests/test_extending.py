# SPDX-License-Identifier: MIT
"""docs/extending.md: its patches apply, and what they add works: one training uses all four."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lib.files import ROOT
from lib.runs.stored import load_run
from tests.pages import blocks
from tests.test_docs_typed import copy_of_the_tree

PAGE = ROOT / "docs" / "extending.md"
FLAGS = [
    *("--optimizer", "amsgrad", "--pruning-method", "state", "--pruning-score", "root-v"),
    *("--target-sparsity", "0.9", "--tracker", "lines", "--dataset", "stripes"),
    *("--max-steps", "32", "--num-threads", "1", "--no-plots"),
]
PRUNABLE = 60_798  # the weights of LeNet-5's layers, with two classes


def patches() -> list[str]:
    return [block.text for block in blocks(PAGE) if block.kind == "diff"]


def typed(folder: Path, *words: str, text: str = "") -> str:
    environment = {"HOME": str(folder), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        words, cwd=folder, env=environment, input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_page_names_what_the_patches_touch():
    touched = [line[6:] for patch in patches() for line in patch.splitlines() if "+++ b/" in line]
    assert len(patches()) == 4
    assert len(touched) == 11
    (table,) = (part for part in PAGE.read_text().split("\n\n") if part.startswith("| | the table"))
    made = {"lib/tracking/backends/lines.py", "lib/data/images/stripes.py"}
    assert not [name for name in touched if name not in table and name not in made]


@pytest.mark.slow
def test_the_patches_apply_and_the_result_trains(tmp_path):
    tree = tmp_path / "tree"
    copy_of_the_tree(tree)
    for patch in patches():
        typed(tree, "git", "apply", "--check", text=patch)  # each alone …
    for patch in patches():
        typed(tree, "git", "apply", text=patch)  # … and all together
    typed(tree, sys.executable, "-m", "ruff", "check", "--quiet", ".")
    typed(tree, sys.executable, "-m", "ruff", "format", "--quiet", "--check", "lib")

    made = ("make", "VENV=system", f"PYTHON3={sys.executable}", "defconfig-lenet5-digits")
    typed(tree, *made)
    said = typed(tree, sys.executable, "lenet5/train.py", *FLAGS)
    (run_dir,) = (path.parent for path in tree.glob("outputs/training/*/metadata.yaml"))
    run = load_run(run_dir)
    assert "900 training images of stripes" in said
    assert run.status == "completed"
    assert run.metadata["dataset"]["name"] == "stripes"
    assert run.metadata["final_metrics"]["final/test_accuracy"] > 0.7  # guessing: 0.5
    assert f"{round(0.9 * PRUNABLE):,}" in " ".join(said.split())
    rows = [json.loads(line) for line in (run_dir / "lines.jsonl").read_text().splitlines()]
    logged = [json.loads(line) for line in (run_dir / "logs/metrics.jsonl").open()]
    losses = {
        row["step"]: row["metrics"]["train/loss"] for row in logged if "train/loss" in str(row)
    }
    assert {step: row["train/loss"] for step, row in rows if "train/loss" in row} == losses != {}
    assert (run_dir / "status").read_text() == "completed"
    assert "OPTIMIZER: amsgrad" in (run_dir / "config.yaml").read_text()
