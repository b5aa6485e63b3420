# SPDX-License-Identifier: MIT
"""A server that is not there, hangs, or has no registry is said so within seconds."""

import http.server
import socket
import threading
import time

import pytest

from lib.errors import Failure
from lib.registry.server import answering, checked
from lib.registry.versions import names


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(Failure, match=f"http://127.0.0.1:{port} cannot be reached .*refused"):
        checked(f"http://127.0.0.1:{port}")


def test_a_database_that_is_not_there(tmp_path):
    with pytest.raises(Failure, match="there is no registry yet"):
        checked(f"sqlite:///{tmp_path}/mlflow.db")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_server_that_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as server:
        started = time.monotonic()
        with pytest.raises(Failure, match="timed out"):
            checked(f"http://user:secret-word@127.0.0.1:{server.getsockname()[1]}")
        assert time.monotonic() - started < 10


def test_a_password_is_not_said():
    with pytest.raises(Failure) as error:
        checked("http://user:secret-word@127.0.0.1:1")
    assert "secret-word" not in str(error.value)


@pytest.mark.slow
def test_a_server_without_a_registry(monkeypatch):
    class Empty(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        do_POST = do_GET

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        checked(uri)
        with pytest.raises(Failure, match="has no model registry"), answering(uri) as client:
            names(client)
        server.shutdown()
