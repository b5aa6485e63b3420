# SPDX-License-Identifier: MIT
"""Changing metadata.yaml of a run, in progress or not, so that no writer undoes what another wrote.

    fields = amend(run_dir, lambda fields: {**fields, "notes": […]})

The file is always replaced as a whole. Whoever replaces that of an existing run holds its
`.status.lock` from reading it to the rename: `amend`, the training (`save_but_words`), Run.resume,
and what marks a killed run interrupted. A training has the fields in memory, all but WORDS, which
others may have changed since: these it takes from the file each time it saves. A kill at any moment
leaves the old file or the new one.
"""

from collections.abc import Callable, Container, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from ..errors import Failure
from . import metadata, status

WORDS = ("tags", "tag_changes", "notes", "conclusion", "earlier_conclusions", "evaluations")


def amend(
    run_dir: str | Path, change: Callable[[dict[str, Any]], Mapping[str, Any]]
) -> dict[str, Any]:
    """Replace the fields of the run by `change(fields)`; returns them as they are stored, redacted.

    In a run in progress, only WORDS may be changed. `change` may raise to leave everything as it
    is. Raises UnreadableRun, and Failure when metadata.yaml cannot be written.
    """
    run_dir = Path(run_dir)
    try:
        with status.status_lock(run_dir):
            old = status.read(run_dir)
            new = change(dict(old))
            if new == old:
                return old
            metadata.save(run_dir / "metadata.yaml", new)
            return status.read(run_dir)
    except BlockingIOError as error:
        raise Failure(f"{run_dir} is being changed by another process. Try again") from error
    except OSError as error:
        raise Failure(f"{run_dir}: cannot be changed: {error.strerror}. Nothing was") from error


def save_but_words(
    run_dir: Path, fields: Mapping[str, Any], own: Container[str] = ()
) -> dict[str, Any]:
    """Write `fields` of a training in progress, with the WORDS that the file has; returns both.

    Of WORDS, those in `own` are the training's. It waits 5 s at most for another writer, which
    takes milliseconds unless it has been stopped. Raises OSError.
    """
    path = run_dir / "metadata.yaml"
    with ExitStack() as stack:
        with suppress(OSError):  # stopped, or the disk is full: the status matters more
            stack.enter_context(status.status_lock(run_dir))
        stored: dict[str, Any] = {}
        with suppress(OSError, ValueError):  # damaged: what is in memory is written again
            stored = metadata.load(path)
        words = [name for name in WORDS if name in stored and name not in own]
        both = {**fields, **{name: stored[name] for name in words}}
        metadata.save(path, both)
    return both
