# SPDX-License-Identifier: MIT
"""Scratch repositories with git and DVC as this project has them, and runs in them."""

import os
import shutil
from pathlib import Path

import pytest

from lib.files import ROOT
from lib.runs.keep.git import git
from lib.runs.run import Run

RUNS = Path("outputs/training")


@pytest.fixture
def tree(tmp_path, monkeypatch) -> Path:
    """A repository with one commit; the current directory, without a user's configuration."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.delenv("RANK", raising=False)
    root = tmp_path / "tree"
    make_tree(root)
    monkeypatch.chdir(root)
    return root


def make_tree(root: Path) -> None:
    (root / ".dvc").mkdir(parents=True)
    for name in (".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore"):
        shutil.copyfile(ROOT / name, root / name)
    git("init", "-q", "-b", "main", at=root)
    git("config", "user.name", "Researcher", at=root)
    git("config", "user.email", "researcher@example.com", at=root)
    git("add", "-A", at=root)
    git("commit", "-q", "-m", "first", at=root)


def add_remote(root: Path, url: str, **options: object) -> None:
    """What `dvc remote add -d store` and `dvc remote modify` write, without the second of each."""
    lines = [f"    {name} = {value}\n" for name, value in {"url": url, **options}.items()]
    config = (root / ".dvc/config").read_text().partition("['remote")[0]
    config = config.replace("[core]\n", "[core]\n    remote = store\n", "remote = " not in config)
    (root / ".dvc/config").write_text(config + "['remote \"store\"']\n" + "".join(lines))


def train(root: Path, name: str, loss: float = 0.5, **info: object) -> Path:
    """A run that has ended, with two names of one checkpoint."""
    about = {"model": {"name": "network"}, "science_hash": f"hash of {name}", **info}
    with Run.create(root / RUNS, name, info=about) as run:
        run.log({"val/loss": loss}, 1)
        checkpoint = run.dir / "checkpoints" / "step_00000001.pt"
        checkpoint.write_bytes(f"weights of {name}".encode())
        checkpoint.chmod(0o600)
        os.link(checkpoint, checkpoint.with_name("best.pt"))
        run.summary(final_metrics={"final/best_val_loss": loss})
    return run.dir
