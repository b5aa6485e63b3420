# SPDX-License-Identifier: MIT
"""Locks between real processes: exclusive, gone with their holder, not disturbed by queries."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lib import lock

ROOT = Path(__file__).resolve().parents[2]
LOOK = """
import sys
from pathlib import Path
from lib import lock
print("looking", flush=True)
while True:
    lock.is_free(Path(sys.argv[1]))
"""
HOLD = """
import sys, time
from pathlib import Path
from lib import lock
fd = lock.hold(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def other(code: str, path: Path) -> "subprocess.Popen[str]":
    """A process that runs `code` on `path`, once it has said that it began."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None and process.stdout.readline()
    return process


@pytest.fixture(params=["the system's", "flock"])
def any_system(request, monkeypatch) -> None:
    """Linux's locks, and those of a system that has only flock."""
    if request.param == "flock":
        monkeypatch.setattr(lock, "_OFD", False)


def test_a_lock_is_exclusive(tmp_path, any_system):
    path = tmp_path / ".lock"
    assert lock.is_free(path), "nobody made the file yet"
    fd = lock.hold(path)
    assert not lock.is_free(path)
    with pytest.raises(BlockingIOError, match="locked by another process"):
        lock.hold(path)
    lock.release(fd)
    assert lock.is_free(path)
    with lock.held(path, wait=0):
        assert not lock.is_free(path)
    assert lock.is_free(path)


@pytest.mark.skipif(not hasattr(fcntl, "F_OFD_SETLK"), reason="needs Linux")
def test_who_looks_never_makes_a_holder_fail(tmp_path):
    path = tmp_path / ".lock"
    path.touch()
    readers = [other(LOOK, path) for _ in range(2)]
    try:
        for _ in range(5000):
            lock.release(lock.hold(path))
    finally:
        for reader in readers:
            reader.kill()
            reader.wait()


def test_holders_wait_for_each_other(tmp_path, any_system):
    path, inside, most = tmp_path / ".lock", [], []

    def work() -> None:
        for _ in range(5):
            with lock.held(path, wait=60):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 20


def test_waiting_has_an_end(tmp_path):
    path = tmp_path / ".lock"
    with lock.held(path, wait=0):
        begin = time.monotonic()
        with pytest.raises(BlockingIOError):
            lock.hold(path, wait=0.2)
        assert 0.2 <= time.monotonic() - begin < 5


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    path = tmp_path / ".lock"
    holder = other(HOLD, path)
    assert not lock.is_free(path)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert lock.is_free(path)


def test_a_forked_child_does_not_keep_the_lock(tmp_path):
    path = tmp_path / ".lock"
    fd = lock.hold(path)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)  # until the parent closes its end
        os._exit(0)
    try:
        lock.release(fd)
        deadline = time.monotonic() + 10
        while not lock.is_free(path) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert lock.is_free(path)
    finally:
        os.close(writing)
        os.close(reading)
        os.waitpid(child, 0)


def test_a_read_only_file_can_be_asked_about(tmp_path):
    path = tmp_path / ".lock"
    path.touch()
    path.chmod(0o444)
    assert lock.is_free(path)
