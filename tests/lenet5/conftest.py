# SPDX-License-Identifier: MIT
"""Short trainings of LeNet-5 in this process, each in a directory of its own."""

import pytest
import torch

from tests.models import SmallModel


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A directory in which the digits are prepared once for all tests."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def lenet5(data_dir, tmp_path):
    """The model with its default batch size; restores PyTorch's settings afterwards."""
    threads = torch.get_num_threads()
    model = SmallModel("lenet5", data_dir, tmp_path)
    model.small = ["--data-dir", str(data_dir), "--num-threads", "1"]
    yield model
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
