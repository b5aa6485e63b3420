# SPDX-License-Identifier: MIT
"""torchrun without tracebacks, with the exit code of its ranks and time for them to save."""

import contextlib
import logging
import signal
import sys
from collections.abc import Sequence
from types import FrameType

import psutil
from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from lib.errors import Failure

_SAVING_S = 60  # for the ranks to finish their step and save, once they are asked to stop


def run_ranks(arguments: Sequence[str]) -> int:
    """Run torchrun with `arguments`; returns the exit code, 128 + n after signal n.

    SIGINT may be blocked until here. A Ctrl-C that came meanwhile ends the launch.
    Raises Failure when the rendezvous of the machines fails.
    """
    logging.disable(logging.ERROR)  # torchrun's reports of signals and ranks are replaced below
    signals = "--signals-to-handle=SIGTERM,SIGHUP,SIGQUIT"  # SIGINT is handled below
    options = torchrun.parse_args([f"--shutdown-timeout={_SAVING_S}", signals, *arguments])
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


class _Interrupt:
    """Handles Ctrl-C for the ranks, whose sessions the terminal does not reach.

    The first Ctrl-C is passed on as SIGTERM: the ranks save and end. The second one kills them.
    """

    pressed = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.pressed:
            self.pressed = True
            raise SignalException("Ctrl-C", signal.SIGTERM)
        for rank in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):
                rank.kill()
