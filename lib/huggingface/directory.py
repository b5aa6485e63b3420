# SPDX-License-Identifier: MIT
"""A directory for Hugging Face's from_pretrained: written as a whole, and replaced by its own kind.

    size = write(run_dir / "hf", release, card="# My model …", about={"run": "my-run", "step": 800})

`export.json` in it says what it is of and lists the files with their SHA-256, so that a later
export replaces these and nothing else. Imports torch.
"""

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from .. import lock
from ..data.text.tokenizers import Tokenizer
from ..errors import BadUse, Failure
from ..files import is_abandoned, write_atomic
from ..runs.media_files import sha256
from ..train.checkpoint.folder import put_in_place
from .tokenizer import tokenizer_files

LIST = "export.json"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Release:
    """A language model for others; a model's `huggingface` in its export.py makes it.

    `weights` by the names of the class that `config` names, `longest` the context in tokens, `use`
    the lines of Python that show how to use it.
    """

    config: dict[str, Any]
    generation: dict[str, Any]
    weights: Mapping[str, Tensor]
    tokenizer: Tokenizer
    longest: int
    use: str


def write(path: Path, release: Release, card: str, about: Mapping[str, Any]) -> int:
    """Write the directory `path`, at once, and return its size in bytes.

    `about` goes into export.json. An earlier export is replaced. Raises BadUse for anything else
    that is there, and Failure, with nothing changed, when it cannot be written.
    """
    path = path.expanduser().resolve()  # replaces what a link points to, not the link
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(path.parent):
            _require_own(path)
        with _temporary(path) as (folder, held):
            _fill(folder, release, card)
            files = [file for file in sorted(folder.iterdir()) if file != held]
            listed = {file.name: sha256(file) for file in files}
            size = sum(file.stat().st_size for file in files)
            write_atomic(folder / LIST, json.dumps({**about, "files": listed}, indent=2) + "\n")
            with _one_at_a_time(path.parent):
                _require_own(path)  # writing took a while
                held.unlink(missing_ok=True)
                put_in_place(folder, path)
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}") from error
    except SafetensorError as error:
        raise Failure(f"cannot write {path}: {error}") from error
    return size


def _fill(folder: Path, release: Release, card: str) -> None:
    texts = {
        "config.json": json.dumps(release.config, indent=2) + "\n",
        "generation_config.json": json.dumps(release.generation, indent=2) + "\n",
        "README.md": card,
        **tokenizer_files(release.tokenizer, release.longest),
    }
    for name, text in texts.items():
        write_atomic(folder / name, text)
    weights = {name: tensor.contiguous() for name, tensor in release.weights.items()}
    save_file(weights, folder / WEIGHTS, {"format": "pt"})  # transformers refuses a file without it
    (folder / WEIGHTS).chmod((folder / "config.json").stat().st_mode)  # it was its owner's alone
    with (folder / WEIGHTS).open("rb") as file:
        os.fsync(file.fileno())


def _require_own(path: Path) -> None:
    """Raise BadUse unless `path` is free, empty, or an export that nobody has changed since."""
    if path.is_dir():
        foreign = _foreign(path)
        if not foreign:
            return
        shown = ", ".join(foreign[:5]) + (" …" if len(foreign) > 5 else "")
        what = f"has what an export did not write: {shown}"
    elif path.exists():
        what = "is a file"
    else:
        return
    raise BadUse(f"{path} {what}. Move it away, or choose another place: OUT=directory")


def _foreign(path: Path) -> list[str]:
    """The names in the directory `path` that are not those of an export, or were changed since."""
    names = sorted(entry.name for entry in path.iterdir())
    try:
        listed = json.loads((path / LIST).read_bytes())["files"]
        own = {name for name in names if listed.get(name) == sha256(path / name)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return names
    return [name for name in names if name not in own | {LIST}]


@contextmanager
def _one_at_a_time(parent: Path) -> Iterator[None]:
    """Of two exports into `parent`, one waits for the other to look, or to rename."""
    descriptor = os.open(parent, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _temporary(path: Path) -> Iterator[tuple[Path, Path]]:
    """A new directory beside `path`, and its lock file: another export leaves it alone.

    Those that killed exports left are removed, and so is this one if the block raises.
    """
    for left in path.parent.glob(f".{path.name}.*.export"):
        if is_abandoned(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = path.with_name(f".{path.name}.{secrets.token_hex(4)}.export")
    folder.mkdir()
    held = None
    try:
        held = lock.hold(folder / ".lock")
        yield folder, folder / ".lock"
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        lock.release(held)
