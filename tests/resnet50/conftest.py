# SPDX-License-Identifier: MIT
"""Short trainings of the small ResNet in this process, each in a directory of its own."""

import pytest

from tests.models import SmallModel, restored_torch


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """A directory in which the digits are prepared once for all tests."""
    return tmp_path_factory.mktemp("small-resnet50")


@pytest.fixture
def resnet50(folder, tmp_path):
    """The small model; restores PyTorch's settings afterwards."""
    with restored_torch():
        yield SmallModel("resnet50", folder, tmp_path)
