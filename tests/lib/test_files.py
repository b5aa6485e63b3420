# SPDX-License-Identifier: MIT
"""Files are written whole or not at all, even when writers are killed or write at once."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lib import lock
from lib.files import atomic, is_abandoned, reserve_space, sweep, write_atomic

ROOT = Path(__file__).resolve().parents[2]
HALF = """
import sys, time
from lib.files import atomic
with atomic(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("half", flush=True)
    time.sleep(60)
"""
WRITE = """
import sys
from lib.files import write_atomic
for number in range(300):
    write_atomic(sys.argv[1], sys.argv[2] * 10_000, sync=False)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def half_written(tmp_path):
    """A process in the middle of writing tmp_path/file."""
    process = subprocess.Popen(
        [sys.executable, "-c", HALF, tmp_path / "file"], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout.readline() == b"half\n"
    yield process
    process.kill()
    process.wait()


def test_text_and_bytes_replace_what_was_there(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, "ä")
    assert path.read_bytes() == b"\xc3\xa4"
    write_atomic(path, b"\xff", sync=False)
    assert path.read_bytes() == b"\xff"
    assert names(tmp_path) == ["file"]
    assert lock.is_free(path)


def test_a_block_that_raises_changes_nothing(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, "old")
    with pytest.raises(KeyboardInterrupt), atomic(path) as file:
        file.write(b"new")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and names(tmp_path) == ["file"]


def test_a_full_disk_changes_nothing(tmp_path, file_size_limit):
    path = tmp_path / "file"
    write_atomic(path, "old")
    with file_size_limit(100), pytest.raises(OSError, match="File too large"):
        write_atomic(path, "x" * 1000)
    assert path.read_text() == "old" and names(tmp_path) == ["file"]


def test_a_file_is_as_readable_as_any_other(tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "plain").touch()
    write_atomic(tmp_path / "file", "")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_file_in_a_private_directory_is_private(tmp_path):
    tmp_path.chmod(0o700)
    write_atomic(tmp_path / "file", "")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600


def test_what_a_killed_writer_left_is_used_by_the_next_one(tmp_path, half_written):
    assert names(tmp_path) == [".file.1.tmp"]
    write_atomic(tmp_path / "file", "whole")
    assert names(tmp_path) == [".file.1.tmp", "file"], "its writer lives"
    half_written.kill()
    half_written.wait()
    write_atomic(tmp_path / "file", "new")
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "new"


def test_what_killed_writers_left_is_swept(tmp_path, half_written):
    others = ["a.tmp", ".a.tmp", ".a.1.tmp.gz", "a.1.tmp"]
    for name in others:
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert names(tmp_path) == sorted([*others, ".file.1.tmp"]), "its writer lives"
    half_written.kill()
    half_written.wait()
    sweep(tmp_path)
    assert names(tmp_path) == sorted(others)
    sweep(tmp_path / "missing")


def test_a_file_system_without_locks(tmp_path, half_written, monkeypatch):
    monkeypatch.setattr(lock, "_try", lambda fd: fcntl.fcntl(fd, 10**6))  # an OSError
    monkeypatch.setattr(lock, "is_free", lambda path: False)
    write_atomic(tmp_path / "another", "whole")
    sweep(tmp_path)
    assert names(tmp_path) == [".file.1.tmp", "another"]


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "file"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE, path, letter], cwd=ROOT) for letter in "abc"
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        sweep(tmp_path)
        if path.exists():
            text = path.read_text()
            assert len(text) == 10_000
            seen |= set(text)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert seen <= set("abc") and names(tmp_path) == ["file"]


def test_a_reserve_takes_room(tmp_path, file_size_limit):
    reserve_space(tmp_path / ".reserve", size=100_000)
    assert (tmp_path / ".reserve").stat().st_blocks * 512 >= 100_000
    with file_size_limit(1000), pytest.raises(OSError, match="File too large"):
        reserve_space(tmp_path / "another", size=100_000)
    assert names(tmp_path) == [".reserve"]


def test_a_folder_is_abandoned_when_nobody_holds_its_lock_any_more(tmp_path):
    folder = tmp_path / "made"
    assert not is_abandoned(folder)  # gone
    folder.mkdir()
    assert not is_abandoned(folder)  # its maker may lock it yet
    with lock.held(folder / ".lock", wait=0.0):
        os.utime(folder, (0, 0))
        assert not is_abandoned(folder)
    os.utime(folder, (0, 0))
    assert is_abandoned(folder)
