# SPDX-License-Identifier: MIT
"""scripts/install.sh on real virtual environments, with requirement files that need no network."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "install.sh"
pytestmark = pytest.mark.slow


def install(folder: Path, python: str = sys.executable) -> subprocess.CompletedProcess:
    command = [str(SCRIPT), python, ".venv"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_installs_once_repairs_and_follows_the_files(tmp_path):
    (tmp_path / "requirements.txt").write_text("# nothing\n")
    (tmp_path / "constraints.txt").write_text("# nothing\n")
    stamp = tmp_path / ".venv" / ".installed"

    first = install(tmp_path)
    assert first.returncode == 0, first.stderr
    assert "Installing" in first.stdout
    assert (tmp_path / ".venv" / "bin" / "python").exists()
    digest = stamp.read_text()

    (tmp_path / "requirements.txt").touch()
    assert install(tmp_path).stdout == ""

    # A requirement that cannot be had: the error names the log, and the stamp stays the old one,
    # which no longer matches, so that the next make tries again.
    (tmp_path / "requirements.txt").write_text("./missing-1.0-py3-none-any.whl\n")
    broken = install(tmp_path)
    assert broken.returncode == 1
    assert "run make again" in broken.stderr
    assert "missing-1.0" in broken.stderr
    assert stamp.read_text() == digest

    (tmp_path / "requirements.txt").write_text("# something else\n")
    assert "Installing" in install(tmp_path).stdout
    assert stamp.read_text() != digest

    # An environment whose interpreter is gone is made anew.
    (tmp_path / ".venv" / "bin" / "python").unlink()
    stamp.unlink()
    assert install(tmp_path).returncode == 0
    assert (tmp_path / ".venv" / "bin" / "python").exists()


def test_an_interpreter_that_will_not_do_is_named(tmp_path):
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "constraints.txt").touch()
    result = install(tmp_path, python="/nonexistent/python")
    assert result.returncode == 1
    assert "/nonexistent/python is not Python 3.10" in result.stderr
    assert not (tmp_path / ".venv").exists()
