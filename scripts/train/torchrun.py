# SPDX-License-Identifier: MIT
"""torchrun without tracebacks, with the exit code of its ranks and time for them to save."""

import contextlib
import logging
import signal
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType

import psutil
from torch.distributed import run as torchrun
from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher import api as launcher

from lib.errors import Failure
from lib.signals import noted_saves

_SAVING_S = 60  # for the ranks to finish their step and save, once they are asked to stop
_POLL_S = 0.1
# How ranks end that were asked to: by themselves, or before they could handle the signal.
_STOPS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
_STOPPED = {code for number in _STOPS for code in (128 + number, -number)}


def run_ranks(arguments: Sequence[str]) -> int:
    """Run torchrun with `arguments`; returns the exit code, 128 + n after signal n.

    SIGINT and SIGUSR1 are blocked until here. A Ctrl-C that came meanwhile ends the launch.
    Raises Failure when the rendezvous of the machines fails.
    """
    logging.disable(logging.ERROR)  # torchrun's reports of signals and ranks are replaced below
    signals = "--signals-to-handle=SIGTERM,SIGHUP,SIGQUIT,SIGUSR2"  # SIGINT is handled below
    options = torchrun.parse_args([f"--shutdown-timeout={_SAVING_S}", signals, *arguments])
    launcher.LocalElasticAgent = _Agent
    threading.Thread(target=_forward_saves, name="signals", daemon=True).start()
    stop = _Interrupt()
    signal.signal(signal.SIGINT, stop)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        torchrun.run(options)
    except SignalException as error:
        return 128 + (signal.SIGINT if stop.pressed else error.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = failure.exitcode
        ended = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        print(f"rank {rank} ended with {ended}: all ranks were stopped", file=sys.stderr)
        return code if code >= 0 else 128 - code
    except (RuntimeError, OSError) as error:  # what the rendezvous raises
        raise Failure(f"the processes did not meet: {error}") from None
    return 0


class _Agent(LocalElasticAgent):
    """Does not restart the ranks after one of them was asked to stop."""

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        result = super()._monitor_workers(worker_group)
        # The first to end: the agent has sent SIGTERM to the others meanwhile.
        first = next(iter(result.failures.values()), None)
        if first is not None and first.exitcode in _STOPPED:
            self._remaining_restarts = 0
        return result


class _Interrupt:
    """Handles Ctrl-C for the ranks, whose sessions the terminal does not reach.

    The first Ctrl-C is passed on as SIGTERM: the ranks save and end. The second one kills them.
    """

    pressed = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.pressed:
            self.pressed = True
            raise SignalException("Ctrl-C", signal.SIGTERM)
        _signal_ranks(signal.SIGKILL)


def _forward_saves() -> None:
    """The thread that passes each SIGUSR1 on to the ranks; it waits for ranks if there are none.

    They begin with the signal blocked, as this process has it, so that it never ends them.
    """
    pending = bool(noted_saves)  # from before it was blocked
    while True:
        if not pending:
            signal.sigwait({signal.SIGUSR1})
        pending = not _signal_ranks(signal.SIGUSR1)
        if pending:
            time.sleep(_POLL_S)


def _signal_ranks(number: int) -> bool:
    """Send the signal to all ranks on this machine; returns whether there were any."""
    ranks = psutil.Process().children()
    for rank in ranks:
        with contextlib.suppress(psutil.NoSuchProcess):
            rank.send_signal(number)
    return bool(ranks)
