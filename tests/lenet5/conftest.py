# SPDX-License-Identifier: MIT
"""Trainings of LeNet-5 for tests: short, in a directory of their own, in this process."""

import pytest
import torch

from tests.models import SmallModel


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """Where the digits are prepared once for all tests."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def lenet5(data_dir, tmp_path):
    """The model with its own batch size; PyTorch is afterwards as it was."""
    threads = torch.get_num_threads()
    model = SmallModel("lenet5", data_dir, tmp_path)
    model.small = ["--data-dir", str(data_dir), "--num-threads", "1"]
    yield model
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
