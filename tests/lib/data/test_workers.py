# SPDX-License-Identifier: MIT
"""Worker processes: order, reading ahead, what ends them and what does not."""

import math
import operator
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from lib.data.workers import WorkerEnded, Workers
from lib.errors import BadUse
from lib.files import ROOT
from lib.launch_env import LaunchEnv, launch_env


def test_results_come_in_order_whoever_is_first():
    pauses = [0.2, 0.0, 0.1, 0.0, 0.05]
    with Workers(_Nap(), 2) as workers:
        assert list(workers.map(enumerate(pauses))) == [0, 1, 2, 3, 4]


class _Nap:
    """Picklable as the function it reduces to: a test's module is no place to import from."""

    def __reduce__(self):
        return eval, ("lambda task: (__import__('time').sleep(task[1]), task[0])[1]",)


def test_arrays_arrive_as_they_were_and_can_be_written():
    arrays = [np.arange(1 << 20, dtype=np.float32), np.zeros((0, 3), np.uint8), np.eye(3)[:, ::2]]
    with Workers(operator.neg, 1) as workers:
        for sent, got in zip(arrays, workers.map(arrays), strict=True):
            assert got.dtype == sent.dtype and np.array_equal(got, -sent)
            got += 1


def test_little_is_read_ahead():
    read = []

    def tasks():
        for index in range(100):
            read.append(index)
            yield index

    with Workers(operator.neg, 2) as workers:
        results = workers.map(tasks())
        next(results)
        assert len(read) <= 6
        assert list(results) == [-index for index in range(1, 100)]


def test_several_threads_share_the_processes():
    results = {}
    with Workers(operator.neg, 2) as workers:
        threads = [
            threading.Thread(target=lambda k=k: results.update({k: list(workers.map(range(k)))}))
            for k in (10, 50, 30)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == {k: [-i for i in range(k)] for k in (10, 50, 30)}


def test_a_failure_is_raised_here_and_the_worker_lives_on():
    with Workers(launch_env, 1) as workers:
        with pytest.raises(BadUse, match="RANK=0 in the environment"):
            list(workers.map([{"RANK": "0"}]))
        assert list(workers.map([{}])) == [LaunchEnv()]


def test_a_worker_that_dies_is_said():
    with Workers(math.sqrt, 2) as workers:
        for process in workers.processes:
            process.kill()
        with pytest.raises(WorkerEnded, match=r"exit status -9.*NUM_WORKERS"):
            list(workers.map([1.0]))


def test_an_error_that_no_user_can_act_on_ends_the_worker_with_a_traceback(capfd):
    with Workers(math.sqrt, 1) as workers, pytest.raises(WorkerEnded, match="exit status 1"):
        list(workers.map([-1.0]))
    assert "math domain error" in capfd.readouterr().err


def test_signals_do_not_reach_workers():
    with Workers(operator.neg, 2) as workers:
        for process in workers.processes:  # they may not even have begun
            for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
                process.send_signal(number)
        assert list(workers.map(range(8))) == [-i for i in range(8)]


def test_nothing_is_left_behind_after_closing():
    with Workers(time.sleep, 2) as workers:
        results = workers.map([60, 60, 60])
        threading.Timer(0.3, workers.close).start()
        with pytest.raises((WorkerEnded, RuntimeError)):
            next(results)
    assert [process.poll() for process in workers.processes] == [-signal.SIGKILL] * 2


PROGRAM = """
import operator, time
from lib.data.workers import Workers
workers = Workers(operator.neg, 2)
print(sum(workers.map(range(9))), *(process.pid for process in workers.processes), flush=True)
time.sleep(60)
"""


def test_workers_end_when_the_program_is_killed():
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    total, *pids = map(int, program.stdout.readline().split())
    program.kill()
    program.communicate()
    assert total == -36 and len(pids) == 2
    deadline = time.monotonic() + 5
    while any(map(_lives, pids)):
        assert time.monotonic() < deadline, "a worker outlived its program"
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # nobody may be there to reap it


@pytest.mark.parametrize("cut", [0, 6, 30, -3], ids=["nothing", "a length", "half", "the end"])
def test_a_worker_whose_input_breaks_off_says_nothing(cut):
    code = (
        "import io, operator, sys; from lib.data import workers; stream = io.BytesIO(); "
        "workers._send(stream, operator.neg); workers._send(stream, 3); "
        f"sys.stdout.buffer.write(stream.getvalue()[:{cut}])"
    )
    sent = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True
    ).stdout
    done = subprocess.run(
        [sys.executable, "-c", "from lib.data.workers import serve; serve()"],
        cwd=ROOT, input=sent, capture_output=True, check=False, env=os.environ,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
