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
