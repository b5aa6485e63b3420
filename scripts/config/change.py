# SPDX-License-Identifier: MIT
"""Change the configuration: python -m scripts.config.change COMMAND

    defconfig      from defconfigs/$DEFCONFIG (default lenet5-digits)
    alldefconfig   all defaults
    olddefconfig   the present .config; new symbols get their defaults, obsolete ones are dropped
    oldconfig      the same, but asks for each new symbol
    setconfig      the present .config with changes
    menuconfig     edit the present .config in the terminal
    guiconfig      edit the present .config in a window
    syncconfig     the present .config, checked strictly (what `make config.py` does)
    savedefconfig  write the minimal form of the present .config to ./defconfig

All but the last two then merge the files in $FRAGMENTS and apply $SET and $TRACKER. All but the
last write .config ($KCONFIG_CONFIG) and config.py. Nothing is written if any assignment did not
take; exit code 2. The make targets of the same names are the usual way to call this.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os
import sys
from pathlib import Path

from lib.config import dotconfig, store
from lib.config.assign import apply
from lib.config.defconfigs import find_defconfig
from lib.config.dotconfig import Assignment, ConfigError, shorten
from lib.config.symbols import unmet
from lib.config.trackers import tracker_assignments
from lib.config.tree import Tree
from lib.errors import BadUse, Failure
from lib.files import write_atomic

DEFAULT = "lenet5-digits"
DEFCONFIGS = Path("defconfigs")


def defconfig(tree: Tree) -> None:
    path = find_defconfig(os.environ.get("DEFCONFIG") or DEFAULT, DEFCONFIGS)
    layers = overrides()
    print_notes(apply(tree, [_read([path]), *layers]))
    _store(tree)
    print(f"{path} → {store.config_path()}, config.py")
    given = {assignment.origin for layer in layers for assignment in layer}
    for entry in tree.entries():
        if tree.origins.get(entry.name) in given:
            print(f"  {entry.name}={shorten(entry.text)} ({tree.origins[entry.name]})")


def alldefconfig(tree: Tree) -> None:
    print_notes(apply(tree, overrides()))
    _store(tree)
    print(f"all defaults → {store.config_path()}, config.py")


def olddefconfig(tree: Tree) -> None:
    with store.locked():
        load_present(tree, tolerant=True)
        override_and_store(tree, overrides())


def setconfig(tree: Tree) -> None:
    layers = overrides()
    if not layers:
        raise BadUse('say what to change: make setconfig SET="SYMBOL=VALUE …"')
    with store.locked():
        load_present(tree)
        override_and_store(tree, layers)


def oldconfig(tree: Tree) -> None:
    from scripts.config.oldconfig import ask_for_new, known_names

    path = store.config_path()
    with store.locked():
        load_present(tree, tolerant=True)
        text = path.read_bytes()
    ask_for_new(tree, known_names(path))
    with store.locked():
        if path.read_bytes() != text:
            raise Failure(f"{path} was changed by another program meanwhile; it stays as it is")
        override_and_store(tree, overrides())


def syncconfig(tree: Tree) -> None:
    with store.locked():
        load_or_make(tree)
        store.store(tree, store.config_path())


def menuconfig(tree: Tree) -> None:
    _edit(tree, "menuconfig")


def guiconfig(tree: Tree) -> None:
    _edit(tree, "guiconfig")


def savedefconfig(tree: Tree) -> None:
    load_present(tree)
    write_atomic("defconfig", tree.defconfig_text())
    print("saved ./defconfig; move it to defconfigs/<model>-<dataset>[-<what>] to keep it")


def _edit(tree: Tree, program: str) -> None:
    """Let the user change .config in `program`, then bring config.py and the origins up to date."""
    from lib.config.editors import edit

    path = store.config_path()
    layers = overrides()
    with store.locked():
        try:
            if path.exists():
                load_present(tree)
        except ConfigError:
            if layers:
                raise
            tree.unset_values()  # the editor shows what is wrong, and is the place to fix it
        if layers:
            override_and_store(tree, layers)
    before = {entry.name: entry.text for entry in tree.entries()}
    edit(program)
    if not path.exists():
        return
    saved = Tree()  # what was saved, not what was left unsaved
    with store.locked():
        store.load(saved, path)
        for entry in saved.entries():
            if before.get(entry.name) != entry.text:
                saved.origins[entry.name] = program
        store.store(saved, path)


def load_present(tree: Tree, tolerant: bool = False) -> None:
    """Load the present .config. Raises BadUse when there is none."""
    path = store.config_path()
    if not path.exists():
        raise BadUse(f"there is no {path}: run `make defconfig` or `make menuconfig` first")
    print_notes(store.load(tree, path, tolerant=tolerant))


def load_or_make(tree: Tree) -> None:
    """Load the present .config; where there is none, make the default one first. Needs the lock."""
    path = store.config_path()
    if not path.exists():
        start = find_defconfig(os.environ.get("DEFCONFIG") or DEFAULT, DEFCONFIGS)
        print(f"There is no {path} yet: creating it from {start}.")
        print_notes(apply(tree, [_read([start])]))
        store.store(tree, path)
    load_present(tree)


def overrides() -> list[list[Assignment]]:
    """What $FRAGMENTS, $SET and $TRACKER ask for, the later the stronger."""
    fragments = dotconfig.split_words(os.environ.get("FRAGMENTS", ""), "FRAGMENTS")
    layers = [_read([Path(path)]) for path in fragments]
    if text := os.environ.get("SET"):
        assignments, problems = dotconfig.parse_words(text, "SET")
        if problems:
            raise ConfigError(problems)
        layers.append(assignments)
    if text := os.environ.get("TRACKER"):
        layers.append(tracker_assignments(text, "TRACKER"))
    return layers


def override(tree: Tree, layers: list[list[Assignment]], heading: str = "") -> None:
    """Apply the overrides; say each change, also of what follows from them, below `heading`."""
    before = _shown(tree)
    print_notes(apply(tree, layers))
    if heading:
        print(heading)
    for name, text in sorted(_shown(tree).items()):
        used = not (before[name].startswith(_UNUSED) and text.startswith(_UNUSED))
        if used and before[name] != text:
            print(f"  {name}: {before[name]} → {text}")


def override_and_store(tree: Tree, layers: list[list[Assignment]]) -> None:
    """`override`, then write the files. Needs the lock."""
    override(tree, layers)
    store.store(tree, store.config_path())


def _store(tree: Tree) -> None:
    with store.locked():
        store.store(tree, store.config_path())


def _read(paths: list[Path]) -> list[Assignment]:
    assignments, problems = [], []
    for path in paths:
        found, wrong = dotconfig.read(path)
        assignments += found
        problems += wrong
    if problems:
        raise ConfigError(problems)
    return assignments


_UNUSED = "unused"


def _shown(tree: Tree) -> dict[str, str]:
    """For each name that a user can set, its present value, or why it has none."""
    shown = {entry.name: shorten(entry.text) or '""' for entry in tree.entries()}
    for symbol in tree.settable:
        needs = " and ".join(unmet(symbol))
        reason = f"{_UNUSED} (needs {needs})" if needs else _UNUSED
        shown.setdefault(tree.public_name(symbol), reason)
    return shown


def print_notes(notes: list[str]) -> None:
    """Say on stderr what was dropped or lost its effect."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


COMMANDS = {
    command.__name__: command
    for command in (
        defconfig,
        alldefconfig,
        olddefconfig,
        oldconfig,
        setconfig,
        menuconfig,
        guiconfig,
        syncconfig,
        savedefconfig,
    )
}


def main() -> None:
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__)
    elif len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:
        raise BadUse(f"name one of: {', '.join(COMMANDS)}")
    else:
        COMMANDS[sys.argv[1]](Tree())


if __name__ == "__main__":
    run_main(main)
