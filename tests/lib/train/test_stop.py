# SPDX-License-Identifier: MIT
"""Signals that wait for check(), in this process and in others."""

import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lib.runs.stored import find_runs
from lib.signals import Terminated, noted_saves
from lib.train.stop import StopRequest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (signal.SIGINT, KeyboardInterrupt),
        (signal.SIGTERM, Terminated),
        (signal.SIGHUP, Terminated),
        (signal.SIGUSR2, Terminated),
    ],
)
def test_a_signal_waits_for_check(number, error, capfd):
    with StopRequest() as stop:
        stop.check()
        os.kill(os.getpid(), number)
        reached = True  # nothing was raised here
        with pytest.raises(error) as raised:
            stop.check()
    assert reached and raised.type is error
    assert "stopping after this step" in capfd.readouterr().err


def test_the_handlers_are_put_back():
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
    before = [signal.getsignal(number) for number in signals]
    with StopRequest():
        os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in signals] == before


def vote_to_end(number):
    """What `agree` is called with on a rank that got the signal."""
    votes = []
    with StopRequest(agree=lambda vote: votes.append(vote) or 0) as stop:
        os.kill(os.getpid(), number)
        stop.check()
    return votes[0]


def test_sigusr1_asks_for_a_checkpoint_once():
    with StopRequest() as stop:
        stop.check()
        assert not stop.save_requested
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR1)
        stop.check()
        assert stop.save_requested
        stop.save_requested = False
        stop.check()
        assert not stop.save_requested


def test_all_ranks_save_when_one_is_asked_to():
    asked = vote_to_end(signal.SIGUSR1)
    with StopRequest(agree=lambda vote: max(vote, asked)) as stop:
        stop.check()
        assert stop.save_requested


@pytest.mark.parametrize("stopping", [signal.SIGHUP, signal.SIGINT, signal.SIGUSR2, signal.SIGTERM])
def test_a_rank_that_is_asked_to_save_ends_with_one_that_is_asked_to_stop(stopping):
    ends = vote_to_end(stopping)
    with StopRequest(agree=lambda vote: max(vote, ends)) as stop:
        os.kill(os.getpid(), signal.SIGUSR1)
        with pytest.raises(KeyboardInterrupt) as raised:
            stop.check()
    assert getattr(raised.value, "exit_code", 130) == 128 + stopping


@pytest.fixture(autouse=True)
def nothing_noted():
    yield
    noted_saves.clear()


def test_nohup_is_respected():
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            stop.check()
    finally:
        signal.signal(signal.SIGHUP, previous)


def test_all_ranks_end_in_the_way_of_the_one_that_got_the_signal():
    with StopRequest(agree=lambda vote: max(vote, vote_to_end(signal.SIGHUP))) as stop:
        with pytest.raises(Terminated) as raised:
            stop.check()
        assert raised.value.exit_code == 129
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt) as raised:
            stop.check()
        assert raised.type is KeyboardInterrupt


def test_later_sigterms_change_nothing():
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt) as raised:
            stop.check()
    assert raised.type is KeyboardInterrupt


TWICE = """
import os, signal, sys
from lib.train.stop import StopRequest
with StopRequest():
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    os.kill(os.getpid(), signal.SIGTERM)
    print('still here', flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    print('and here')
"""


@pytest.mark.parametrize("first", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_ctrl_c_after_a_request_ends_the_process(first, rank):
    where = {"RANK": rank, "WORLD_SIZE": "2", "LOCAL_RANK": rank}
    meeting = {"MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    done = subprocess.run(
        [sys.executable, "-c", TWICE, first],
        env={**os.environ, **where, **meeting},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "still here\n")
    assert ("stopping after this step" in done.stderr) is (rank == "0"), "printed once"


ENDLESS = """
import sys, time
from lib.cli import run_main
from lib.runs.run import Run
from lib.train.stop import StopRequest
def main():
    with Run.create(sys.argv[1], "x") as run, StopRequest() as stop:
        try:
            while True:
                run.say("step")
                time.sleep(0.01)
                stop.check()
        except KeyboardInterrupt:
            run.say("saving")
            raise
run_main(main)
"""


def test_closing_the_terminal_ends_a_training_as_sigterm_does(tmp_path):
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", ENDLESS, str(tmp_path)])
    while b"step" not in os.read(terminal, 1000):
        pass
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + signal.SIGHUP
    (run,) = find_runs(tmp_path)
    assert run.status == "interrupted"
    assert "saving" in (run.dir / "logs" / "train.log").read_text()


def test_in_another_thread_it_leaves_signals_alone():
    found = []

    def work():
        with StopRequest() as stop:
            stop.check()
            found.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [before]
