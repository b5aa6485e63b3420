# SPDX-License-Identifier: MIT
"""How a program ends: errors a user can act on become one message and an exit code.

    if __name__ == "__main__":
        run_main(main)

Exit codes: 0 done, 1 failure, 2 bad use, 129 SIGHUP, 130 Ctrl-C, 143 SIGTERM. Anything else that
is raised is a defect and keeps its traceback. A package that the interpreter lacks is no defect:
from the import of this module on, also while a program is still importing, it is named with what
installs it.
"""

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


def run_main(main: Callable[[], int | None]) -> NoReturn:
    """Call `main` and exit with its result or with the code of the error it raised."""
    try:
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
    """sys.excepthook: with VENV=system only what a program really uses has to be there."""
    package = (getattr(error, "name", None) or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or not package or (_ROOT / package).exists():
        sys.__excepthook__(kind, error, trace)
        return
    print(
        f"error: {sys.executable} has no package {package}, which this needs. Leave VENV=system "
        "out,\n       or run: pip install -r requirements.txt -c constraints.txt",
        file=sys.stderr,
    )


sys.excepthook = _name_missing_package
