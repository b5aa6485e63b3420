# SPDX-License-Identifier: MIT
"""`make optuna-ui`: Optuna's dashboard on this machine alone."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from tests.scripts.sweep import studies

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 120


def start(folder, port, storage):
    command = [sys.executable, "-m", "scripts.sweep.ui"]
    environment = os.environ | {"PORT": str(port), "STORAGE": storage, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **pipes)


def ask(address, process):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(address, timeout=30) as answer:
                return answer.read().decode()
        except OSError:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.2)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@pytest.mark.slow
def test_the_page_shows_the_sweeps_and_stops_on_ctrl_c(tmp_path):
    studies.done(tmp_path, "two", studies.CONSTRAINED, lambda claim: [1.0], {"sparsity": 0.95})
    storage = studies.default_storage(tmp_path)
    port = free_port()
    process = start(tmp_path, port, storage)
    try:
        found = json.loads(ask(f"http://127.0.0.1:{port}/api/studies", process))
        assert "two" in json.dumps(found)
        assert "<html" in ask(f"http://127.0.0.1:{port}/dashboard/", process)
        with pytest.raises(OSError), socket.create_connection((own_address(), port), timeout=2):
            pass
        visitor = threading.Thread(target=visit_until_the_end, args=(port,))
        visitor.start()  # Ctrl-C in the middle of a request
        time.sleep(0.5)
    finally:
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    visitor.join()
    assert process.returncode == 0
    assert f"optuna-ui: http://127.0.0.1:{port}" in output
    assert "Traceback" not in output


def visit_until_the_end(port):
    with contextlib.suppress(OSError, http.client.HTTPException):
        while True:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=30) as page:
                page.read()


def own_address():
    """An address of this machine that is not the loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        return probe.getsockname()[0]


def test_a_busy_port_is_refused_with_the_cure(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(tmp_path, port, studies.default_storage(tmp_path))
        output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert f"port {port} is taken" in output
    assert "choose another one: PORT=" in output
