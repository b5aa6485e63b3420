# SPDX-License-Identifier: MIT
"""The DVC remote of a repository: sending kept runs there, and asking what it has.

push(repository, ["baseline"])              # all versions of it that the cache has
states = remote_states(repository, names)   # {"baseline": "yes"}
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from ...errors import BadUse, Failure
from ...files import write_atomic
from ..redact import redact
from . import pointer as pointers
from .dvc import DvcFailed
from .kept import kept_names
from .pointer import SUFFIX
from .repository import PUSHED, Repository
from .tags import pointer_at, tags_of

# What `dvc status --cloud` says of a file, the worst first: what that means for its run.
_MEANING = {"missing": "lost", "new": "no"}


def push(repository: Repository, names: Sequence[str] = ()) -> None:
    """Send the runs; without names, everything that DVC tracks here, and the runs' versions.

    Raises BadUse without a remote, and Failure when the remote does not have all of it afterwards.
    """
    with _versions(repository, names or kept_names(repository.output_dir)) as versions:
        sent = [*names, *versions] if names else []
        ask(repository, "push", *_targets(repository, sent))
        states = remote_states(repository, sent)
    left = [versions.get(name, name) for name, state in states.items() if state != "yes"]
    if left:
        raise Failure(
            f"the remote does not have all files of {', '.join(left)}, and neither has DVC's cache "
            "(make kept): where the run is whole, make keep RUN=… copies them again"
        )


@contextmanager
def _versions(repository: Repository, names: Sequence[str]) -> Iterator[dict[str, str]]:
    """Former versions of the runs that the cache has, as .dvc files of other names; their tags.

    `dvc push --all-tags` would pass over each tag of a time without this remote, or without one of
    the targets.
    """
    hidden: dict[str, str] = {}
    try:
        for tag in tags_of(repository):
            if tag.run not in names:
                continue
            pointer = pointer_at(repository, tag.name, tag.run)
            if pointer and pointers.files_of(pointer, repository.cache) is not None:
                name = f"{PUSHED}{len(hidden) + 1}"
                path = repository.output_dir / f"{name}{SUFFIX}"
                hidden[name] = tag.name
                write_atomic(path, pointers.text_of(pointer, name))
        yield hidden
    finally:
        for name in hidden:
            (repository.output_dir / f"{name}{SUFFIX}").unlink(missing_ok=True)


def remote_states(repository: Repository, names: Sequence[str] = ()) -> dict[str, str]:
    """Whether the remote has the runs: "yes", "no", or "lost" when the cache has not all either.

    Without names, those that it lacks. Raises as `ask` does.
    """
    said = ask(repository, "status", "--cloud", "--json", *_targets(repository, names))
    found: Mapping[str, str] = json.loads(said or "{}")
    states = dict.fromkeys(names, "yes")
    folder = repository.relative(repository.output_dir) + "/"
    for verdict in reversed(_MEANING):
        for path, kind in found.items():
            if kind == verdict and path.startswith(folder):
                name = path.removeprefix(folder).split("/")[0]
                states[name] = _MEANING[verdict]
    # DVC has got the list of the files now, if there is one; without it, it says nothing.
    listless = [name for name in names if not _has_list(repository, name)]
    return states | dict.fromkeys(listless, "lost")


def _has_list(repository: Repository, name: str) -> bool:
    pointer = pointers.read(repository.output_dir / f"{name}{SUFFIX}")
    return pointers.files_of(pointer, repository.cache) is not None


def ask(repository: Repository, *arguments: str) -> str:
    """A dvc command that talks to the remote. Raises BadUse without one, Failure if it fails."""
    try:
        return repository.dvc(*arguments)
    except DvcFailed as error:
        if "no remote specified" in error.said:
            raise BadUse(
                "there is no DVC remote: dvc remote add -d NAME URL, where URL is a folder, "
                "ssh://host/path, s3://bucket/path or gs://bucket/path (docs/keeping.md)"
            ) from error
        remotes = redact(repository.dvc("remote", "list")).splitlines() or ["none"]
        raise Failure(f"{error} (remotes: {'; '.join(map(str.strip, remotes))})") from error


def _targets(repository: Repository, names: Sequence[str]) -> list[str]:
    return [repository.relative(repository.output_dir / f"{name}{SUFFIX}") for name in names]
