# SPDX-License-Identifier: MIT
"""The programs in examples/ run by themselves: sparsity is exact, and a resume loses nothing."""

import importlib.util
import os
import subprocess
import sys

import pytest

from lib.files import ROOT

pytestmark = [pytest.mark.reach, pytest.mark.slow]
SAME = "resumed as if it had not been stopped: True"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder in which lib/ has the name of the installed package."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "adamwprune").symlink_to(ROOT / "lib")
    return folder


def run(package, cwd, name, *arguments, needs=()):
    for library in needs:
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed: make check-reach")
    environment = {
        **os.environ, "PYTHONPATH": f"{package}:{ROOT}", "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "tests.examples.launch", name, *arguments],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_transformers(package, tmp_path):
    needs = ("transformers", "accelerate")
    said = run(package, tmp_path, "transformers_trainer.py", needs=needs)
    assert "sparsity 0.9000: 88,474 of 98,304 weights" in said
    assert "zeros in the saved model: 88,474" in said
    assert SAME in said


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_lightning(package, tmp_path, precision):
    said = run(package, tmp_path, "lightning_trainer.py", precision, needs=("lightning",))
    first, resumed, end = (line for line in said.splitlines() if "sparsity" in line)
    assert first == "from step 0, sparsity 0.0000"
    assert resumed == "from step 29, sparsity 0.7876"  # the cubic of step 25
    assert end == "sparsity 0.8999: 4,262 of 4,736 weights"


def test_accelerate(package, tmp_path):
    said = run(package, tmp_path, "accelerate_loop.py", needs=("accelerate",))
    assert "sparsity 0.8999: 4,262 of 4,736 weights" in said
    assert SAME in said


def test_torch_compile(package, tmp_path):
    """Needs nothing but PyTorch; the eager backend traces as inductor does and builds nothing."""
    said = run(package, tmp_path, "torch_compile.py", "eager")
    assert "sparsity 0.8999: 4,262 of 4,736 weights" in said
    accuracy = float(said.split("accuracy ")[1])
    assert accuracy > 0.7
