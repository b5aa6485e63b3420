# SPDX-License-Identifier: MIT
"""Checkpoints written beside a training: never torn, never mixed, and never in its way."""

import errno
import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.train import checkpoint
from lib.train.checkpoint import CheckpointError, writer
from lib.train.checkpoint.find import load_newest, step_file, steps_on_disk
from lib.train.saver import Saver
from lib.train.sharded_saver import ShardedSaver
from tests.lib.train.checkpoint.states import STATES, same, tensors_in


class Said(list):
    """Collects what the saver says, and in which thread."""

    def __call__(self, text):
        assert threading.current_thread() is threading.main_thread()
        self.append(text)


def a_saver(folder, say=print, *, is_main=True, sync_journal=lambda: None, **more):
    settings = {"keep": 2, "every": 0, "compress": False} | more
    return Saver(folder, is_main=is_main, sync_journal=sync_journal, say=say, **settings)


def save(saver, step, contents=None, best=False):
    contents = {"step": step} if contents is None else contents
    saver.save(contents, step=step, metrics={"val/loss": 1.0}, best=best)


def step_in(folder, name="last.pt"):
    return checkpoint.load(folder / name)["step"]


@pytest.fixture
def held(monkeypatch):
    """An event for which each write waits; set it to let them go on."""
    event, real = threading.Event(), writer.save

    def wait(*args, **kwargs):
        assert event.wait(30)
        return real(*args, **kwargs)

    monkeypatch.setattr(writer, "save", wait)
    yield event
    event.set()


@settings(max_examples=25)
@given(states=st.lists(STATES, min_size=1, max_size=3), compress=st.booleans())
def test_what_changes_after_save_is_not_saved(tmp_path_factory, states, compress):
    folder = tmp_path_factory.mktemp("checkpoints")
    saver = a_saver(folder, compress=compress, keep=9)
    expected = {}
    for step, state in enumerate(states):
        checkpoint.save(folder / "expected.pt", state)
        expected[step] = checkpoint.load(folder / "expected.pt")
        save(saver, step, state)
        for tensor in tensors_in(state):
            tensor.zero_()
        state.clear()
    saver.close()
    for step, state in expected.items():
        assert same(checkpoint.load(folder / step_file(step)), state)


def test_save_returns_before_anything_is_written(tmp_path, held):
    saver = a_saver(tmp_path)
    weight = torch.ones(3)
    save(saver, 1, {"step": 1, "w": weight})
    weight.fill_(2)
    saver.poll()
    assert list(tmp_path.iterdir()) == []
    held.set()
    saver.wait()
    assert checkpoint.load(tmp_path / "last.pt")["w"].tolist() == [1, 1, 1]


def test_one_is_written_at_a_time(tmp_path, held):
    saver = a_saver(tmp_path)
    weight = torch.ones(3)
    save(saver, 1, {"step": 1, "w": weight})
    threading.Timer(0.2, held.set).start()
    weight.fill_(2)
    began = time.monotonic()
    save(saver, 2, {"step": 2, "w": weight})
    assert time.monotonic() - began > 0.1
    assert (tmp_path / step_file(1)).exists(), "its copy was not overwritten before it was written"
    saver.close()
    assert checkpoint.load(tmp_path / step_file(1))["w"].tolist() == [1, 1, 1]
    assert checkpoint.load(tmp_path / step_file(2))["w"].tolist() == [2, 2, 2]


def test_the_copy_stays_until_it_is_written_also_when_the_wait_is_interrupted(tmp_path, held):
    def interrupt(*_):
        raise KeyboardInterrupt

    saver = a_saver(tmp_path)
    weight = torch.ones(3)
    save(saver, 1, {"step": 1, "w": weight})
    weight.fill_(2)
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with pytest.raises(KeyboardInterrupt):
            save(saver, 2, {"step": 2, "w": weight})
    finally:
        signal.signal(signal.SIGALRM, before)
    threading.Timer(0.2, held.set).start()
    save(saver, 3, {"step": 3, "w": weight})
    saver.close()
    assert checkpoint.load(tmp_path / step_file(1))["w"].tolist() == [1, 1, 1]
    assert list(steps_on_disk(tmp_path)) == [1, 3]


def test_last_and_best(tmp_path):
    saver = a_saver(tmp_path)
    assert not saver.has_saved_best() and not saver.has_saved_last()
    save(saver, 1)
    assert saver.has_saved_last() and not saver.has_saved_best()
    save(saver, 2, best=True)
    save(saver, 3)
    assert saver.has_saved_best()
    saver.require_saved()
    assert (step_in(tmp_path), step_in(tmp_path, "best.pt")) == (3, 2)
    saver.close()


