# SPDX-License-Identifier: MIT
"""The command git, as a function.

    head = git("rev-parse", "HEAD")
    if not answers("diff", "--quiet"): …

It works on the repository that holds the folder `at`, by default the one of this project, also
within a git hook, whose environment names another repository or index.
"""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from ...errors import Failure
from ...files import ROOT

# What ties git to a repository (`git rev-parse --local-env-vars`); identity and ssh stay.
_LOCAL = (
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
)


class GitFailed(Failure):
    """git is missing, or said no; `said` is what it printed."""

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said


def git(*arguments: str, at: Path = ROOT, environment: Mapping[str, str] | None = None) -> str:
    """What `git …` prints, without the line break at the end. Raises GitFailed."""
    done = _run(arguments, at, environment)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()) or f"exit code {done.returncode}"
        raise GitFailed(f"git {arguments[0]} failed: {said}", said)
    return done.stdout.rstrip("\n")


def answers(*arguments: str, at: Path = ROOT) -> bool:
    """Whether `git …` exits with 0. Raises GitFailed when there is no git."""
    return _run(arguments, at, None).returncode == 0


def _run(
    arguments: tuple[str, ...], at: Path, environment: Mapping[str, str] | None
) -> "subprocess.CompletedProcess[str]":
    inherited = {name: value for name, value in os.environ.items() if name not in _LOCAL}
    try:
        return subprocess.run(
            ["git", *arguments], cwd=at, env={**inherited, **(environment or {})},
            stdin=subprocess.DEVNULL, capture_output=True, check=False,
            encoding="utf-8", errors="surrogateescape",
        )  # fmt: skip
    except FileNotFoundError as error:
        missing = "git is not installed" if at.is_dir() else f"there is no folder {at}"
        raise GitFailed(missing) from error
