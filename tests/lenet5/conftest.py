# SPDX-License-Identifier: MIT
"""Trainings of LeNet-5 for tests: short, in a directory of their own, in this process."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from lib.runs import metadata
from lib.runs.journal import read_rows
from lib.train import checkpoint


class Finished(NamedTuple):
    """A run directory after training."""

    dir: Path

    @property
    def metadata(self) -> dict:
        return metadata.load(self.dir / "metadata.yaml")

    def rows(self, metric: str) -> dict[int, float]:
        """The values of `metric` in the journal, by step."""
        rows = (row for row, _ in read_rows(self.dir / "logs" / "metrics.jsonl"))
        return {r["step"]: r["metrics"][metric] for r in rows if metric in r.get("metrics", {})}

    def checkpoint(self, name: str) -> dict:
        return checkpoint.load(self.dir / "checkpoints" / name)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> Path:
    """Where the digits are prepared once for all tests."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def flags(tmp_path, data_dir) -> Callable[..., list[str]]:
    """The flags of a short training below tmp_path, with more of them appended."""
    (tmp_path / "empty.config").touch()

    def of(*more: str) -> list[str]:
        return [
            *("--config", str(tmp_path / "empty.config")),
            *("--output-dir", str(tmp_path / "runs")),
            *("--data-dir", str(data_dir)),
            *("--device", "cpu", "--max-steps", "4", "--no-plots", *more),
        ]

    return of


@pytest.fixture
def runs(tmp_path) -> Callable[[], list[Finished]]:
    """The runs below tmp_path so far, by name."""
    return lambda: [Finished(path) for path in sorted((tmp_path / "runs").glob("*"))]


@pytest.fixture
def train(flags, runs):
    """Train in this process with flags; returns the new run."""
    from lenet5.train import main
    from lib.config.settings import load_settings

    def call(*more: str) -> Finished:
        before = runs()
        try:
            main(load_settings("lenet5", flags(*more)))
        finally:
            torch.use_deterministic_algorithms(False)
        (new,) = [run for run in runs() if run not in before]
        return new

    return call
