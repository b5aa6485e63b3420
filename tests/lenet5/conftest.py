# SPDX-License-Identifier: MIT
"""Short trainings of LeNet-5 in this process, each in a directory of its own."""

import pytest

from tests.models import SmallModel, restored_torch


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A directory in which the digits are prepared once for all tests."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def lenet5(data_dir, tmp_path):
    """The model with its default batch size; restores PyTorch's settings afterwards."""
    model = SmallModel("lenet5", data_dir, tmp_path)
    model.small = ["--data-dir", str(data_dir), "--num-threads", "1"]
    with restored_torch():
        yield model
