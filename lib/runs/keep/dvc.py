# SPDX-License-Identifier: MIT
"""The command dvc of this Python, as a function.

    dvc("add", "--no-relink", "outputs/training/run")

A command, since importing DVC takes as long as starting it, and its Python API is not stable.
"""

import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from ...errors import Failure
from ...files import ROOT

_BUSY = "is busy, it is being blocked by"  # a path; --wait-for-lock waits for the repository alone
_BUSY_S = 20.0
_HINT = re.compile(r"^(Having any troubles\?|Learn more|If you are seeing this).*$", re.MULTILINE)


class DvcFailed(Failure):
    """DVC is missing, or said no; `said` is what it printed."""

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said


def dvc(*arguments: str, at: Path = ROOT) -> str:
    """What `dvc …` prints on standard output, without white space at both ends.

    It waits for other dvc commands in the repository, and for the last moments of one that was
    killed. Raises DvcFailed.
    """
    if importlib.util.find_spec("dvc") is None:
        raise DvcFailed(
            f"DVC is not installed: {sys.executable} -m pip install -r requirements.txt "
            "-c constraints.txt"
        )
    deadline = time.monotonic() + _BUSY_S
    while _BUSY in (done := _run(arguments, at)).stderr and time.monotonic() < deadline:
        time.sleep(0.5)
    if done.returncode != 0:
        said = _HINT.sub("", done.stderr).strip().removeprefix("ERROR: ")
        said = said or done.stdout.strip() or f"exit code {done.returncode}"
        raise DvcFailed(f"dvc {arguments[0]} failed: {said}", said)
    return done.stdout.strip()


def _run(arguments: tuple[str, ...], at: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments],
        cwd=at, env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        stdin=subprocess.DEVNULL, capture_output=True, check=False,
        encoding="utf-8", errors="surrogateescape",
    )  # fmt: skip
