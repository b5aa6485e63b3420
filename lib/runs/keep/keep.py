# SPDX-License-Identifier: MIT
"""Keeping a run: its files in DVC's cache, its .dvc file and its summary in a commit, and a tag.

    kept = keep(run_dir, "the baseline")
    kept.tag                            # run/NAME, or run/NAME.v2 if it has changed since

The commit has exactly the two files. What else is staged or changed stays as it is. The steps are
`dvc add`, the summary, the commit, the tag. When one fails, what the steps before have written is
taken back; the contents that DVC has copied stay in its cache until `make gc`. When the program is
killed, the next `keep` of the run goes on: contents that are in the cache are not copied again,
files that are not committed are written anew, and a commit without its tag is given it.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ... import lock, text
from ...errors import BadUse, Failure
from ...files import sweep, write_atomic
from ..directory import check_name, make_private
from ..redact import redact
from ..removal import InUse
from ..stored import StoredRun, load_run
from . import pointer as pointers
from . import summary as summaries
from .git import GitFailed
from .partial import missing
from .pointer import DamagedPointer, Pointer
from .repository import Repository
from .tags import PREFIX, new_tag, pointer_at, tags_of

# A folder of such a name would be taken for a file beside a run, or git cannot name a tag after it.
_TAKEN_ENDINGS = (pointers.SUFFIX, summaries.SUFFIX, ".lock", ".")


@dataclass(frozen=True)
class Kept:
    """`is_new` is False when the run was kept before, and nothing has changed since."""

    run: StoredRun
    tag: str
    pointer: Pointer
    is_new: bool


def keep(run_dir: Path, message: str = "") -> Kept:
    """Keep the run, which must not be in progress.

    Raises BadUse and Failure: see the messages of `Repository` and the commands git and dvc.
    """
    run_dir = run_dir.parent.resolve() / run_dir.name
    repository = Repository.of(run_dir.parent)
    _check(run_dir)
    with repository.exclusive(), held(run_dir):
        repository.require_visible(pointers.path_of(run_dir), run_dir)
        repository.require_commits()
        run = load_held(run_dir)
        return _keep(repository, run, " ".join(redact(message).split()))


def _check(run_dir: Path) -> None:
    """Raise BadUse for a folder that cannot be kept under its name."""
    check_name(run_dir.name)
    if run_dir.name.endswith(_TAKEN_ENDINGS):
        raise BadUse(f"a run called {run_dir.name} cannot be kept: rename its folder first (mv)")
    if run_dir.is_symlink():
        raise BadUse(f"{run_dir} is a link: keep the run where it is, RUN={run_dir.resolve()}")
    if said := missing(run_dir):
        raise BadUse(said)
    load_run(run_dir)  # marks it interrupted if it was killed; UnreadableRun


@contextmanager
def held(run_dir: Path) -> Iterator[None]:
    """Let no training go on with the run within the block. Raises InUse when one is running."""
    try:
        fd = lock.hold(run_dir / ".lock", mode=0o600)
    except BlockingIOError:
        raise InUse(
            f"{run_dir.name} is running: wait for its end, or stop it (make show "
            f"RUN={run_dir.name})"
        ) from None
    try:
        yield
    finally:
        lock.release(fd)


def load_held(run_dir: Path) -> StoredRun:
    """The run, whose lock is held. Raises InUse if a training began and was killed just now."""
    run = load_run(run_dir)
    if run.status == "running":
        raise InUse(f"{run_dir.name} has changed meanwhile: try again")
    return run


def _keep(repository: Repository, run: StoredRun, message: str) -> Kept:
    pointer, summary = pointers.path_of(run.dir), summaries.path_of(run.dir)
    files = [pointer, summary]
    for folder in (repository.output_dir, run.dir):
        sweep(folder)
    before = {path: _content(repository, path) for path in files}
    try:
        now = _add(repository, run.dir)
        if _is_committed(repository, run.name, now, summary):
            _restore(before)
            repository.unstage(files)  # a kill may have left them staged
            return Kept(run, *_tagged(repository, run.name, now))
        subject = message or f"{run.name} is kept"
        summaries.write(summary, summaries.summary_of(run, message))
        repository.commit(files, _commit_message(run, subject))
    except BaseException:
        _restore(before)
        raise
    return Kept(run, _tag(repository, run.name, subject), now, is_new=True)


def _content(repository: Repository, path: Path) -> bytes | None:
    """What the file is to be again if keeping fails; of one that a kill cut off, what HEAD has."""
    try:
        if path.name.endswith(pointers.SUFFIX):
            pointers.read(path)
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except DamagedPointer:
        committed = repository.at_revision("HEAD", path)
        path.unlink()
        return None if committed is None else f"{committed}\n".encode()


def _restore(before: dict[Path, bytes | None]) -> None:
    for path, content in before.items():
        if content is None:
            path.unlink(missing_ok=True)
        elif not path.exists() or path.read_bytes() != content:
            write_atomic(path, content)


def _add(repository: Repository, run_dir: Path) -> Pointer:
    """Copy what is not in the cache yet; the run itself keeps its hard links and its modes."""
    if repository.cache == repository.own_cache:
        make_private(repository.own_cache)  # the runs in it are private
    repository.dvc("add", "--no-relink", repository.relative(run_dir))
    pointer = pointers.read(pointers.path_of(run_dir))
    # On a full disk `dvc add` copies what it can, and ends as if all were well.
    if lost := not_cached(repository, run_dir, pointer):
        free = text.size(shutil.disk_usage(repository.cache).free)
        raise Failure(
            f"DVC could not copy {lost[0]} and {len(lost) - 1} more files of {run_dir.name} into "
            f"{repository.cache}, where {free} are free. `make gc` may free some; dvc cache dir "
            "moves it to another disk"
        )
    return pointer


def not_cached(repository: Repository, run_dir: Path, pointer: Pointer) -> list[str]:
    """The files of the run as it is here of which DVC's cache has no copy, or half of one."""
    files = pointers.files_of(pointer, repository.cache)
    if files is None:
        return ["the list of its files"]
    copies = {name: pointers.cached(repository.cache, md5) for name, md5 in files.items()}
    return [name for name, copy in copies.items() if _size(copy) != _size(run_dir / name)]


