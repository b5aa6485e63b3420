# SPDX-License-Identifier: MIT
"""The annotated tags of kept runs: run/NAME, and run/NAME.v2, … when the run was kept again.

A tag says in its message which run it is of: a run may be called NAME.v2 as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...errors import BadUse, did_you_mean
from .git import answers
from .pointer import SUFFIX, Pointer, parse
from .repository import Repository

PREFIX = "run/"
_RUN = "Run: "


@dataclass(frozen=True)
class Tag:
    """`name` is run/…; `run` is the name of the run."""

    name: str
    run: str


def tags_of(repository: Repository, run: str = "") -> list[Tag]:
    """The tags of the run, or of all runs, in the order in which they were made."""
    found = repository.git(
        "for-each-ref", "--sort=creatordate", "--format=%(refname:short)%00%(contents)%01",
        f"refs/tags/{PREFIX}",
    )  # fmt: skip
    tags = list(_tags(found))
    return [tag for tag in tags if not run or tag.run == run]


def _tags(found: str) -> Iterator[Tag]:
    for entry in found.split("\x01"):
        name, _, contents = entry.strip("\n").partition("\x00")
        for line in reversed(contents.splitlines()):  # the user's words come first
            if line.startswith(_RUN):
                yield Tag(name, line.removeprefix(_RUN).strip())
                break


def new_tag(repository: Repository, run: str, commit: str, message: str) -> str:
    """Tag the commit with the next free name for the run; returns the name. Raises GitFailed."""
    name, version = f"{PREFIX}{run}", 1
    while answers("rev-parse", "-q", "--verify", f"refs/tags/{name}", at=repository.root):
        version += 1
        name = f"{PREFIX}{run}.v{version}"
    repository.git(
        "tag", "-a", "--cleanup=whitespace", "-m", f"{message}\n\n{_RUN}{run}", name, commit
    )
    return name


def pointer_at(repository: Repository, revision: str, run: str) -> Pointer | None:
    """What the .dvc file of the run said in a commit; None if there was none."""
    path = repository.output_dir / f"{run}{SUFFIX}"
    text = repository.at_revision(revision, path)
    return None if text is None else parse(text, f"{revision}:{repository.relative(path)}")


def run_of(repository: Repository, tag: str, run: str) -> str:
    """The run that TAG means: the one that its message names, else RUN. Raises BadUse."""
    names = repository.git("tag", "--list").splitlines()
    if tag not in names:
        raise BadUse(
            f"TAG={tag}: no such tag{did_you_mean(tag, names)}; `make kept` lists those of runs, "
            "git fetch --tags gets those of others"
        )
    named = [found.run for found in tags_of(repository) if found.name == tag]
    if named and run and run != named[0]:
        raise BadUse(f"TAG={tag} is of {named[0]}, not of RUN={run}")
    if not (named or run):
        kept = names_at(repository, tag)
        raise BadUse(f"TAG={tag} does not say which run is meant: add RUN=, one of {kept}")
    return named[0] if named else run


def names_at(repository: Repository, revision: str) -> str:
    """The runs that were kept in a commit, for a message."""
    folder = repository.relative(repository.output_dir)
    listed = repository.git("ls-tree", "--name-only", revision, f"{folder}/").splitlines()
    kept = [Path(name).name for name in listed if name.endswith(SUFFIX)]
    return ", ".join(name.removesuffix(SUFFIX) for name in kept) or "none: no run was kept then"
