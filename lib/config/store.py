# SPDX-License-Identifier: MIT
"""The files of a configured tree: .config, config.py, and where each value came from.

`.config` (or $KCONFIG_CONFIG) is what a user edits and what runs. Next to it is `.config.origins`:
JSON with `[value, origin]` for each value that is not its default. An origin counts only as long as
the value is the same; what was changed by hand has the origin `.config (edited)`.

Code that writes these files, or reads several of them as one, does so within `locked()`.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .. import lock
from ..errors import BadUse, Failure
from ..files import ROOT, write_atomic
from . import config_yaml, configpy, dotconfig
from .assign import apply
from .dotconfig import ConfigError
from .tree import Tree, Value, text_of

CONFIG_PY = ROOT / "config.py"
LAUNCHES = ROOT / ".launches"  # what running trainings were launched with, and the tree's lock
_PATIENCE_S = 30.0  # nobody holds the lock for longer than it takes to resolve a configuration


def config_path() -> Path:
    """The .config file of this tree: $KCONFIG_CONFIG, or .config in the current directory.

    Raises BadUse when its name is that of a YAML file, which would be read as one.
    """
    path = Path(os.environ.get("KCONFIG_CONFIG") or ".config")
    if path.suffix in config_yaml.SUFFIXES:
        shown = path if path.is_absolute() else f"./{path}"
        raise BadUse(
            f"KCONFIG_CONFIG={path}: make writes this file in the form of .config, not in YAML; "
            f"make defconfig DEFCONFIG={shown} reads a YAML file"
        )
    return path


@contextmanager
def locked(folder: Path = LAUNCHES) -> Iterator[None]:
    """Keep others of this tree from writing the configuration within the block.

    Raises Failure when the lock cannot be made, or another program keeps it for half a minute.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(lock.held(folder / "lock", wait=_PATIENCE_S))
        except OSError as error:
            raise Failure(
                f"cannot lock {folder / 'lock'}: {error.strerror}: make keeps the configuration in "
                "this directory, so it must be writable; a copy of it elsewhere will do"
            ) from None
        yield


def load(tree: Tree, path: Path, tolerant: bool = False) -> list[str]:
    """Load the .config file at `path` into `tree`; returns notes on what was dropped.

    Raises ConfigError for what did not take. With `tolerant`, symbols that are gone or whose
    dependencies are no longer met are dropped instead.
    """
    assignments, problems = dotconfig.read(path)
    try:
        notes = apply(tree, [assignments], tolerant=tolerant)
    except ConfigError as error:
        problems += error.problems
        is_config = path.suffix not in config_yaml.SUFFIXES
        if not tolerant and is_config and any("no such symbol" in p for p in problems):
            other = "" if path == config_path() else f" KCONFIG_CONFIG={path}"
            problems.append(f"`make olddefconfig{other}` drops symbols that are gone")
    if problems:
        raise ConfigError(problems)
    tree.follow_defaults()
    recall_origins(tree, path, str(path))
    return notes


def load_values(tree: Tree, values: Mapping[str, Value], origin: str, cure: str) -> None:
    """Give `tree` the `values` of all symbols, which the file `origin` has.

    Raises ConfigError, ending in `cure`, where the Kconfig files resolve them differently.
    """
    for symbol in tree.settable:
        if (value := values.get(symbol.name)) is not None:
            symbol.set_value(text_of(value))
    resolved = tree.values()
    problems = [
        f"{origin}: {name}={text_of(values.get(name))} resolves to {text_of(resolved.get(name))!r}"
        for name in sorted(values.keys() | resolved.keys())
        if values.get(name, "absent") != resolved.get(name, "absent")
    ]
    if problems:
        raise ConfigError([*problems, cure])
    for symbol in tree.settable:  # what is hidden was not decided, and follows its default
        if not symbol.visibility:
            symbol.unset_value()
    tree.follow_defaults()


def recall_origins(tree: Tree, path: Path, label: str) -> None:
    """Give the values loaded from `path`, called `label`, the origins noted when they were stored.

    What was changed since is `label (edited)`; where nothing was noted, `label` is the origin.
    """
    try:
        noted = json.loads(_origins_path(path).read_bytes())
        unknown = f"{label} (edited)"
    except (OSError, ValueError):  # absent or damaged: the values themselves are what matters
        noted, unknown = {}, label
    tree.origins = {
        entry.name: noted[entry.name][1]
        if noted.get(entry.name, [None])[0] == entry.text
        else unknown
        for entry in tree.entries()
        if entry.text != entry.default
    }


def store(tree: Tree, path: Path, config_py: Path = CONFIG_PY) -> None:
    """Write .config, its origins and config.py; the previous .config becomes .config.old.

    config.py comes last and is always written: to make, its time is that of all of them.
    Raises Failure when a file cannot be written.
    """
    source = str(path)
    path = path.resolve()
    try:
        write_atomic(_origins_path(path), _origins_text(tree))
        write_config(path, tree.config_text())
        write_atomic(config_py, configpy.render(tree.values(), source))
    except OSError as error:
        raise Failure(f"cannot write the configuration to {path}: {error.strerror}") from None


def write_config(path: Path, text: str) -> None:
    """Write a .config file unless it holds `text` already; what it held before goes to .old.

    Raises OSError with the file unchanged.
    """
    path = path.resolve()  # through a symbolic link, not in its place
    if path.exists():
        if path.read_bytes() == text.encode():
            return
        shutil.copyfile(path, path.with_name(f"{path.name}.old"))
    write_atomic(path, text)


def _origins_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.origins")


def _origins_text(tree: Tree) -> str:
    origins = {
        entry.name: [entry.text, tree.origins[entry.name]]
        for entry in tree.entries()
        if entry.text != entry.default and entry.name in tree.origins
    }
    return json.dumps(origins, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
