# SPDX-License-Identifier: MIT
"""One real MLflow server on loopback, and one model of each kind, for the whole session."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lib.files import ROOT
from lib.registry.register import Facts, facts_of, register
from lib.registry.server import answering
from lib.runs.stored import load_run
from tests.lib.registry import made

START_S = 90


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """What tests/lib/registry/made.py writes."""
    folder = tmp_path_factory.mktemp("models")
    command = [sys.executable, "-m", "tests.lib.registry.made", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def server_folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="session")
def server(server_folder) -> Iterator[str]:
    """The address of `mlflow server`, which keeps everything in `server_folder`."""
    folder = server_folder
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **quiet}, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        uri = f"http://127.0.0.1:{port}"
        try:
            wait_until_it_answers(uri, process, folder / "log")
            yield uri
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until_it_answers(uri: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{uri}/health", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.fixture
def registry(server, monkeypatch) -> Iterator[Any]:
    """MLflow's client for the server, as the programs have it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    with answering(server) as client:
        yield client


class Registered:
    """Runs in `folder` that MLflow has, and their versions of a name that no other test uses."""

    def __init__(self, client: Any, models: Path, folder: Path) -> None:
        self.client, self.models, self.folder = client, models, folder
        self.name = f"digits-{uuid.uuid4().hex[:8]}"

    def facts(self, run: str = "run") -> Facts:
        """Of a copy of the first run, under the name `run`; another one has other weights."""
        directory = self.folder / run
        if not directory.exists():
            if run == "run":
                shutil.copytree(self.models / "lenet5" / "run", directory)
            else:
                made.lenet(self.folder, run)
        return facts_of(load_run(directory), directory / "checkpoints" / "best.pt", "best")

    def mlflow_run(self, facts: Facts) -> str:
        """Sent by hand, with what the forwarder would set."""
        from mlflow.entities import Metric

        from lib.tracking.backends.mlflow import RUN_TAG

        client, tags = self.client, {RUN_TAG: facts.tags["run_id"]}
        found = client.get_experiment_by_name("digits-00000")
        experiment = found.experiment_id if found else client.create_experiment("digits-00000")
        about = f"tags.`{RUN_TAG}` = '{facts.tags['run_id']}'"
        if there := client.search_runs([experiment], about):
            return there[0].info.run_id
        run = client.create_run(experiment, tags=tags, run_name=facts.run.name).info.run_id
        points = [Metric(name, value, 1000, 2) for name, value in made.METRICS.items()]
        client.log_batch(run, metrics=points)
        return run

    def register(self, run: str = "run", package: str = "lenet5") -> int:
        """Register the run with a model that was exported once for all tests."""
        facts = self.facts(run)
        copy = lambda folder: shutil.copytree(self.models / package / "package", folder)  # noqa: E731
        return register(self.client, facts, self.name, self.mlflow_run(facts), copy)


@pytest.fixture
def registered(registry, models, tmp_path) -> Registered:
    return Registered(registry, models, tmp_path / "runs")
