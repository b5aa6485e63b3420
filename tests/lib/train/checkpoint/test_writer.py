# SPDX-License-Identifier: MIT
"""Which checkpoints are in the folder after each that is written, and after kills in between."""

import errno
import os
import shutil
from collections import namedtuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.train import checkpoint
from lib.train.checkpoint import CheckpointError
from lib.train.checkpoint.find import load_newest, step_file, steps_on_disk
from lib.train.checkpoint.index import read_index
from lib.train.checkpoint.writer import Untidy, Writer


def write(writer, step, best=False, **more):
    contents = {"step": step, **more}
    writer.write(contents, step=step, metrics={"val/loss": 1.0}, best=best, nbytes=0)


def a_writer(folder, keep=2, every=0, **more):
    return Writer(folder, keep=keep, every=every, compress=False, **more)


def steps(folder):
    return list(steps_on_disk(folder))


def check(folder):
    """What must hold between two checkpoints: files, links and index say the same."""
    entries = read_index(folder)
    assert [entry.file for entry in entries] == [p.name for p in steps_on_disk(folder).values()]
    for entry in entries:
        path = folder / entry.file
        assert checkpoint.load(path)["step"] == entry.step
        assert path.stat().st_size == entry.size
        assert path.read_bytes()[-64:].decode() == entry.sha256
        assert entry.best == ((folder / "best.pt").exists() and path.samefile(folder / "best.pt"))
    assert (folder / "last.pt").samefile(folder / entries[-1].file)
    assert not list(folder.glob(".*"))


@settings(max_examples=25)
@given(
    saves=st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=1, max_size=12),
    keep=st.integers(1, 4),
    every=st.integers(0, 5),
    resumes=st.sets(st.integers(0, 12)),
)
def test_what_stays(tmp_path_factory, saves, keep, every, resumes):
    """The latest `keep`, the best and the multiples of `every`; also over several processes."""
    folder = tmp_path_factory.mktemp("checkpoints")
    writer = a_writer(folder, keep, every)
    step, written, best_step = 0, [], None
    for number, (ahead, best) in enumerate(saves):
        if number in resumes:
            writer = a_writer(folder, keep, every)
            writer.rewind(step, best_step or 0)
        step += ahead
        write(writer, step, best)
        written.append(step)
        best_step = step if best else best_step
        milestones = {s for s in written if every and s % every == 0}
        assert set(steps(folder)) == {*written[-keep:], *milestones} | ({best_step} - {None})
        check(folder)
    shutil.rmtree(folder)


def test_last_and_best_are_the_same_files(tmp_path):
    writer = a_writer(tmp_path, keep=1)
    write(writer, 1, best=True)
    assert (tmp_path / step_file(1)).stat().st_nlink == 3
    write(writer, 2)
    assert (tmp_path / "best.pt").samefile(tmp_path / step_file(1))
    assert (tmp_path / step_file(1)).stat().st_nlink == 2


def test_a_step_written_twice_stays_the_best(tmp_path):
    """As when a stop is asked for after the evaluation that it was saved for."""
    writer = a_writer(tmp_path)
    write(writer, 1, best=True)
    write(writer, 1, more=2)
    assert checkpoint.load(tmp_path / "best.pt")["more"] == 2
    check(tmp_path)


def test_a_training_that_goes_on_from_an_earlier_step_replaces_the_later_ones(tmp_path):
    writer = a_writer(tmp_path, keep=9)
    for step in (10, 20, 30):
        write(writer, step, best=step == 30)
    (tmp_path / step_file(25)).write_bytes(b"damaged")
    again = a_writer(tmp_path, keep=2)
    again.rewind(10, best_step=4)
    assert steps(tmp_path) == [10] and not (tmp_path / "best.pt").exists()
    check(tmp_path)
    write(again, 26)
    assert steps(tmp_path) == [10, 26]
    assert [entry.best for entry in read_index(tmp_path)] == [False, False]
    write(again, 28, best=True)
    check(tmp_path)


def test_going_back_makes_the_best_of_then_the_best(tmp_path):
    writer = a_writer(tmp_path, keep=9)
    for step in (10, 20, 30):
        write(writer, step, best=step != 20)
    again = a_writer(tmp_path)
    again.rewind(20, best_step=10)
    check(tmp_path)
    assert (tmp_path / "best.pt").samefile(tmp_path / step_file(10))


@pytest.mark.parametrize("name", ["last.pt", "best.pt"])
def test_going_on_from_a_file_that_alone_is_left_does_not_remove_it(tmp_path, name):
    writer = a_writer(tmp_path)
    for step in (1, 2):
        write(writer, step, best=step == 2)
    for path in tmp_path.iterdir():
        if path.name != name:
            path.unlink()
    (tmp_path / step_file(3)).write_bytes(b"damaged")
    again = a_writer(tmp_path)
    again.rewind(2, best_step=2)
    assert checkpoint.load(tmp_path / name)["step"] == 2 and steps(tmp_path) == []
    write(again, 4)
    assert checkpoint.load(tmp_path / "last.pt")["step"] == 4


