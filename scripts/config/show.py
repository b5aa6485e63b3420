# SPDX-License-Identifier: MIT
"""Look at the configuration: python -m scripts.config.show COMMAND

    showconfig      each value that is not its default, and where it came from; all with $V=1
    listnewconfig   the symbols that the present .config does not know yet, with their defaults
    helpconfig      what the symbol $SYM is for, what it may hold and where it is defined
    diffconfig      what differs from $A to $B: .config files, run directories or names of runs
                    (default: from .config.old to .config)
    list-defconfigs the files in defconfigs/, with one line about each

Nothing is written. The make targets of the same names are the usual way to call this.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os
import sys
from pathlib import Path
from textwrap import indent

from lib.config import store
from lib.config.assign import near_symbols
from lib.config.dotconfig import PREFIX, shorten
from lib.config.symbols import dependencies, has_prompt, help_of, menus, prompt_of
from lib.config.tree import BOOL, INT, Symbol, Tree
from lib.errors import BadUse
from scripts.config.change import DEFCONFIGS, load_present, print_notes
from scripts.config.oldconfig import known_names, new_entries


def showconfig() -> None:
    tree = Tree()
    load_present(tree)
    everything = os.environ.get("V") == "1"
    rows = [
        (entry.name, shorten(entry.text) or '""', tree.origins.get(entry.name, "default"))
        for entry in tree.entries()
        if everything or entry.text != entry.default
    ]
    if rows:
        _print_table([("symbol", "value", "from"), *rows])
    else:
        print("Every value is its default (V=1 shows them).")


def listnewconfig() -> None:
    tree = Tree()
    load_present(tree, tolerant=True)
    for entry in new_entries(tree, known_names(store.config_path())):
        print(f"{PREFIX}{entry.name}={shorten(entry.text)}")


def helpconfig() -> None:
    name = os.environ.get("SYM", "").removeprefix(PREFIX)
    if not name:
        raise BadUse("name a symbol: make helpconfig SYM=LEARNING_RATE")
    tree = _present_tree()
    symbol = tree.syms.get(name)
    if symbol is None or not symbol.nodes:
        raise BadUse(f"no symbol {shorten(name)}{near_symbols(tree, name)}")
    print("\n".join(f"{title + ':':<12}{text}" for title, text in _facts(tree, symbol) if text))
    print(f"\n{_explanation(tree, symbol)}")


def _present_tree() -> Tree:
    """With the values of the present .config, or the defaults where it is absent or damaged."""
    tree = Tree()
    try:
        load_present(tree, tolerant=True)
    except BadUse:
        tree.unset_values()
    return tree


def _facts(tree: Tree, symbol: Symbol) -> list[tuple[str, str]]:
    name = symbol.name
    options = tree.choice_options.get(name, {})
    settable = options or has_prompt(symbol)
    kind = {BOOL: "bool", INT: "integer"}.get(symbol.orig_type, "string")
    first = next(iter(options.values()), symbol)
    return [
        ("Symbol", name),
        ("Prompt", prompt_of(first) if settable else ""),
        ("Menu", " / ".join(menus(first))),
        ("Type", "choice" if options else "real number" if name in tree.intervals else kind),
        ("Allowed", " ".join(options) or tree.bounds(symbol)),
        ("Value", shorten(symbol.str_value)),
        ("Default", shorten(tree.default_text(first))),
        ("Depends on", " && ".join(dependencies(symbol)) if has_prompt(symbol) else ""),
        ("Defined at", ", ".join(f"{node.filename}:{node.linenr}" for node in symbol.nodes)),
        ("Flag", f"--{name.lower().replace('_', '-')}" if settable else ""),
    ]


def _explanation(tree: Tree, symbol: Symbol) -> str:
    """The help text; of a choice, what it is about and what each value means."""
    options = tree.choice_options.get(symbol.name)
    if not options:
        return help_of(symbol).rstrip()
    choices = dict.fromkeys(option.choice for option in options.values())
    about = [choice.nodes[0].help for choice in choices]
    return "\n".join(
        [
            *about,
            *(f"{value}:\n{indent(help_of(option), '  ')}" for value, option in options.items()),
        ]
    ).rstrip()


def diffconfig() -> None:
    present = store.config_path()
    first = os.environ.get("A") or str(present.with_name(f"{present.name}.old"))
    second = os.environ.get("B") or str(present)
    tree = _present_tree()
    runs = Path(str(tree.values()["OUTPUT_DIR"]))
    before, after = (_texts_of(tree, name, runs) for name in (first, second))
    names = [name for name in before | after if before.get(name) != after.get(name)]
    rows = [
        (
            name,
            *(shorten(texts[name]) or '""' if name in texts else "–" for texts in (before, after)),
        )
        for name in names
    ]
    if rows:
        _print_table([("symbol", first, second), *rows])
    else:
        print(f"{first} and {second} do not differ.")


def _texts_of(tree: Tree, name: str, runs: Path) -> dict[str, str]:
    """The values in a .config file, a run directory or a run of that name."""
    candidates = [Path(name), Path(name) / ".config", runs / name / ".config"]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise BadUse(f"`{shorten(name)}` is not a .config file, a run directory or a run in {runs}")
    tree.unset_values()
    print_notes(store.load(tree, path, tolerant=True))
    return {entry.name: entry.text for entry in tree.entries()}


def list_defconfigs() -> None:
    paths = sorted(path for path in DEFCONFIGS.iterdir() if path.is_file())
    width = max(len(path.name) for path in paths)
    for path in paths:
        first_line = path.read_text(encoding="utf-8").partition("\n")[0]
        print(f"  {path.name:<{width}}  {first_line.removeprefix('#').strip()}")


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


COMMANDS = {
    "showconfig": showconfig,
    "listnewconfig": listnewconfig,
    "helpconfig": helpconfig,
    "diffconfig": diffconfig,
    "list-defconfigs": list_defconfigs,
}


def main() -> None:
    if sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__)
    elif len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:
        raise BadUse(f"name one of: {', '.join(COMMANDS)}")
    else:
        COMMANDS[sys.argv[1]]()


if __name__ == "__main__":
    run_main(main)
