# SPDX-License-Identifier: MIT
"""scripts/reach.sh on real virtual environments, with requirement files that need no network."""

import subprocess
import sys

import pytest

from lib.files import ROOT

pytestmark = pytest.mark.slow


def install(folder, python=sys.executable):
    command = [str(ROOT / "scripts" / "reach.sh"), python, ".venv-reach"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_installs_once_beside_the_packages_of_python_and_is_made_anew_after_a_failure(tmp_path):
    names = ("requirements", "requirements-reach", "requirements-reach-alone", "constraints")
    for name in names:
        (tmp_path / f"{name}.txt").write_text("# nothing\n")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "__init__.py").write_text("HERE = True\n")
    own = tmp_path / ".venv-reach" / "bin" / "python"

    first = install(tmp_path)
    assert first.returncode == 0, first.stderr
    assert "Installing" in first.stdout
    code = (
        "import adamwprune, torch, sys; assert adamwprune.HERE; print(sys.prefix, torch.__file__)"
    )
    seen = subprocess.run([own, "-c", code], capture_output=True, text=True, check=True).stdout
    prefix, torch = seen.split()
    assert prefix == str(tmp_path / ".venv-reach") and not torch.startswith(prefix)
    assert install(tmp_path).stdout == ""

    (tmp_path / "requirements-reach.txt").write_text("./missing-1.0-py3-none-any.whl\n")
    broken = install(tmp_path)
    assert broken.returncode == 1
    assert "missing-1.0" in broken.stderr and "run make again" in broken.stderr
    (tmp_path / ".venv-reach" / "half").touch()  # what a killed pip may leave
    (tmp_path / "requirements-reach.txt").write_text("# nothing\n")
    assert install(tmp_path).returncode == 0
    assert not (tmp_path / ".venv-reach" / "half").exists()


def test_a_python_that_does_not_run_is_said_and_nothing_is_made(tmp_path):
    for name in ("requirements", "requirements-reach", "requirements-reach-alone", "constraints"):
        (tmp_path / f"{name}.txt").touch()
    done = install(tmp_path, "/nonexistent/python")
    assert done.returncode == 1
    assert "/nonexistent/python does not run" in done.stderr
    assert not (tmp_path / ".venv-reach").exists()
