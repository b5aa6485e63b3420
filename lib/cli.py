# SPDX-License-Identifier: MIT
"""How a program begins and ends: what a user can act on is one message and an exit code.

    from lib.cli import begin, run_main

    if __name__ == "__main__":
        begin()  # before the other imports: their packages may be missing, or take seconds
    …
    if __name__ == "__main__":
        run_main(main)

`become` replaces a process by another such program without a moment in which Ctrl-C ends in a
traceback.

Exit codes: 0 done, 1 failure, 2 bad use, 129 SIGHUP, 130 Ctrl-C, 140 SIGUSR2, 143 SIGTERM.
Anything else that is raised is a defect and keeps its traceback.
"""

# Nothing else is imported up here, since until `begin` has run Ctrl-C ends in a traceback.
from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # without importing typing
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import NoReturn

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120


def begin() -> None:
    """Make this process name missing packages, and print file names of any encoding.

    Until `run_main`, Ctrl-C ends it at once, without the traceback of an import cut short. SIGUSR1
    ends nothing from here on: it asks a training to save, which is noted (lib/signals.py).
    """
    sys.excepthook = _explain
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else Ctrl-C is ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # see `become`
    from .signals import note_save

    if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:  # else it is ignored
        signal.signal(signal.SIGUSR1, note_save)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    for stream in (sys.stdout, sys.stderr):  # names of files need not be UTF-8
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def become(program: str, *arguments: str) -> NoReturn:
    """Replace this process by the Python program `program`, which must call `begin`.

    While the new interpreter starts, Ctrl-C and SIGUSR1 wait; `begin` lets them through, and a
    SIGUSR1 that was noted is noted there.
    """
    import signal

    from .signals import noted_saves

    sys.stdout.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGUSR1})
    if noted_saves:
        os.kill(os.getpid(), signal.SIGUSR1)
    os.execv(sys.executable, [sys.executable, program, *arguments])


def run_main(main: Callable[[], object]) -> NoReturn:
    """Call `main` and exit with the code that it returns, if it does, or of the error it raised."""
    import signal

    from .errors import Failure
    from .signals import Terminated

    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        result = main()
        code = result if isinstance(result, int) else 0
        sys.stdout.flush()
    except Failure as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except Terminated as error:
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # `make runs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left that Ctrl-C could stop
    sys.exit(code)


def _explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """sys.excepthook: what this machine lacks is not a defect of the program."""
    if isinstance(error, KeyboardInterrupt):  # Python exits as after SIGINT
        return
    package = (getattr(error, "name", None) or "").partition(".")[0]
    missing = isinstance(error, ModuleNotFoundError) and package
    if missing and not os.path.exists(os.path.join(_ROOT, package)):  # noqa: PTH110, PTH118
        said = f"{sys.executable} has no package {package}, which this needs. {_cure()}"
    elif isinstance(error, UnicodeEncodeError) and not _is_utf8(sys.prefix):
        said = f"PyTorch cannot be loaded from a folder whose name is not UTF-8: {sys.prefix}"
    else:
        sys.__excepthook__(kind, error, trace)
        return
    print(f"error: {said}", file=sys.stderr)


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _cure() -> str:
    pip = f"{sys.executable} -m pip install -r requirements.txt -c constraints.txt"
    venv = os.path.join(_ROOT, ".venv")  # noqa: PTH118
    if os.environ.get("VENV") == "system":
        return f"Leave VENV=system out,\n       or run: {pip}"
    if sys.prefix == venv:
        return f"Run: {pip}"
    if os.path.exists(os.path.join(venv, ".installed")):  # noqa: PTH110, PTH118
        return "Use .venv/bin/python, or make, instead."
    return f"Run `make install` and use\n       .venv/bin/python, or run: {pip}"
