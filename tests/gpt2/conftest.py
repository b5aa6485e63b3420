# SPDX-License-Identifier: MIT
"""Trainings of the small GPT-2: in this process, or its flags for another."""

import pytest

from tests.gpt2.small import flags
from tests.models import SmallModel, restored_torch


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A directory for the corpus and its tokens."""
    return tmp_path_factory.mktemp("small-gpt2")


@pytest.fixture(scope="session")
def small(folder) -> list[str]:
    """Flags of a short training on the CPU."""
    return [*flags(folder), "--device", "cpu", "--max-steps", "6", "--tracker", "none"]


@pytest.fixture
def gpt2(folder, tmp_path):
    """The small model; restores PyTorch's settings afterwards."""
    with restored_torch():
        yield SmallModel("gpt2", folder, tmp_path)


@pytest.fixture(scope="session")
def finished(folder, tmp_path_factory):
    """A run of six steps with checkpoints after the third and the sixth, pruned and averaged."""
    output = tmp_path_factory.mktemp("finished")
    pruned = ("--optimizer", "adamwprune", "--target-sparsity", "0.5", "--ema-decay", "0.5")
    with restored_torch():
        return SmallModel("gpt2", folder, output).train(*pruned)


@pytest.fixture
def call(monkeypatch):
    """`call(program, *flags)` runs its main in this process, with nothing from the environment."""
    for name in ("RUN", "PROMPT", "SEED", "DEVICE", "CHECKPOINT", "FORMAT", "TASKS", "DATA_FILES"):
        monkeypatch.delenv(name, raising=False)

    def run(program, *flags: str) -> int:
        monkeypatch.setattr("sys.argv", [program.__file__, *flags])
        with restored_torch():
            return program.main()

    return run
