# SPDX-License-Identifier: MIT
"""Runs and real trackers below tmp_path; nothing is mocked, nothing reaches the network."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from lib.config.trackers import TRACKERS as TABLE
from lib.runs.redact import redact_tree
from lib.runs.run import Run

ROOT = Path(__file__).resolve().parents[2]
TRACKERS = tuple(TABLE)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A current directory in which every tracker keeps what it writes."""
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith(("WANDB_", "MLFLOW_", "TRACKIO_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    for module in [m for n, m in sys.modules.items() if n.startswith("trackio")]:
        if hasattr(module, "TRACKIO_DIR"):  # which it reads only once, when it is imported
            monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def settings(**changes: Any) -> dict[str, Any]:
    """Symbols as a run's config.yaml has them."""
    return {
        "LEARNING_RATE": 0.001,
        "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db",
        "SYSTEM_METRICS_INTERVAL": 0,
        "TRACKER_FINISH_TIMEOUT": 60,
        "TRACKER_NOTES": "what it is about",
        "TRACKER_PROJECT": "lenet5-a3f2c",
        "WANDB_OFFLINE": False,
        **changes,
    }


def make_run(name: str = "run", info: dict[str, Any] | None = None, **changes: Any) -> Run:
    """A run in the current directory that is not tracked yet; as from Settings, without secrets."""
    clean = redact_tree(settings(**changes))
    files = {"config.yaml": yaml.safe_dump({"Tracking": clean})}
    about = {"seed": 7, "tags": ["one", "two"], "group": "group", "model": {"name": "lenet5"}}
    run = Run.create("runs", name, files=files, info={**about, **(info or {})})
    assert isinstance(run, Run)
    return run


def files_below(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file and its content; files that vanish meanwhile are passed over.

    W&B's service ends a moment after the forwarder and tidies up.
    """
    for top, _, names in os.walk(folder):  # Path.rglob raises for a folder that vanishes
        for path in (Path(top, name) for name in names):
            with suppress(OSError):
                if path.is_file():
                    yield path, path.read_bytes()


def forwarder(run_dir: Path, *trackers: str, timeout: float = 60) -> "subprocess.Popen[str]":
    """Start the real program on a run."""
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "lib.tracking.forwarder",
            str(run_dir),
            "--trackers",
            ",".join(trackers),
            "--finish-timeout",
            str(timeout),
        ],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def forward(run_dir: Path, *trackers: str, timeout: float = 60) -> tuple[int, str]:
    """Run it to its end: (exit code, what it said on the console)."""
    process = forwarder(run_dir, *trackers, timeout=timeout)
    _, said = process.communicate(timeout=timeout + 30)
    return process.returncode, said
