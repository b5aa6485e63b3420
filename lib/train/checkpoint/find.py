# SPDX-License-Identifier: MIT
"""Finds the checkpoints in a folder, whatever a kill or a failing disk left there.

    path, state = load_newest(run_dir / "checkpoints", say=print)
    path, state = load_at(run_dir / "checkpoints", step=120)
    entries = listed(run_dir / "checkpoints")
    path = named(run_dir / "checkpoints", "best")

The files decide, not the index: a kill can come between a file and its entry.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from .. import checkpoint
from . import manifest
from .digest import CheckpointError, digest_in, verify
from .index import Entry, read_index

LAST, BEST = "last.pt", "best.pt"
_STEP = re.compile(r"step_(\d{8,})(\.pt)?")


def step_file(step: int) -> str:
    """The name of the checkpoint after `step` updates."""
    return f"step_{step:08d}.pt"


def step_folder(step: int) -> str:
    """The name of the same of a sharded training (sharded.py), which is a directory."""
    return f"step_{step:08d}"


def steps_on_disk(folder: str | Path) -> dict[int, Path]:
    """The file or directory of each step in `folder`, the oldest first; it may be damaged."""
    try:
        names = [e.name for e in os.scandir(folder) if e.is_dir() != e.name.endswith(".pt")]
    except FileNotFoundError:
        return {}
    found = {int(match[1]): name for name in names if (match := _STEP.fullmatch(name))}
    return {step: Path(folder) / found[step] for step in sorted(found)}


def load_newest(folder: str | Path, say: Callable[[str], None]) -> tuple[Path, dict[str, Any]]:
    """The newest checkpoint in `folder` that can be loaded: its path and its state.

    That of a sharded one lacks the tensors, which go into model and optimizer directly
    (sharded.load). Each newer one, which is damaged, is named by `say`. Raises CheckpointError when
    none is left.
    """
    found = False
    for path in newest_first(Path(folder)):
        found = True
        try:
            return path, load_state(path)
        except CheckpointError as error:
            say(f"warning: {error}; the one before is tried")
    what = "none of the checkpoints can be loaded" if found else "there is no checkpoint"
    config = Path(folder).parent / ".config"
    cure = f", with make KCONFIG_CONFIG={config}" if config.exists() else ""
    raise CheckpointError(
        f"{what} in {folder}: train the same again from the start, in a new run{cure}"
    )


def load_at(folder: str | Path, step: int) -> tuple[Path, dict[str, Any]]:
    """The checkpoint after `step` updates: its path and its state, as of `load_newest`.

    Raises CheckpointError, which names the steps that there are, and when it cannot be loaded.
    """
    files = steps_on_disk(folder)
    if step not in files:
        there = ", ".join(map(str, files)) or "none"
        raise CheckpointError(f"no checkpoint of step {step} in {folder}; of these steps: {there}")
    return files[step], load_state(files[step])


def load_state(path: Path) -> dict[str, Any]:
    """The contents of a checkpoint; of a sharded one, all but the tensors, after a check of them.

    Raises CheckpointError.
    """
    if not path.is_dir():
        return checkpoint.load(path)
    from .sharded import load_plain  # imports PyTorch

    try:
        manifest.verify(path)
    except OSError as error:
        raise CheckpointError(f"cannot read checkpoint {path}: {error.strerror}") from error
    return load_plain(path)


def named(folder: Path, name: str) -> Path:
    """The checkpoint "last" or "best", which may lack: a file, or the directory in the index."""
    path = folder / f"{name}.pt"
    if path.exists():
        return path
    found = [entry for entry in listed(folder) if name == "last" or entry.best]
    return folder / found[-1].file if found else path


def listed(folder: Path, every: int = 0) -> list[Entry]:
    """The entries of the index that have a file, and entries for the files that have none.

    The oldest first. A file without an entry, or with that of an older file, is read once, for its
    digest, and left out when it is damaged; it is a milestone if its step is a multiple of `every`.
    """
    try:
        known = {(entry.file, entry.sha256): entry for entry in read_index(folder)}
    except CheckpointError:
        known = {}
    found = [
        known.get((path.name, _digest_in(path))) or _entry_of(path, step, every)
        for step, path in steps_on_disk(folder).items()
    ]
    return _with_best(folder, [entry for entry in found if entry])


def same_file(one: Path, other: Path) -> bool:
    """Whether both names are those of one file; False when either is missing."""
    try:
        return one.samefile(other)
    except FileNotFoundError:
        return False


def _with_best(folder: Path, entries: list[Entry]) -> list[Entry]:
    """`entries`, of which that one is the best whose file best.pt is.

    Without such a file, the latest of those that became the best when they were written.
    """
    best = [entry for entry in entries if same_file(folder / entry.file, folder / BEST)]
    best = best or [entry for entry in entries if entry.best][-1:]
    return [replace(entry, best=entry in best) for entry in entries]


def _digest_in(path: Path) -> str:
    try:
        return manifest.digest_of(path) if path.is_dir() else digest_in(path)
    except OSError:
        return ""


def _entry_of(path: Path, step: int, every: int) -> Entry | None:
    try:
        digest = manifest.verify(path) if path.is_dir() else verify(path)
        written = manifest.read(path) if path.is_dir() else manifest.Manifest({})
        size = manifest.size(path) if path.is_dir() else path.stat().st_size
    except (CheckpointError, OSError):
        return None
    modified = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
    return Entry(
        file=path.name,
        step=step,
        metrics=written.metrics,
        size=size,
        sha256=digest,
        time=modified.isoformat(timespec="milliseconds"),
        best=written.best,
        milestone=bool(every) and step % every == 0,
    )


def newest_first(folder: Path) -> Iterator[Path]:
    """The files of the steps, then last.pt and best.pt, should they alone be left.

    Any of them may be damaged.
    """
    steps = [*reversed(steps_on_disk(folder).values())]
    yield from steps
    for path in (folder / LAST, folder / BEST):
        if path.exists() and not any(same_file(path, other) for other in steps):
            yield path
