# SPDX-License-Identifier: MIT
"""scripts/install.sh on real virtual environments, with requirement files that need no network."""

import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
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

    with ThreadPoolExecutor() as at_once:
        both = list(at_once.map(install, [tmp_path] * 2))
    assert [result.returncode for result in both] == [0, 0], both
    assert sorted("Installing" in result.stdout for result in both) == [False, True]
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


@pytest.fixture
def indices(tmp_path):
    """Requirement files and two indices: `pypi`, whose torch needs CUDA, and `cpu`."""
    cuda = ("nvidia-cublas==1.0", "triton==1.0")
    for name, version, needs, index in (
        ("torch", "1.0", cuda, "pypi"),
        ("nvidia-cublas", "1.0", (), "pypi"),
        ("nvidia-ml-py", "1.0", (), "pypi"),
        ("triton", "1.0", (), "pypi"),
        ("torch", "1.0+cpu", (), "cpu"),
    ):
        write_wheel(tmp_path / index / name, name, version, needs)
    (tmp_path / "requirements.txt").write_text("torch==1.0  # models\nnvidia-ml-py==1.0\n")
    (tmp_path / "constraints.txt").write_text("# nothing\n")
    return tmp_path


def write_wheel(folder: Path, name: str, version: str, needs: tuple[str, ...]) -> None:
    folder.mkdir(parents=True)
    stem = f"{name.replace('-', '_')}-{version}"
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    about += "".join(f"Requires-Dist: {need}\n" for need in needs)
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{stem}.dist-info/METADATA", about)
        tag = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(f"{stem}.dist-info/WHEEL", tag)
        wheel.writestr(f"{stem}.dist-info/RECORD", "")
    link = f'<a href="{stem.replace("+", "%2B")}-py3-none-any.whl">{stem}</a>'
    (folder / "index.html").write_text(link)


def test_torch_of_another_index(indices):
    """cpu and back, each remembered; what cannot be had or is unknown changes nothing."""
    pypi, cpu = (f"file://{indices / name}" for name in ("pypi", "cpu"))
    variables = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": pypi, "PATH": os.environ["PATH"]}
    stamp = indices / ".venv" / ".installed"

    def typed(**more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(SCRIPT), sys.executable, ".venv"],
            cwd=indices, env=variables | more, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def installed() -> set[str]:
        names = (indices / ".venv").glob("lib/python*/site-packages/*.dist-info")
        return {path.name.removesuffix(".dist-info") for path in names} - {own}

    wrong = typed(TORCH_INDEX="gpu")
    assert wrong.returncode == 1
    assert "TORCH_INDEX=gpu: use cpu, cu130 or another version of CUDA, pypi" in wrong.stderr
    assert not (indices / ".venv").exists()

    assert typed(TORCH_INDEX=f"file://{indices}/none").returncode == 1  # and not torch with CUDA
    (own,) = (path.name for path in (indices / ".venv").glob("lib/python*/site-packages/pip-*"))
    own = own.removesuffix(".dist-info")
    assert not {name for name in installed() if name.startswith("torch")}

    done = typed(TORCH_INDEX=cpu)
    assert done.returncode == 0, done.stderr
    without_cuda = {"torch-1.0+cpu", "nvidia_ml_py-1.0"}
    assert installed() - {own} >= without_cuda
    assert not {name for name in installed() if name.startswith(("triton", "nvidia_cublas"))}

    assert typed().stdout == ""  # a plain make keeps it

    assert typed(TORCH_INDEX="pypi").returncode == 0
    with_cuda = {"torch-1.0", "nvidia_ml_py-1.0", "nvidia_cublas-1.0", "triton-1.0"}
    assert installed() >= with_cuda

    assert typed(TORCH_INDEX=f"file://{indices}/none").returncode == 1
    assert installed() >= with_cuda
    assert typed(TORCH_INDEX=cpu).returncode == 0
    assert installed() >= without_cuda
    assert not installed() & (with_cuda - without_cuda)
    assert stamp.exists()


def test_make_installs_again_when_another_index_is_named(tmp_path):
    """Also when the environment is newer than the requirement files."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    (venv / ".torch-index").write_text("cpu\n")
    (venv / ".installed").touch()

    def planned(*words: str) -> str:
        done = subprocess.run(
            ["make", "-n", "install", f"VENV={venv}", *words],
            cwd=SCRIPT.parents[1], capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    assert "install.sh" not in planned()
    assert "install.sh" not in planned("TORCH_INDEX=cpu")
    assert "install.sh" in planned("TORCH_INDEX=pypi")
    assert "has no effect: VENV=system" in planned("VENV=system", "TORCH_INDEX=cpu")
