# SPDX-License-Identifier: MIT
"""How a program begins and ends: what a user can act on is one message and an exit code.

    from lib.cli import begin, run_main

    if __name__ == "__main__":
        begin()  # before the other imports: their packages may be missing, or take seconds
    …
    if __name__ == "__main__":
        run_main(main)

Exit codes: 0 done, 1 failure, 2 bad use, 129 SIGHUP, 130 Ctrl-C, 143 SIGTERM. Anything else that
is raised is a defect and keeps its traceback.
"""

import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from lib.errors import Failure
from lib.signals import Terminated

_ROOT = Path(__file__).resolve().parent.parent


def begin() -> None:
    """Prepare this process: it names packages that are missing, and prints any file name.

    Until `run_main`, Ctrl-C ends it at once, without the traceback of a half-done import.
    """
    sys.excepthook = _name_missing_package
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else Ctrl-C is ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):  # names of files need not be UTF-8
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def run_main(main: Callable[[], int | None]) -> NoReturn:
    """Call `main` and exit with its result or with the code of the error it raised."""
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        code = main() or 0
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


def _name_missing_package(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """sys.excepthook: outside .venv only what a program really uses has to be there."""
    package = (getattr(error, "name", None) or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or not package or (_ROOT / package).exists():
        sys.__excepthook__(kind, error, trace)
        return
    print(
        f"error: {sys.executable} has no package {package}, which this needs. {_cure()}",
        file=sys.stderr,
    )


def _cure() -> str:
    pip = f"{sys.executable} -m pip install -r requirements.txt -c constraints.txt"
    if os.environ.get("VENV") == "system":
        return f"Leave VENV=system out,\n       or run: {pip}"
    if Path(sys.prefix) == _ROOT / ".venv":
        return f"Run: {pip}"
    if (_ROOT / ".venv" / ".installed").exists():
        return "Use .venv/bin/python, or make, in its place."
    return f"Run `make install` and use\n       .venv/bin/python, or run: {pip}"
