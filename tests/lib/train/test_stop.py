# SPDX-License-Identifier: MIT
"""Signals that wait for check(), in this process and in one that really gets them."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from lib.signals import Terminated
from lib.train.stop import StopRequest


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
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
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopRequest():
        os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_later_sigterms_change_nothing():
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt) as raised:
            stop.check()
    assert raised.type is KeyboardInterrupt


def test_the_second_ctrl_c_ends_the_process():
    code = (
        "import os, signal\n"
        "from lib.train.stop import StopRequest\n"
        "with StopRequest():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGINT
    assert "still here" not in done.stdout


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
