# SPDX-License-Identifier: MIT
"""The git repository with DVC in it that a folder of runs belongs to.

repository = Repository.of(output_dir)
with repository.exclusive():                # one program that keeps or pulls at a time
    repository.require_commits()
    repository.commit([pointer, summary], message)
"""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ... import lock
from ...errors import BadUse, Failure
from .dvc import dvc
from .git import GitFailed, answers, git

PULLED, PUSHED = ".pull-", ".push-"  # hidden names in the output directory, for a while
_WAIT_S = 600.0  # for another program, which may be copying a large run
_UNDER_WAY = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply")
_CONFIGS = ("~/.config/dvc/config", "/etc/xdg/dvc/config")


@dataclass(frozen=True)
class Repository:
    """`root` is the top of the work tree; `output_dir` is below it; both are absolute."""

    root: Path
    output_dir: Path

    @staticmethod
    def of(output_dir: str | Path) -> "Repository":
        """The repository that `output_dir` is in. Raises BadUse without one, or without DVC."""
        folder = Path(output_dir).resolve()
        if not folder.is_dir():
            raise BadUse(f"there is no folder {output_dir}: no run has been trained there")
        try:
            root = Path(git("rev-parse", "--show-toplevel", at=folder))
        except GitFailed as error:
            raise BadUse(
                f"{output_dir} is in no git repository, which keeping needs ({error.said or error})"
                ". Move the run into outputs/training of a checkout: mv …, or make unpack"
            ) from error
        if not (root / ".dvc" / "config").is_file():
            raise BadUse(
                f"there is no DVC repository in {root}: dvc init, then git commit -m 'DVC' "
                ".dvc .dvcignore"
            )
        return Repository(root, folder)

    def git(self, *arguments: str) -> str:
        return git(*arguments, at=self.root)

    def dvc(self, *arguments: str) -> str:
        return dvc(*arguments, at=self.root)

    def relative(self, path: Path) -> str:
        """`path` as git names it, from the root, with slashes."""
        return path.relative_to(self.root).as_posix()

    @cached_property
    def cache(self) -> Path:
        """Where DVC keeps contents, of this repository alone or of several."""
        configs = [self.root / ".dvc" / name for name in ("config", "config.local")]
        configs += [Path(name).expanduser() for name in _CONFIGS]
        if any("cache" in _text(path) for path in configs):
            return Path(self.dvc("cache", "dir"))
        return self.own_cache

    @property
    def own_cache(self) -> Path:
        """The cache of a repository that does not say where it is."""
        return self.root / ".dvc" / "cache"

    @cached_property
    def _private(self) -> Path:
        """The folder that git has for this work tree."""
        return Path(self.git("rev-parse", "--absolute-git-dir"))

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other programs of this kind out of the work tree within the block.

        What one of them left behind when it was killed is removed. Raises Failure when one is at
        work for ten minutes.
        """
        try:
            held = lock.hold(self._private / "keep.lock", wait=_WAIT_S)
        except BlockingIOError:
            raise Failure(
                f"another `make keep`, `pull` or `gc` has been at work in {self.root} for "
                f"{_WAIT_S / 60:.0f} minutes; try again when it is done"
            ) from None
        try:
            for left in self.output_dir.glob(".pu[ls][lh]-*"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            yield
        finally:
            lock.release(held)

    def require_commits(self) -> None:
        """Raise BadUse when a commit cannot be made, or would be made in a wrong place."""
        for name in _UNDER_WAY:
            if (self._private / name).exists():
                raise BadUse(
                    "a merge, rebase or cherry-pick is under way, which a commit would disturb: "
                    "finish it first (git status says how)"
                )
        if not answers("symbolic-ref", "-q", "HEAD", at=self.root):
            raise BadUse(
                "HEAD is detached, and the commit would be on no branch: git switch BRANCH, or "
                "git switch -c NEW"
            )
        if not answers("var", "GIT_COMMITTER_IDENT", at=self.root):
            raise BadUse(
                "git does not know who you are: git config user.name 'Your Name', and "
                "git config user.email you@example.com"
            )

    def require_visible(self, pointer: Path, run_dir: Path) -> None:
        """Raise BadUse unless .gitignore hides the run, and lets its .dvc file through."""
        hidden = answers("check-ignore", "-q", f"{self.relative(run_dir)}/", at=self.root)
        if hidden and not answers("check-ignore", "-q", self.relative(pointer), at=self.root):
            return
        lines = "\n".join(f"    {line}" for line in self._wanted_lines())
        raise BadUse(
            f".gitignore must hide the runs in {self.relative(self.output_dir)} and let their "
            f".dvc files through. Append to {self.root}/.gitignore:\n{lines}"
        )

    def _wanted_lines(self) -> Iterator[str]:
        """For .gitignore; ?* and not *, which for DVC matches the folder itself, too."""
        folder = self.relative(self.output_dir)
        for parent in reversed(self.output_dir.relative_to(self.root).parents[:-1]):
            if answers("check-ignore", "-q", f"{parent}/", at=self.root):
                yield f"!/{parent}/"
                yield f"/{parent}/?*"
        yield f"!/{folder}/"
        yield f"/{folder}/?*"
        for name in ("*.dvc", "*.summary.yaml", "discarded.jsonl"):
            yield f"!/{folder}/{name}"

    def at_revision(self, revision: str, path: Path) -> str | None:
        """The text of the file in a commit; None if it is not in it, or there is no commit."""
        name = f"{revision}:{self.relative(path)}"
        if not answers("cat-file", "-e", name, at=self.root):
            return None
        return self.git("cat-file", "blob", name)

    def commit(self, paths: Sequence[Path], message: str) -> None:
        """Commit these files and nothing else; hooks run. Raises GitFailed, with nothing changed.

        What else is staged or changed is neither committed nor touched. Git holds the lock of its
        index meanwhile, so that a commit of the user at the same time is refused or comes later.
        """
        names = [self.relative(path) for path in paths]
        try:
            self.git("add", "--", *names)
            self.git("commit", "-q", "--only", "-m", message, "--", *names)
        except BaseException:
            with contextlib.suppress(GitFailed):
                self.unstage(paths)
            raise

    def unstage(self, paths: Sequence[Path]) -> None:
        """Make git's index have these files as HEAD has them. Raises GitFailed."""
        names = [self.relative(path) for path in paths]
        if answers("rev-parse", "-q", "--verify", "HEAD", at=self.root):
            self.git("reset", "-q", "--", *names)
        else:
            self.git("rm", "-q", "--cached", "--ignore-unmatch", "--", *names)


def _text(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""
