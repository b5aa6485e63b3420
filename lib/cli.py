# SPDX-License-Identifier: MIT
"""How a program ends: errors a user can act on become one message and an exit code.

    if __name__ == "__main__":
        run_main(main)

Exit codes: 0 done, 1 failure, 2 bad use, 130 Ctrl-C, 143 SIGTERM. Anything else that is raised is
a defect and keeps its traceback.
"""

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from lib.signals import Terminated


class Failure(Exception):
    """Something outside the program went wrong; the message says what and what to do."""

    exit_code = 1


class BadUse(Failure):
    """The user asked for something that can not be; the message says what is allowed."""

    exit_code = 2


def run_main(main: Callable[[], int | None]) -> NoReturn:
    """Call `main` and exit with its result or with the code of the error it raised."""
    try:
        code = main() or 0
        sys.stdout.flush()
    except Failure as error:
        print(f"error: {error}", file=sys.stderr)
        code = error.exit_code
    except Terminated:
        code = 143
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # `make runs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)
