# SPDX-License-Identifier: MIT
"""The code of a run in a git work tree of its own; the user's tree is never touched.

    with work_place(output_dir, name) as place:
        check_out(place.tree, commit, diff)
        …                                # train in place.tree, into place.runs

A place is a folder in OUTPUT_DIR/.replay. It is removed when the block ends, and its work tree is
taken off git's list. Whoever is killed leaves it, locked for as long as the training lives; the
next replay removes what nobody holds.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from ... import lock
from ...errors import BadUse, Failure
from ...files import ROOT, is_abandoned
from ..keep.git import GitFailed, answers, git

FOLDER = ".replay"
_QUIET = ("-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false")


class Place(NamedTuple):
    """`tree` is for the code, `runs` for the run; a process that inherits `lock` keeps both."""

    tree: Path
    runs: Path
    lock: int | None


@contextmanager
def work_place(output_dir: Path, name: str) -> Iterator[Place]:
    """A new place within the block. Raises Failure when it cannot be made."""
    try:
        above = output_dir.resolve() / FOLDER
        above.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(above)
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=above))
    except OSError as error:
        raise Failure(f"cannot write to {output_dir}: {error.strerror}") from error
    held = lock.hold(folder / ".lock", mode=0o600)
    try:
        yield Place(folder / "tree", folder / "runs", held)
    finally:
        _remove(folder)
        lock.release(held)
        with suppress(OSError):
            above.rmdir()  # unless another replay is in it


def require_commit(commit: str) -> None:
    """Raise BadUse unless this repository has the commit; says what to type."""
    if not answers("rev-parse", "--git-dir"):
        raise BadUse(f"{ROOT} is not a git checkout: clone the repository to replay runs")
    if not answers("cat-file", "-e", f"{commit}^{{commit}}"):
        raise BadUse(
            f"commit {commit} is not in this repository. Get it: git fetch --all, or from "
            f"whoever has it: git fetch <repository> {commit}"
        )


def check_out(tree: Path, commit: str, diff: str) -> None:
    """Make `tree` a work tree of this repository at `commit`, changed as `diff` says.

    Hooks are not run. Raises GitFailed, and BadUse when the diff does not fit.
    """
    git(*_QUIET, "worktree", "add", "--quiet", "--detach", str(tree), commit)
    if not diff:
        return
    patch = tree.with_name("git.diff")
    patch.write_text(diff, encoding="utf-8")
    problems = []
    for strip in ("-p1", "-p0"):  # diff.noprefix leaves nothing to strip
        try:
            git(*_QUIET, "apply", "--whitespace=nowarn", strip, str(patch), at=tree)
            return
        except GitFailed as error:
            problems.append(error.said)
    raise BadUse(f"git.diff of the run cannot be applied to its commit: {problems[0]}")


def _remove(folder: Path) -> None:
    """Remove a place, and its work tree from git's list."""
    tree = folder / "tree"
    with suppress(GitFailed):
        git("worktree", "remove", "--force", "--force", str(tree))
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(GitFailed):
        if f"worktree {tree}" in git("worktree", "list", "--porcelain").split("\n"):
            git("worktree", "prune")


def _sweep(above: Path) -> None:
    """Remove the places of those that were killed, with their trainings."""
    for folder in filter(is_abandoned, list(above.iterdir())):
        _remove(folder)
