# SPDX-License-Identifier: MIT
"""Prepared data sets on disk: one safetensors file each, checked against its own fingerprint.

    tensors = cached(data_dir / "digits.safetensors", lambda: {"images": …, "labels": …})

The folder may be deleted at any time: what is missing is prepared again.
"""

import hashlib
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .. import lock
from ..errors import Failure
from ..files import write_atomic

Tensors = dict[str, Tensor]
FINGERPRINT = "fingerprint"  # the key in the header of the file


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256, in hex, over names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def cached(path: Path, build: Callable[[], Tensors]) -> Tensors:
    """What `build` returns, read from the file `path` if an earlier call has left it there.

    With several callers at once, one builds while the others wait. A file that does not match its
    fingerprint is built again. If it cannot be written, a warning on standard error says so, and
    the next call has to build again; nothing else is lost.
    """
    if (tensors := _kept(path)) is None:
        with locked(path):
            if (tensors := _kept(path, quiet=True)) is None:
                tensors = build()
                keep(path, tensors)
    return tensors


def _kept(path: Path, quiet: bool = False) -> Tensors | None:
    try:
        return read(path) if path.exists() else None
    except Failure as error:
        if not quiet:
            print(f"warning: {error}; preparing it again", file=sys.stderr)
        return None


def locked(path: Path) -> AbstractContextManager:
    """One caller at a time prepares `path`, where a lock can be had."""
    file = path.parent / f".{path.name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    except OSError:
        return nullcontext()
    return lock.held(file, wait=float("inf"))


def keep(path: Path, tensors: Tensors) -> None:
    """Write `tensors` to the file `path`; a warning on standard error if that is not possible."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, save(tensors, {FINGERPRINT: fingerprint(tensors)}))
    except OSError as error:
        print(
            f"warning: cannot write {path}: {error.strerror}; the data set will be prepared again "
            "next time",
            file=sys.stderr,
        )


def read(path: Path) -> Tensors:
    """The tensors in a file written here. Raises Failure when it is missing or damaged."""
    try:
        with safe_open(path, "pt") as file:
            expected = (file.metadata() or {}).get(FINGERPRINT)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        missing = isinstance(error, FileNotFoundError)
        reason = "not there; `make data` prepares it" if missing else str(error)
        raise Failure(f"{path}: cannot be read: {reason}") from error
    if fingerprint(tensors) != expected:
        raise Failure(f"{path}: does not match its fingerprint")
    return tensors
