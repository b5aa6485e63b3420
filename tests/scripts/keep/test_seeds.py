# SPDX-License-Identifier: MIT
"""DVC's and git's own commands on runs, typed by hand as docs/keeping.md has them in its table."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lib.runs.keep.keep import keep
from lib.runs.keep.kept import kept_runs
from lib.runs.keep.repository import Repository
from tests.lib.runs.keep.conftest import RUNS, train, tree  # noqa: F401, the fixture

pytestmark = pytest.mark.slow


def type_in(folder: Path, text: str) -> str:
    """What is printed when the lines are typed with .venv/bin on PATH."""
    done = attempt(folder, text)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def attempt(folder: Path, text: str) -> "subprocess.CompletedProcess[str]":
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text], cwd=folder, env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


KEEP = """
dvc add outputs/training/baseline
git add outputs/training/baseline.dvc .gitignore
git commit -m "track baseline (val_loss=0.0234)"
dvc remote add -d nas ../store
git add .dvc/config
git commit -m "add DVC remote"
dvc push outputs/training/baseline.dvc
git tag model-v1.0-production
git checkout -b experiment/ablation
dvc add outputs/training/ablation
git add outputs/training/*.dvc
git commit -m "track ablation study"
git checkout main
git merge experiment/ablation
dvc push
git push --tags origin main
ls outputs/training/*.dvc
git log --oneline --all -- outputs/training/*.dvc
git log outputs/training/baseline.dvc
du -sh .dvc/cache
rm outputs/training/baseline.dvc
dvc add outputs/training/baseline
git status --porcelain
dvc gc --workspace --force
dvc gc --workspace --all-commits --force
rm -rf .dvc/cache
dvc pull
"""

RETRIEVE = """
git pull
ls outputs/training/*.dvc
dvc pull outputs/training/baseline.dvc
cat outputs/training/baseline/metadata.yaml
find outputs/training -name "metadata.yaml" -exec echo "---" \\; -exec cat {} \\;
"""


def test_keep_share_retrieve(tree, tmp_path):  # noqa: F811
    for name in ("baseline", "ablation"):
        train(tree, name)
    type_in(tmp_path, "git init -q --bare origin; git -C tree remote add origin ../origin")
    printed = type_in(tree, KEEP)
    assert "outputs/training/ablation.dvc\noutputs/training/baseline.dvc\n" in printed
    assert "track ablation study" in printed
    assert len(list((tree / ".dvc/cache").rglob("*.dir"))) == 2
    kept = {run.name: run for run in kept_runs(Repository.of(RUNS))}
    assert kept["baseline"].is_committed
    assert (kept["baseline"].here, kept["baseline"].in_cache) == ("yes", "yes")
    # A teammate's clone, and what make adds to a run that was kept by hand: summary and tag.
    type_in(tmp_path, "git clone -q -b main origin mate")
    assert "run_name: baseline" in type_in(tmp_path / "mate", RETRIEVE)
    best = Path("outputs/training/baseline/checkpoints/best.pt")
    assert (tmp_path / "mate" / best).read_bytes() == (tree / best).read_bytes()
    assert keep(RUNS / "baseline").tag == "run/baseline"


def test_what_has_to_be_typed_instead(tree):  # noqa: F811
    train(tree, "my_run")
    one = attempt(tree, "dvc add outputs/training/my_run/checkpoints/best.pt")
    assert one.returncode != 0
    assert "is git-ignored" in one.stderr
    cleaned = attempt(tree, "dvc cache clean --force")
    assert cleaned.returncode != 0
    unasked = attempt(tree, "dvc gc --workspace")
    assert unasked.returncode != 0
    type_in(
        tree,
        """
        dvc add outputs/training/my_run/checkpoints/best.pt -o outputs/training/my_run-best.pt
        git add outputs/training/my_run-best.pt.dvc
        git commit -m "track best checkpoint only"
        rm -rf outputs/training/my_run-best.pt
        dvc checkout outputs/training/my_run-best.pt.dvc
        """,
    )
    best = tree / RUNS / "my_run/checkpoints/best.pt"
    assert (tree / RUNS / "my_run-best.pt").read_bytes() == best.read_bytes()
    assert kept_runs(Repository.of(RUNS)) == []  # one file is no run
