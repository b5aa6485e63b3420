# SPDX-License-Identifier: MIT
"""Sweeps that really train: of the tiny model, in a copy of the tree."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.sweep_tree import Tree, make_tree
from lib.runs import open_runs
from lib.runs.stored import StoredRun
from lib.sweep.storage import default_storage
from lib.sweep.study import Study, open_study
from tests.scripts.sweep import studies


class Sweeps:
    """The copy; a test gets it without runs."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.folder = tree.output_dir / ".sweeps"

    def start(self, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
        """`make sweep` with these flags, without make."""
        return self.tree.popen("-m", "scripts.sweep.run", *arguments, **variables)

    def run(self, *arguments: str, **variables: str) -> tuple[int, str]:
        """The same to its end: (exit code, what it said)."""
        before = len(self.tree.said)
        code = self.start(*arguments, **variables).wait(timeout=60)
        return code, self.tree.said[before:]

    def write(self, name: str, **description: Any) -> None:
        """A sweep of the learning rate, in which `description` changes something."""
        axes = {"LEARNING_RATE": [0.0005, 0.001]}
        metric = {"name": "val/loss"}
        self.tree.write_sweep(name, {"axes": axes, "seeds": [1, 2], "metric": metric} | description)

    def study(self, name: str) -> Study:
        """What the database says."""
        return open_study(name, default_storage(self.tree.output_dir), create=False)

    @property
    def runs(self) -> list[StoredRun]:
        """All runs, oldest first."""
        return open_runs(self.tree.output_dir)

    def wait_for_checkpoints(self, count: int) -> None:
        """Until so many runs have one."""
        self.wait(lambda: len(list(self.tree.output_dir.glob("*/checkpoints/tiny.json"))) >= count)

    def wait(self, ready: Callable[[], bool]) -> None:
        """Until `ready()`."""
        deadline = time.monotonic() + 30
        while not ready():
            assert time.monotonic() < deadline, self.tree.said
            time.sleep(0.02)


@pytest.fixture(scope="session")
def tiny_tree(tmp_path_factory) -> Tree:
    return make_tree(tmp_path_factory.mktemp("sweeps") / "tree")


@pytest.fixture
def sweeps(tiny_tree: Tree) -> Iterator[Sweeps]:
    yield Sweeps(tiny_tree)
    shutil.rmtree(tiny_tree.output_dir, ignore_errors=True)
    Path(tiny_tree.root / "said").unlink(missing_ok=True)


@pytest.fixture(scope="session")
def sweeps_done(tmp_path_factory):
    """An output directory with a grid, a search for two metrics, and a sweep without a best."""
    folder = tmp_path_factory.mktemp("sweeps")
    studies.done(folder, "grid", studies.GRID, studies.of_the_grid)
    studies.done(folder, "pareto", studies.PARETO, lambda c: [c.number, 9.0 - c.number // 2])
    studies.done(folder, "broken", studies.CONSTRAINED, lambda c: [1.0], {"sparsity": 0.5})
    return folder
