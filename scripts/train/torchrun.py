# SPDX-License-Identifier: MIT
"""torchrun that ends as its ranks do: no traceback, their exit code, time to save."""

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

_SAVING_S = 60  # how long the ranks may take for their step and their checkpoint once asked to stop


def run_ranks(arguments: Sequence[str]) -> int:
    """Run torchrun with `arguments`; returns the exit code, 128 + n after signal n.

    Raises Failure where the machines do not meet.
    """
    logging.disable(logging.ERROR)  # what torchrun reports of signals and ranks is said below
    signals = "--signals-to-handle=SIGTERM,SIGHUP,SIGQUIT"  # SIGINT is taken below
    options = torchrun.parse_args([f"--shutdown-timeout={_SAVING_S}", signals, *arguments])
    stop = _Interrupt()
    signal.signal(signal.SIGINT, stop)
    try:
        torchrun.run(options)
    except SignalException as error:
        return 128 + (signal.SIGINT if stop.pressed else error.sigval)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        code = failure.exitcode
        ended = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        print(f"rank {rank} ended with {ended}; so all were stopped", file=sys.stderr)
        return code if code >= 0 else 128 - code
    except (RuntimeError, OSError) as error:  # what the rendezvous raises
        raise Failure(f"the processes did not meet: {error}") from None
    return 0


class _Interrupt:
    """The ranks are in sessions of their own, which no Ctrl-C reaches.

    The first one is passed on as SIGTERM: the ranks save and end. The second one kills them.
    """

    pressed = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if not self.pressed:
            self.pressed = True
            raise SignalException("Ctrl-C", signal.SIGTERM)
        for rank in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):
                rank.kill()
