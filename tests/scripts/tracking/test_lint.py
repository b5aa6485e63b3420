# SPDX-License-Identifier: MIT
"""What trackers leave in the tree does not disturb `make lint`."""

import shutil
import subprocess
import sys
from pathlib import Path

from lib.config.trackers import TRACKERS

ROOT = Path(__file__).resolve().parents[3]
UNTIDY = "import sys\nimport os\n"


def lint(folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "."]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_folders_of_trackers_are_neither_packages_of_ours_nor_linted(tmp_path):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "lib", tmp_path / "lib")
    for name in (*(tracker.package for tracker in TRACKERS.values()), "mlruns", "mlartifacts"):
        (tmp_path / name / "run-1").mkdir(parents=True)
    for name in ("wandb", "mlruns", "mlartifacts", "outputs", "data"):
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "code.py").write_text(UNTIDY)
    done = lint(tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_rooms_called_like_an_output_folder_are_linted(tmp_path):
    (tmp_path / "lib/data").mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "lib/data/batches.py").write_text(UNTIDY)
    assert "lib/data/batches.py" in lint(tmp_path).stdout
