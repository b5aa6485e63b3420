# SPDX-License-Identifier: MIT
"""torchvision can be imported beside any build of PyTorch, in any order, more than once."""

import subprocess
import sys

import pytest
import torch

from benchmarks import torchvision_import
from benchmarks.torchvision_import import import_torchvision
from lib.files import ROOT


@pytest.fixture(autouse=True)
def imported_once():
    """Other tests import it, too; the operators can be defined only once in a process."""
    return import_torchvision()


def test_models_and_transforms_work(imported_once):
    from torchvision.transforms.v2 import functional

    model = imported_once.models.resnet18(num_classes=3).eval()
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    assert functional.hflip(torch.arange(3)).tolist() == [2, 1, 0]


def test_again_is_the_same_package(imported_once):
    assert import_torchvision() is imported_once is sys.modules["torchvision"]


def test_the_operators_are_defined_only_where_they_cannot_be_loaded(imported_once):
    has_own = imported_once.extension._has_ops()
    assert bool(torchvision_import._definitions) is not has_own


@pytest.mark.slow
def test_an_import_that_went_wrong_before_does_no_harm():
    code = (
        "import contextlib\n"
        "with contextlib.suppress(RuntimeError):\n"
        "    import torchvision\n"
        "from benchmarks.torchvision_import import import_torchvision\n"
        "print(import_torchvision().models.resnet18().fc)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "Linear(in_features=512" in done.stdout, done.stderr