def test_a_rank_whose_run_has_no_folder_has_saved_nothing():
    saver = a_saver(Path(os.devnull) / "checkpoints", is_main=False)
    assert not saver.has_saved_last() and not saver.has_saved_best()


def test_other_ranks_write_nothing(tmp_path):
    saver = a_saver(tmp_path, is_main=False)
    save(saver, 1, best=True)
    saver.poll()
    saver.require_saved()
    assert not saver.has_saved_best()
    saver.close()
    assert list(tmp_path.iterdir()) == []


def test_the_journal_is_safe_before_the_checkpoint_has_its_name(tmp_path):
    seen = []

    def sync():
        seen.append((threading.current_thread() is threading.main_thread(), [*tmp_path.iterdir()]))

    saver = a_saver(tmp_path, sync_journal=sync)
    save(saver, 1)
    saver.close()
    assert seen == [(False, [])]


def test_a_journal_that_cannot_be_synced_costs_the_checkpoint(tmp_path):
    def sync():
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    said = Said()
    saver = a_saver(tmp_path, said, sync_journal=sync)
    save(saver, 1)
    saver.close()
    assert said == [
        "warning: no checkpoint of step 1, training goes on: cannot write the journal: "
        "Input/output error"
    ]
    assert list(tmp_path.iterdir()) == []


class TestFullDisk:
    WEIGHTS = torch.zeros(30_000)

    def state(self, step):
        return {"step": step, "w": self.WEIGHTS + step}

    def test_training_goes_on_and_says_so_once(self, tmp_path, file_size_limit):
        said = Said()
        saver = a_saver(tmp_path, said)
        save(saver, 1, self.state(1), best=True)
        saver.wait()
        with file_size_limit(50_000):
            for step in (2, 3):
                save(saver, step, self.state(step), best=step == 2)
            saver.wait()
        assert said == [
            "warning: no checkpoint of step 2, training goes on: cannot write "
            f"{tmp_path / step_file(2)}: File too large"
        ]
        assert (step_in(tmp_path), step_in(tmp_path, "best.pt")) == (1, 1)
        assert not saver.has_saved_best() and not saver.has_saved_last()
        with pytest.raises(CheckpointError, match=r"best\.pt lacks step 2, last\.pt lacks step 3"):
            saver.require_saved()
        save(saver, 4, self.state(4))
        saver.require_saved()
        assert (step_in(tmp_path), step_in(tmp_path, "best.pt")) == (4, 2)
        save(saver, 5, self.state(5), best=True)
        saver.require_saved()
        with file_size_limit(50_000):
            save(saver, 6, self.state(6))
            saver.close()
        assert len(said) == 2, "it could be written in between"

    def test_no_checkpoint_knows_of_a_best_one_that_is_not_there(self, tmp_path, file_size_limit):
        """Each state holds which step was the best until then; best.pt is to be of that step."""
        chance, saver, best = random.Random(0), a_saver(tmp_path, Said()), 0
        for step in range(1, 60):
            is_best = chance.random() < 0.3
            best = step if is_best else best
            with file_size_limit(50_000 if step % 9 > 3 else 2**30):
                save(saver, step, {**self.state(step), "best_step": best}, best=is_best)
                saver.wait()
            for path in steps_on_disk(tmp_path).values():
                state = checkpoint.load(path)
                is_newest = path.samefile(tmp_path / "last.pt")
                if is_newest and state["best_step"]:
                    assert step_in(tmp_path, "best.pt") == state["best_step"]
        saver.close()
        assert 55 <= step_in(tmp_path) <= 57

    def test_poll_reports_without_waiting(self, tmp_path, file_size_limit):
        said = Said()
        saver = a_saver(tmp_path, said)
        with file_size_limit(50_000):
            save(saver, 1, self.state(1))
            deadline = time.monotonic() + 30
            while not said and time.monotonic() < deadline:
                saver.poll()
        assert len(said) == 1
        saver.close()

    @pytest.mark.parametrize("compress", [False, True])
    def test_at_any_byte(self, tmp_path, compress):
        """What is on the disk can be loaded, however much of the next one fitted on it."""
        generator = random.Random(0)
        state = {"w": torch.randn(500), "masks": [torch.zeros(9, dtype=torch.bool)]}
        saver = a_saver(tmp_path, Said(), compress=compress)
        save(saver, 1, state | {"step": 1}, best=True)
        saver.wait()
        whole = (tmp_path / step_file(1)).stat().st_size + 1000  # and the index
        good, outcomes = 1, set()
        for step in range(2, 60):
            with bytes_left(generator.randrange(whole)):
                save(saver, step, state | {"step": step})
                saver.wait()
            good = step if saver.has_saved_last() else good
            path, loaded = load_newest(tmp_path, Said())
            assert loaded["step"] >= good and step_in(tmp_path) in (good, loaded["step"])
            assert torch.equal(loaded["w"], state["w"]) and step_in(tmp_path, "best.pt") == 1
            assert not list(tmp_path.glob(".*")), path
            outcomes.add(good == step)
        assert outcomes == {True, False}
        saver.close()


