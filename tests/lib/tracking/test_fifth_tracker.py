# SPDX-License-Identifier: MIT
"""A new tracker is a row of the table, a backend file and a symbol in Kconfig; nothing else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lib.conftest import home, make_run  # noqa: F401, a fixture

ROOT = Path(__file__).resolve().parents[3]
ROW = '    "lines": Tracker("ENABLE_LINES", f"{_BACKENDS}.lines:Lines", "json"),\n'
SYMBOL = 'config ENABLE_LINES\n\tbool "Track in a file of lines"\n\n'
BACKEND = """
import json

from lib.tracking.backends import Backend


class Lines(Backend):
    def open(self):
        self._path = self.run.dir / "lines"
        self.where = str(self._path)
        return len(self._path.read_text().splitlines()) if self._path.exists() else 0

    def describe(self, facts):
        (self.run.dir / "facts").write_text(json.dumps(facts))

    def write(self, rows):
        with self._path.open("a") as file:
            file.writelines(f"{json.dumps([row.step, row.metrics])}\\n" for row in rows)

    def finish(self, status, ended):
        (self.run.dir / "end").write_text(status)
"""


@pytest.fixture
def tree(tmp_path) -> Path:
    """A copy of the project with one more tracker."""
    tree = tmp_path / "tree"
    models = [path.parent.name for path in ROOT.glob("*/train.py")]
    for name in ("lib", "scripts", "defconfigs", *models):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Kconfig", "Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, tree)
    insert(tree / "lib/config/trackers.py", "TRACKERS = {\n", ROW)
    insert(tree / "lib/tracking/Kconfig", 'menu "Experiment Tracking"\n\n', SYMBOL)
    (tree / "lib/tracking/backends/lines.py").write_text(BACKEND)
    return tree


def insert(path: Path, after: str, text: str) -> None:
    before, _, rest = path.read_text().partition(after)
    assert rest, after
    path.write_text(before + after + text + rest)


@pytest.mark.slow
def test_a_fifth_tracker(home, tree):  # noqa: F811
    with make_run() as run:
        for step in range(3):
            run.log({"train/loss": 1.0}, step)

    def program(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            arguments,
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
            check=False,
        )

    configured = program("make", "VENV=system", f"PYTHON3={sys.executable}", "alldefconfig")
    assert configured.returncode == 0, configured.stderr
    configured = program(
        *("make", "VENV=system", f"PYTHON3={sys.executable}", "defconfig"),
        *("DEFCONFIG=lenet5-digits", "TRACKER=lines,tensorboard"),
    )
    assert configured.returncode == 0, configured.stderr
    assert "CONFIG_ENABLE_LINES=y" in (tree / ".config").read_text()

    command = (
        sys.executable,
        "-m",
        "scripts.tracking.track",
        str(run.dir.resolve()),
        "--tracker",
        "lines",
    )
    sent = program(*command)
    assert (sent.returncode, sent.stderr) == (0, "")
    assert "lines: 5 rows" in sent.stdout
    lines = [json.loads(line) for line in (run.dir / "lines").read_text().splitlines()]
    assert lines == [[step, {"train/loss": 1.0}] for step in range(3)]
    assert (run.dir / "end").read_text() == "completed"
    status = program(sys.executable, "-m", "scripts.tracking.status", str(run.dir.resolve()))
    assert "finished" in status.stdout
