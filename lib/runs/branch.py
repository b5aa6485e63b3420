# SPDX-License-Identifier: MIT
"""A new run that begins where another one was after some of its steps.

    directory = branch(load_run(directory_of_x), "x_step120", step=120, offset=5321, fill=…)

The new directory has the configuration of the other run, the rows of its journal until then with
what they refer to, and an identity of its own. Run.resume goes on with it as with any other run.
"""

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from .. import lock
from ..errors import Failure
from ..files import atomic, is_abandoned, link_or_copy
from . import metadata, words
from .best import with_best
from .directory import check_name, check_space, make_directory, make_private
from .journal import Journal, current_rows
from .media_files import NoMediaFile, media_file
from .resumes import current_parts
from .run import FOLDERS, RunError
from .stored import StoredRun

_UNFINISHED = ".branch-"  # hidden until it is whole
_OWN = {"metadata.yaml", ".lock", ".status.lock", ".reserve"}
_OF_THE_END = ("error", "lost_rows", "results", "final_metrics", "best")
_BLANK_LINE = 2**16  # bytes


def branch(
    run: StoredRun,
    name: str,
    *,
    step: int,
    offset: int,
    duration_s: float,
    fill: Callable[[Path], None],
) -> Path:
    """Make a run beside `run` that is what that was after `step` updates; returns its directory.

    Its name is `name`, or `name`_2, _3 … when taken. `offset` is the length of the journal then and
    `duration_s` the time that the training had taken. `fill` is called with the new, empty folder
    for checkpoints. Raises BadUse for a bad name, Failure when the journal is not that of the
    checkpoint, and RunError when the directory cannot be made.
    """
    check_name(name)
    _check_offset(run.journal, offset)
    output_dir = run.dir.parent
    try:
        check_space(output_dir)
        _sweep(output_dir)
        directory = make_directory(output_dir, name)
    except OSError as error:
        raise RunError(f"cannot make a run in {output_dir}: {error.strerror}") from error
    hidden, held = output_dir / f"{_UNFINISHED}{directory.name}", None
    try:
        hidden.mkdir(0o700)
        held = lock.hold(hidden / ".lock", mode=0o600)
        fields = _metadata(run, directory.name, step, duration_s)
        _copy(run, hidden, offset, fields)
        fill(hidden / "checkpoints")
        resumes = [row for row, _ in current_rows(hidden / "logs" / "metrics.jsonl")]
        fields["resumes"] = _resumes_until(run, resumes)
        fields = with_best(hidden / "logs" / "metrics.jsonl", fields)
        metadata.save(hidden / "metadata.yaml", fields)
        hidden.rename(directory)  # which is empty
    except BaseException as error:
        shutil.rmtree(hidden, ignore_errors=True)
        with suppress(OSError):
            directory.rmdir()
        if not isinstance(error, OSError):
            raise
        raise RunError(f"cannot make {directory}: {error.strerror}. Free some space") from error
    finally:
        lock.release(held)
    return directory


def _check_offset(journal: Path, offset: int) -> None:
    """Raise Failure unless a row of the journal ends at `offset`."""
    try:
        with journal.open("rb") as file:
            file.seek(max(0, offset - 1))
            if file.read(1) == b"\n" or offset == 0:
                return
    except OSError as error:
        raise Failure(f"{journal}: {error.strerror}") from error
    raise Failure(
        f"{journal} is not what it was when the checkpoint was saved: no row ends at byte {offset}"
    )


def _copy(run: StoredRun, directory: Path, offset: int, fields: Mapping[str, Any]) -> None:
    """The configuration, the journal and the media of `run`. Raises OSError."""
    for folder in FOLDERS:
        make_private(directory / folder)
    for path in run.dir.iterdir():
        if path.is_file() and path.name not in _OWN and not path.name.endswith(".tmp"):
            shutil.copy(path, directory / path.name)
            (directory / path.name).chmod(0o600)
    journal = directory / "logs" / "metrics.jsonl"
    with run.journal.open("rb") as old, atomic(journal) as new:
        _copy_rows(old, new, current_parts(run.journal, offset), offset)
    for row, _ in current_rows(journal, containing=b'"path"', on_damage=lambda _: None):
        for item in row.get("media", {}).values():
            _link_medium(run.dir, directory, item.get("path"))
    own = Journal(journal)
    names = {"run_name": fields["run_name"], "run_id": fields["run_id"]}
    own.event("branch", **names, parent=fields["parent"])
    own.close()


def _copy_rows(old: BinaryIO, new: BinaryIO, parts: list[tuple[int, int]], size: int) -> None:
    """Copy the parts that count, byte for byte; what was superseded becomes blank.

    Thus each row stays in its place, which checkpoints and resume events refer to.
    """
    at = 0
    for start, end in [*parts, (size, size)]:
        while at < start:
            length = min(_BLANK_LINE, start - at)
            new.write(b" " * (length - 1) + b"\n")
            at += length
        old.seek(start)
        while at < end:
            at += new.write(old.read(min(2**20, end - at)))


def _link_medium(source: Path, target: Path, path: Any) -> None:
    """A file that a row names; one that is gone, or outside the run, is left out."""
    if path is None:
        return
    with suppress(NoMediaFile):
        file = media_file(source, path)
        make_private((target / path).parent)
        if not (target / path).exists():
            link_or_copy(file, target / path)


def _metadata(run: StoredRun, name: str, step: int, duration_s: float) -> dict[str, Any]:
    said = words.without(run.metadata)
    kept = {key: value for key, value in said.items() if key not in _OF_THE_END}
    now = metadata.now()
    parent = {"run": run.name, "run_id": run.metadata.get("run_id"), "step": step}
    return {
        **kept,
        "run_name": name,
        "run_id": metadata.new_id(),
        "status": "interrupted",
        "start_time": now,
        "end_time": now,
        "duration_s": round(duration_s, 3),
        "command": metadata.command(),
        "launch": "",
        "results": {},
        "parent": parent,
    }


def _resumes_until(run: StoredRun, rows: list[dict[str, Any]]) -> list[Any]:
    """The attempts to go on that `rows` know of."""
    sessions = [row.get("session") for row in rows if row.get("event") == "resume"]
    known = run.metadata.get("resumes")
    last = max((n for n in sessions if type(n) is int), default=0)
    return known[:last] if isinstance(known, list) else []


def _sweep(output_dir: Path) -> None:
    """Remove what killed branchings left in `output_dir`, and the empty directory of that name."""
    for left in filter(is_abandoned, output_dir.glob(f"{_UNFINISHED}*")):
        shutil.rmtree(left, ignore_errors=True)
        with suppress(OSError):
            (output_dir / left.name.removeprefix(_UNFINISHED)).rmdir()