class bytes_left:
    """A `with` block in which all files together can take so many more bytes."""

    def __init__(self, number):
        self.left = number

    def __enter__(self):
        from lib.train.checkpoint import file

        def write(hashed, data, real=file._Hashed.write):
            self.left -= len(data)
            if self.left < 0:
                hashed.error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                raise hashed.error
            return real(hashed, data)

        def sync(descriptor):
            if self.left < 200:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(file._Hashed, "write", write)
        self.patch.setattr(os, "fsync", sync)

    def __exit__(self, *_):
        self.patch.undo()


def test_a_defect_is_raised_in_the_training_and_not_taken_for_a_full_disk(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(writer, "save", broken)
    saver = a_saver(tmp_path)
    save(saver, 1)
    with pytest.raises(ZeroDivisionError):
        saver.wait()
    said = Said()
    ending = a_saver(tmp_path, said)
    save(ending, 1)
    ending.close()
    assert len(said) == 1 and "was not written" in said[0]
    saver.close()


def test_an_index_that_cannot_be_written_is_said_and_no_more(tmp_path):
    said = Said()
    saver = a_saver(tmp_path, said)
    (tmp_path / "index.json").mkdir()
    for step in (1, 2):
        save(saver, step)
    saver.require_saved()
    assert len(said) == 1 and "the checkpoint of step 1 is safe" in said[0]
    saver.close()


WORDS = 100_000  # in each of four tensors


def save_for_ever(folder):
    """What a training does: go on from the newest checkpoint and save each step."""
    step, weights = 0, [torch.zeros(WORDS) for _ in range(4)]
    if steps_on_disk(folder):
        step = load_newest(folder, print)[1]["step"]
    saver = a_saver(folder, every=50)
    saver.rewind(step, best_step=step - step % 7)
    while True:
        step += 1
        for weight in weights:
            weight.fill_(step)
        save(saver, step, {"step": step, "weights": weights}, best=step % 7 == 0)


def killed_after(checkpoints, seconds, folder):
    """Run `save_for_ever` in a child process, and kill it so long after so many checkpoints."""
    step = max(steps_on_disk(folder), default=0) + checkpoints
    child = os.fork()
    if not child:
        try:
            torch.set_num_threads(1)
            save_for_ever(folder)
        finally:
            os._exit(1)
    deadline = time.monotonic() + 30
    while max(steps_on_disk(folder), default=0) < step and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it ended by itself"


def test_a_process_killed_at_any_moment_leaves_a_state_that_was_saved(tmp_path):
    generator, latest = random.Random(1), 0
    for _ in range(15):
        killed_after(generator.randrange(4), generator.uniform(0, 0.02), tmp_path)
        said = Said()
        try:
            _, state = load_newest(tmp_path, said)
        except CheckpointError:
            assert latest == 0, "once there is one, there is always one"
            continue
        assert said == [] and state["step"] >= latest
        latest = state["step"]
        for weight in state["weights"]:
            assert torch.equal(weight, torch.full((WORDS,), float(latest)))
        for name in ("last.pt", "best.pt"):
            if (tmp_path / name).exists():
                checkpoint.load(tmp_path / name)
    assert latest > 10
    saver = a_saver(tmp_path)
    saver.rewind(latest, best_step=latest - latest % 7)
    save(saver, latest + 1, best=True)
    saver.close()
    assert not list(tmp_path.glob(".*"))
    assert latest + 1 == max(steps_on_disk(tmp_path))


def test_a_sharded_checkpoint_whose_ranks_are_lost_is_not_waited_for(tmp_path, monkeypatch):
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters())
    options = {"is_main": False, "keep": 2, "every": 0, "compress": False}
    saver = ShardedSaver(
        tmp_path, model, optimizer, sync_journal=lambda: None, say=Said(), **options
    )

    def lost(*_):
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(saver, "_write", lost)
    with pytest.raises(RuntimeError, match="closed by peer"):
        save(saver, 1)
    closing = threading.Thread(target=saver.close, daemon=True)
    closing.start()
    closing.join(10)
    assert not closing.is_alive()