def test_without_hard_links_there_are_copies(tmp_path, monkeypatch):
    def no_links(*_, **__):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    writer = a_writer(tmp_path, keep=1)
    for step in (1, 2, 3):
        write(writer, step, best=step == 2)
    assert checkpoint.load(tmp_path / "last.pt")["step"] == 3
    assert checkpoint.load(tmp_path / "best.pt")["step"] == 2
    assert steps(tmp_path) == [2, 3] and not list(tmp_path.glob(".*"))
    assert [entry.best for entry in read_index(tmp_path)] == [True, False]


def test_files_are_private_in_a_private_folder(tmp_path):
    tmp_path.chmod(0o700)
    write(a_writer(tmp_path), 1, best=True)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


class Killed(BaseException):
    """Stands for the end of the process: from then on nothing has an effect."""


CALLS = ("replace", "link", "unlink", "fsync", "rename")


def kill_at(monkeypatch, number):
    """The `number`-th of the calls that change a folder, and all later ones, end the process."""
    counted = iter(range(10**6))
    for name in CALLS:
        real = getattr(os, name)

        def call(*args, real=real, **kwargs):
            if next(counted) >= number:
                raise Killed
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, call)


@pytest.mark.parametrize("best", [False, True])
def test_a_kill_between_any_two_changes_does_no_harm(tmp_path, monkeypatch, best):
    """The folder has checkpoints of steps 1 and 2; writing the third one is cut short."""
    outcomes = set()
    for number in range(100):
        folder = tmp_path / str(number)
        folder.mkdir()
        for step in (1, 2):
            write(a_writer(folder), step, best=step == 1)
        with monkeypatch.context() as patch:
            kill_at(patch, number)
            try:
                write(a_writer(folder), 3, best)
            except Killed:
                pass
            else:
                break
        said = []
        _, state = load_newest(folder, said.append)
        assert not said and state["step"] in (2, 3)
        assert checkpoint.load(folder / "last.pt")["step"] in (2, 3)
        assert checkpoint.load(folder / "best.pt")["step"] in (1, 3)
        outcomes.add(state["step"])
        resumed = a_writer(folder)
        resumed.rewind(state["step"], best_step=3 if best and state["step"] == 3 else 1)
        check(folder)
        for step in (4, 5):
            write(resumed, step)
            check(folder)
        kept = {4, 5} | {entry.step for entry in read_index(folder) if entry.best}
        assert set(steps(folder)) == kept and len(kept) == 3
    else:
        pytest.fail("the third checkpoint was never complete")
    assert outcomes == {2, 3} and number > 5


def test_leftovers_of_killed_writers_are_swept(tmp_path):
    for name in (".step_00000007.pt.1.tmp", ".last.pt.4711.tmp", ".index.json.1.tmp"):
        (tmp_path / name).write_bytes(b"half")
    write(a_writer(tmp_path), 1)
    check(tmp_path)


Usage = namedtuple("Usage", "total used free")


def test_a_disk_without_room_for_another_is_not_tried(tmp_path, monkeypatch):
    writer = a_writer(tmp_path, keep=1)
    write(writer, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 300 * 2**20))
    with pytest.raises(CheckpointError) as raised:
        writer.write({"step": 2}, step=2, metrics={}, best=False, nbytes=500 * 2**20)
    assert str(raised.value) == (
        f"cannot write {tmp_path / step_file(2)}: it needs 501 MiB and 300 MiB are free. "
        "Those that are there stay"
    )
    check(tmp_path)
    assert steps(tmp_path) == [1]
    writer.write({"step": 3}, step=3, metrics={}, best=False, nbytes=200 * 2**20)
    assert steps(tmp_path) == [3]


def test_room_for_a_compressed_one_is_that_of_the_latest(tmp_path, monkeypatch):
    writer = Writer(tmp_path, keep=1, every=0, compress=True)
    write(writer, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 10 * 2**20))
    writer.write({"step": 2}, step=2, metrics={}, best=False, nbytes=500 * 2**20)
    assert steps(tmp_path) == [2]


def test_best_stays_what_it_was_when_it_cannot_be_replaced(tmp_path, monkeypatch):
    writer = a_writer(tmp_path, keep=1)
    write(writer, 1, best=True)
    link = os.link

    def no_best(source, target, **more):
        if ".best" in str(target):
            raise OSError(errno.EPERM, "no links")
        link(source, target, **more)

    def no_copy(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", no_best)
        patch.setattr(shutil, "copyfileobj", no_copy)
        with pytest.raises(CheckpointError, match="No space left"):
            write(writer, 2, best=True)
    assert checkpoint.load(tmp_path / "best.pt")["step"] == 1
    write(writer, 3)
    check(tmp_path)
    assert steps(tmp_path) == [1, 3]


def test_an_index_that_cannot_be_written_costs_no_checkpoint(tmp_path, monkeypatch):
    writer = a_writer(tmp_path)
    write(writer, 1)
    (tmp_path / "index.json").unlink()
    (tmp_path / "index.json").mkdir()
    with pytest.raises(Untidy, match=r"index\.json.*the checkpoint of step 2 is safe"):
        write(writer, 2)
    assert load_newest(tmp_path, print)[1]["step"] == 2
    (tmp_path / "index.json").rmdir()
    write(writer, 3)
    check(tmp_path)


def test_a_folder_that_is_gone(tmp_path):
    writer = a_writer(tmp_path / "gone")
    with pytest.raises(CheckpointError, match=r"cannot write .*gone/step_\d+\.pt: No such file"):
        write(writer, 1)
