# SPDX-License-Identifier: MIT
"""make tracker-test tries what is configured and leaves nothing behind."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def selftest(home: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("WANDB_", "MLFLOW_", "TRACKIO_", "HF_"))
    }
    return subprocess.run(
        [sys.executable, "-m", "scripts.tracking.selftest", *arguments],
        cwd=home,
        env={**kept, "HOME": str(home), "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_nothing_is_left_in_the_places_of_the_user(tmp_path):
    (tmp_path / "tmp").mkdir()
    done = selftest(tmp_path, "all", TMPDIR=str(tmp_path / "tmp"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wandb: offline (not logged in)" in done.stdout
    assert "mlflow: sqlite:///mlflow.db will be made" in done.stdout
    assert "see make" not in done.stdout  # nothing is left to be seen
    for name in ("trackio", "wandb", "mlflow", "tensorboard"):
        assert f"{name}: all 300 values" in done.stdout
    there = [os.path.relpath(top, tmp_path) for top, _, _ in os.walk(tmp_path)]
    assert not [folder for folder in there if "tracker-test" in folder]
    assert not (tmp_path / "wandb").exists()
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_said_and_the_rest_is_tested(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    done = selftest(tmp_path, "mlflow", MLFLOW_TRACKING_URI=f"http://127.0.0.1:{port}")
    assert done.returncode == 1
    assert "mlflow: all 300 values" in done.stdout
    assert "mlflow as configured: " in done.stderr
    assert str(port) in done.stderr


def test_wandb_that_is_switched_off(tmp_path):
    done = selftest(tmp_path, "tensorboard", WANDB_MODE="disabled")
    assert done.returncode == 0, done.stderr
    done = selftest(tmp_path, "wandb", WANDB_MODE="disabled")
    assert done.returncode == 1
    assert "WANDB_MODE=disabled: unset it" in done.stderr
