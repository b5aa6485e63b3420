# SPDX-License-Identifier: MIT
"""Writes checkpoints into a folder, in an order in which a kill at any moment does no harm.

    writer = Writer(run_dir / "checkpoints", keep=2, every=0, compress=False)
    writer.write(contents, step=120, metrics={"val/loss": 0.5}, best=True, nbytes=1_500_000_000)

The file of the step is complete before anything names it; last.pt and best.pt are then hard links
to it, replaced by a rename; older files go; index.json comes last.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ... import lock
from ...errors import Failure
from ...files import atomic, sweep
from ...runs import metadata
from . import manifest
from .digest import CheckpointError
from .file import save
from .find import (
    BEST,
    LAST,
    listed,
    same_file,
    step_file,
    step_folder,
    steps_on_disk,
)
from .folder import remove
from .index import Entry, write_index
from .retention import removable

_SPARE_BYTES = 2**20  # for the structure of the file, the index and the journal


class Untidy(Failure):
    """The checkpoint is safe; older ones could not be removed, or the index not be replaced."""


class Writer:
    """The checkpoints of one training.

    keep: how many of the latest stay. every: the multiples of this step stay, 0 for none.
    """

    def __init__(self, path: Path, *, keep: int, every: int, compress: bool) -> None:
        self.path = path
        self._keep, self._every, self._compress = keep, every, compress
        self._entries: list[Entry] | None = None  # None: the folder has not been looked at

    def write(
        self,
        contents: Mapping[str, Any],
        *,
        step: int,
        metrics: Mapping[str, float],
        best: bool,
        nbytes: int,
    ) -> None:
        """Write the checkpoint after `step` updates, with tensors of `nbytes` in all.

        Raises CheckpointError when it could not be written, or last.pt or best.pt not be replaced,
        and Untidy when it is safe, and only the tidying up after it failed.
        """
        path = self.path / step_file(step)
        try:
            best = self._prepare(path, step, best, nbytes)
            written = save(path, contents, compress=self._compress)
            self._add(path, step, metrics, written.size, written.sha256)
            _link(path, self.path / LAST)
            if best:
                _link(path, self.path / BEST)
                self._mark_best()
        except OSError as error:
            raise CheckpointError(f"cannot write {path}: {error.strerror}") from error
        self._tidy(step)

    def prepare_folder(self, *, step: int, best: bool, nbytes: int) -> tuple[Path, bool]:
        """Where the directory of `step` is to be written (sharded.py), and whether it is the best.

        Raises CheckpointError when there is no room for `nbytes`.
        """
        path = self.path / step_folder(step)
        try:
            return path, self._prepare(path, step, best, nbytes)
        except OSError as error:
            raise CheckpointError(f"cannot write {path}: {error.strerror}") from error

    def add_folder(self, *, step: int, metrics: Mapping[str, float], best: bool) -> None:
        """List the directory that was written, and remove what need not stay. Raises Untidy."""
        path = self.path / step_folder(step)
        try:
            self._add(path, step, metrics, manifest.size(path), manifest.digest_of(path))
        except OSError as error:
            raise Untidy(_but_safe(step, error, path)) from error
        if best:
            self._mark_best()
        self._tidy(step)

    def _prepare(self, path: Path, step: int, best: bool, nbytes: int) -> bool:
        """Whether the checkpoint to be written is the best, as that which it replaces may be."""
        known = self._known()
        self._require_space(path, known, nbytes)
        return best or any(entry.step == step and entry.best for entry in known)

    def _add(
        self, path: Path, step: int, metrics: Mapping[str, float], size: int, sha256: str
    ) -> None:
        entry = Entry(
            file=path.name,
            step=step,
            metrics=dict(metrics),
            size=size,
            sha256=sha256,
            time=metadata.now(),
            best=False,
            milestone=bool(self._every) and step % self._every == 0,
        )
        self._entries = [other for other in self._known() if other.step < step] + [entry]

    def _mark_best(self) -> None:
        """The latest is the best."""
        *others, latest = self._known()
        self._entries = [replace(e, best=False) for e in others] + [replace(latest, best=True)]

    def _known(self) -> list[Entry]:
        if self._entries is None:
            sweep(self.path)
            self._entries = listed(self.path, self._every)
        return self._entries

    def rewind(self, step: int, best_step: int) -> None:
        """Make `step`, which the training goes on from, the latest one.

        Later checkpoints are of steps that it makes anew, or damaged, and are removed. best.pt is
        that of `best_step`, where that is still there. Raises OSError or CheckpointError.
        """
        kept = [entry for entry in self._known() if entry.step <= step]
        self._entries = [replace(entry, best=entry.step == best_step) for entry in kept]
        later = [path for number, path in steps_on_disk(self.path).items() if number > step]
        for name, wanted in ((LAST, step), (BEST, best_step)):
            link, source = self.path / name, self.path / step_file(wanted)
            if source.exists():
                _link(source, link)
            elif any(same_file(link, path) for path in later):
                link.unlink()  # otherwise it may be the only one that is whole
        self._remove_others()

    def _require_space(self, path: Path, entries: list[Entry], nbytes: int) -> None:
        """Raise CheckpointError unless there is room next to what is there."""
        needed = nbytes + _SPARE_BYTES
        if self._compress and entries:
            needed = min(needed, entries[-1].size + _SPARE_BYTES)
        free = shutil.disk_usage(self.path).free
        if free < needed:
            raise CheckpointError(
                f"cannot write {path}: it needs {needed / 2**20:,.0f} MiB and "
                f"{free / 2**20:,.0f} MiB are free. Those that are there stay"
            )

    def _tidy(self, step: int) -> None:
        """Remove what need not stay, then list what does. Raises Untidy."""
        gone = removable(self._known(), self._keep)
        self._entries = [entry for entry in self._known() if entry not in gone]
        try:
            self._remove_others()
        except OSError as error:
            raise Untidy(_but_safe(step, error, self.path)) from error

    def _remove_others(self) -> None:
        """Remove what is not among the entries, and list those that are. Raises OSError."""
        named = {entry.file for entry in self._known()}
        for path in steps_on_disk(self.path).values():
            if path.name not in named:
                remove(path) if path.is_dir() else path.unlink(missing_ok=True)
        write_index(self.path, self._known())


def _but_safe(step: int, error: OSError, path: Path) -> str:
    return f"{error.filename or path}: {error.strerror}; the checkpoint of step {step} is safe"


def _link(source: Path, target: Path) -> None:
    """Make `target` another name of the file `source`; on file systems without links, a copy.

    At any moment `target` is what it was or the new file. Raises OSError.
    """
    if same_file(source, target):  # then a rename would do nothing
        return
    held = lock.hold(source)  # so that nobody sweeps the temporary name, which is the same file
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        try:
            temporary.hardlink_to(source)
        except OSError:
            with atomic(target) as file, source.open("rb") as whole:
                shutil.copyfileobj(whole, file)
        else:
            temporary.replace(target)
    finally:
        lock.release(held)