def _size(path: Path) -> int:
    """Bytes; -1 of a file that is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _is_committed(repository: Repository, name: str, now: Pointer, summary: Path) -> bool:
    try:
        was = pointer_at(repository, "HEAD", name)
    except DamagedPointer:
        return False
    has_summary = repository.at_revision("HEAD", summary) is not None
    return was is not None and was.md5 == now.md5 and has_summary


def _commit_message(run: StoredRun, subject: str) -> str:
    metrics = run.part("final_metrics").items()
    lines = [f"{text.metric_label(name)}: {text.metric(name, value)}" for name, value in metrics]
    body = [f"status: {run.status}", *lines, f"science_hash: {run.metadata.get('science_hash')}"]
    return "\n".join([f"keep {run.name}: {subject}", "", *map(text.one_line, body)])


def _tagged(repository: Repository, name: str, now: Pointer) -> tuple[str, Pointer, bool]:
    """The tag of what is committed; made now if the program was killed before it could be."""
    for tag in tags_of(repository, name):
        at_tag = pointer_at(repository, tag.name, name)
        if at_tag is not None and at_tag.md5 == now.md5:
            return tag.name, now, False
    return _tag(repository, name, f"{name} is kept"), now, True


def _tag(repository: Repository, name: str, subject: str) -> str:
    path = repository.relative(repository.output_dir / f"{name}{pointers.SUFFIX}")
    commit = repository.git("log", "-1", "--format=%H", "--", path)
    try:
        return new_tag(repository, name, commit, subject)
    except GitFailed as error:
        raise Failure(
            f"{name} is kept in commit {commit[:12]}, but has no tag {PREFIX}{name} yet: "
            f"{error.said}. Mend that, and make keep RUN={name} again"
        ) from error
