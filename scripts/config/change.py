# SPDX-License-Identifier: MIT
"""Change the configuration: python -m scripts.config.change COMMAND

    defconfig      from defconfigs/$DEFCONFIG (default lenet5-digits)
    alldefconfig   all defaults
    olddefconfig   the present .config; new symbols get their defaults, obsolete ones go
    oldconfig      the same, but asks for each new symbol
    syncconfig     the present .config, checked strictly (what plain `make` does)
    menuconfig     edit the present .config in the terminal
    guiconfig      edit the present .config in a window
    savedefconfig  write the minimal form of the present .config to ./defconfig

All but the last then merge the files in $FRAGMENTS, apply $SET and $TRACKER, and write .config
($KCONFIG_CONFIG) and config.py. Nothing is written if any assignment did not take; exit code 2.
The make targets of the same names are the usual way to call this.
"""

import os
import sys
from pathlib import Path

from lib.cli import run_main
from lib.config import dotconfig, store
from lib.config.assign import apply
from lib.config.dotconfig import Assignment, ConfigError, shorten
from lib.config.trackers import tracker_assignments
from lib.config.tree import Tree, unmet
from lib.errors import BadUse
from lib.files import write_atomic

DEFAULT = "lenet5-digits"
DEFCONFIGS = Path("defconfigs")


def defconfig(tree: Tree) -> None:
    path = find_defconfig(os.environ.get("DEFCONFIG") or DEFAULT)
    layers = overrides()
    print_notes(apply(tree, [_read([path]), *layers]))
    store.store(tree, store.config_path())
    print(f"{path} → {store.config_path()}, config.py")
    given = {assignment.origin for layer in layers for assignment in layer}
    for entry in tree.entries():
        if tree.origins.get(entry.name) in given:
            print(f"  {entry.name}={shorten(entry.text)} ({tree.origins[entry.name]})")


def alldefconfig(tree: Tree) -> None:
    print_notes(apply(tree, overrides()))
    store.store(tree, store.config_path())
    print(f"all defaults → {store.config_path()}, config.py")


def olddefconfig(tree: Tree) -> None:
    load_present(tree, tolerant=True)
    override_and_store(tree)


def oldconfig(tree: Tree) -> None:
    from scripts.config.oldconfig import ask_for_new, known_names

    load_present(tree, tolerant=True)
    ask_for_new(tree, known_names(store.config_path()))
    override_and_store(tree)


def syncconfig(tree: Tree) -> None:
    load_present(tree)
    if os.environ.get("DEFCONFIG"):
        print_notes([f"DEFCONFIG is for `make defconfig`; {store.config_path()} stays"])
    override_and_store(tree)


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
    if path.exists():
        load_present(tree)
    if layers := overrides():
        override_and_store(tree, layers)
    before = _texts(tree)
    edit(program)
    if not path.exists():
        return
    saved = Tree()  # what was saved and not what was left unsaved
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


def override_and_store(tree: Tree, layers: list[list[Assignment]] | None = None) -> None:
    """Apply the overrides, say each change, and write the files."""
    before = _texts(tree)
    print_notes(apply(tree, overrides() if layers is None else layers))
    after = _texts(tree)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            print(f"  {name}: {_shown(tree, before, name)} → {_shown(tree, after, name)}")
    store.store(tree, store.config_path())


def find_defconfig(name: str) -> Path:
    """The file of a defconfig: a name in defconfigs/, or any path with a slash in it."""
    path = Path(name) if "/" in name else DEFCONFIGS / name
    if path.is_file() and name.strip("."):
        return path
    from difflib import get_close_matches

    names = sorted(entry.name for entry in DEFCONFIGS.iterdir())
    near = get_close_matches(name, names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
    raise BadUse(f"no defconfig `{shorten(name)}`: {hint} (make list-defconfigs)")


def _read(paths: list[Path]) -> list[Assignment]:
    assignments, problems = [], []
    for path in paths:
        found, wrong = dotconfig.read(path)
        assignments += found
        problems += wrong
    if problems:
        raise ConfigError(problems)
    return assignments


def _texts(tree: Tree) -> dict[str, str]:
    return {entry.name: entry.text for entry in tree.entries()}


def _shown(tree: Tree, texts: dict[str, str], name: str) -> str:
    if name in texts:
        return shorten(texts[name]) or '""'
    return f"unused (needs {', '.join(unmet(tree.syms[name])) or 'another model'})"


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
        syncconfig,
        menuconfig,
        guiconfig,
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
