# SPDX-License-Identifier: MIT
"""A launch's configuration: resolved once, frozen in a file, the same for every process of it.

    os.environ.update(freeze(tree, ".config"))  # in the launcher, which then starts the training
    tree = Tree()
    thaw(tree)                                   # in every rank, also in one that starts again

However many launches run from one tree, and whatever happens to .config and config.py meanwhile,
each trains what its launcher resolved. The launcher, or the training program that it becomes,
removes its file at exit and keeps it locked until then. The next launch removes the files of those
that were killed.
"""

import atexit
import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from .. import lock
from ..errors import Failure
from . import store
from .dotconfig import ConfigError
from .tree import Tree

PATH = "LAUNCH_CONFIG"  # variables in the environment of each rank
DIGEST = "LAUNCH_CONFIG_SHA256"


def freeze(tree: Tree, source: str, folder: Path = store.LAUNCHES) -> dict[str, str]:
    """Write what `tree`, configured from the file `source`, holds; returns what to tell the ranks.

    The file stays, locked, until this process, or the program that it becomes, ends. Raises
    Failure when it cannot be written.
    """
    frozen = {"source": source, "values": tree.values(), "origins": tree.origins}
    data = json.dumps(frozen, sort_keys=True, indent=1).encode()
    digest = hashlib.sha256(data).hexdigest()
    with store.locked(folder):
        _sweep(folder)
        path = _write(folder.resolve(), data)
    return {PATH: str(path), DIGEST: digest}


def thaw(tree: Tree, environment: Mapping[str, str] = os.environ) -> str:
    """Give `tree` what this launch froze; returns the name of the file it was configured from.

    Raises ConfigError if the file is not what was frozen, or resolves differently now.
    """
    path, digest = Path(environment[PATH]), environment.get(DIGEST, "")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{PATH}={path}: {error.strerror}: {_AGAIN}"]) from None
    if hashlib.sha256(data).hexdigest() != digest:
        raise ConfigError([f"{path} is not what this launch froze ({DIGEST}={digest}): {_AGAIN}"])
    if path.name.startswith(f"{os.getpid()}-"):  # by exec, the launcher has become this process
        _remove_at_exit(path)
    frozen = json.loads(data)
    store.load_values(
        tree, frozen["values"], str(path), f"the Kconfig files have changed since: {_AGAIN}"
    )
    tree.origins = frozen["origins"]
    return frozen["source"]


_AGAIN = "start the training again with `make`"


def _write(folder: Path, data: bytes) -> Path:
    """A new file with `data` and this process's number in its name, locked and removed at exit."""
    try:
        fd, name = tempfile.mkstemp(".json", f"{os.getpid()}-", folder)
        os.close(fd)
        _remove_at_exit(path := Path(name))
        held = lock.hold(path)
        path.write_bytes(data)
    except OSError as error:
        raise Failure(f"cannot write a file in {folder}: {error.strerror}") from None
    if held is not None:
        os.set_inheritable(held, True)  # so that exec keeps the lock
    return path


def _remove_at_exit(path: Path) -> None:
    """Remove the file when this process ends; not when one that it forked ends."""
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            with contextlib.suppress(OSError):  # the next launch tries again
                path.unlink()

    atexit.register(remove)


def _sweep(folder: Path) -> None:
    """Remove the files of launches that were killed. Needs the lock of `folder`."""
    for path in folder.glob("*.json"):
        if lock.is_free(path):
            path.unlink(missing_ok=True)
