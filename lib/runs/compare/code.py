# SPDX-License-Identifier: MIT
"""The code of runs: commits, what changed between them, and uncommitted changes.

    found = compare_code(runs)
    found.fields["commit"]              # ["0123456789", "abcdef0123"]
    found.between[0].ahead              # commits of the second that the first lacks

What changed is asked of git in this checkout; a commit that it lacks is named in `not_here`.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...files import ROOT
from ..metadata import ask_git
from ..stored import StoredRun
from .differences import UNKNOWN, Differences, differing

_COMMIT = re.compile(r"[0-9a-f]{7,64}")  # a run may come from anybody, and git takes options
_SHORT = 10
_MOST_FILES = 12


@dataclass(frozen=True)
class Between:
    """From the commit `old` to `new`: how many commits `new` has in addition, and lacks.

    `stat` is the output of git diff --stat.
    """

    old: str
    new: str
    ahead: int
    behind: int
    stat: list[str]


@dataclass(frozen=True)
class Code:
    """`fields`: what differs of commit, branch, dirty, untracked and uncommitted.

    `uncommitted` is a digest of git.diff, `none` where there were no changes. `between` compares
    the first commit with each other one; `not_here` are those that this checkout lacks.
    """

    fields: Differences
    between: list[Between] = field(default_factory=list)
    not_here: list[str] = field(default_factory=list)


def compare_code(runs: Sequence[StoredRun], root: Path = ROOT) -> Code:
    """What differs in the code of the runs; `root` is the checkout that is asked."""
    fields = differing([_fields(run) for run in runs])
    if "commit" not in fields:
        return Code(fields)
    commits = list(dict.fromkeys(c for run in runs if (c := _commit(run))))
    not_here = [c for c in commits if ask_git(root, "cat-file", "-e", f"{c}^{{commit}}") is None]
    here = [commit for commit in commits if commit not in not_here]
    between = [found for new in here[1:] if (found := _between(root, here[0], new))]
    return Code(fields, between, [commit[:_SHORT] for commit in not_here])


def _fields(run: StoredRun) -> dict[str, Any]:
    git = run.part("git")
    fields = {name: git.get(name) for name in ("branch", "dirty")}
    fields["untracked"] = ", ".join(map(str, git.get("untracked") or ())) or None
    commit = str(git.get("commit") or "")
    fields["commit"] = commit[:_SHORT] or None
    fields["uncommitted"] = _uncommitted(run, git)
    order = ("commit", "branch", "dirty", "uncommitted", "untracked")
    return {name: fields[name] for name in order if fields[name] is not None}


def _uncommitted(run: StoredRun, git: dict[str, Any]) -> Any:
    if not git.get("diff"):
        return "none"
    try:
        return hashlib.sha256((run.dir / "git.diff").read_bytes()).hexdigest()[:_SHORT]
    except OSError:
        return UNKNOWN


def _commit(run: StoredRun) -> str:
    commit = str(run.part("git").get("commit") or "")
    return commit if _COMMIT.fullmatch(commit) else ""


def _between(root: Path, old: str, new: str) -> Between | None:
    counts = ask_git(root, "rev-list", "--count", "--left-right", f"{old}...{new}")
    stat = ask_git(
        root, "diff", "--no-color", "--no-ext-diff", "--no-textconv",
        f"--stat=78,50,{_MOST_FILES}", old, new, "--",
    )  # fmt: skip
    if counts is None or stat is None:
        return None
    behind, ahead = map(int, counts.split())
    return Between(old[:_SHORT], new[:_SHORT], ahead, behind, stat.splitlines())
