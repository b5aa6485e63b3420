# SPDX-License-Identifier: MIT
"""The questions of `make oldconfig`: one for each symbol that .config does not know yet."""

from pathlib import Path

from lib.config import dotconfig
from lib.config.assign import apply
from lib.config.dotconfig import Assignment, ConfigError
from lib.config.symbols import help_of, prompt_of
from lib.config.tree import BOOL, Entry, Symbol, Tree
from lib.errors import Failure


def known_names(path: Path) -> set[str]:
    """The symbols that the .config file at `path` assigns."""
    return {assignment.name for assignment in dotconfig.read(path)[0]}


def new_entries(tree: Tree, known: set[str]) -> list[Entry]:
    """What can be set and is not in `known`; a choice is new when one of its values is."""
    return [
        entry
        for entry in tree.entries()
        if any(symbol.name not in known for symbol in _members(entry) or [entry.symbol])
    ]


def ask_for_new(tree: Tree, known: set[str]) -> None:
    """Ask on the terminal until no symbol is new; an answer can bring up further symbols.

    Raises Failure at the end of the input, with nothing written.
    """
    asked = set(known)
    while entries := new_entries(tree, asked):
        _ask(tree, entries[0])
        asked.update(symbol.name for symbol in [entries[0].symbol, *_members(entries[0])])


def _members(entry: Entry) -> list[Symbol]:
    """The values of a choice that can be selected at present; none for other symbols."""
    choice = entry.symbol.choice
    return [member for member in choice.syms if member.visibility] if choice else []


def _ask(tree: Tree, entry: Entry) -> None:
    symbol, members = entry.symbol, _members(entry)
    if members:
        allowed = "/".join(tree.choice_names[member][1] for member in members)
    else:
        allowed = "y/n" if symbol.orig_type is BOOL else tree.bounds(symbol)
    about = f"{entry.name}, {allowed}" if allowed else entry.name
    while True:
        answer = _input(f"{prompt_of(symbol)} ({about}) [{entry.text}] (? for help): ").strip()
        if answer == "?":
            print("\n".join(help_of(member) for member in members or [symbol]))
            continue
        if not answer:  # not set, so that it follows its default
            return
        try:
            apply(tree, [[Assignment(entry.name, answer, "oldconfig")]])
        except ConfigError as error:
            print(error)
        else:
            return


def _input(question: str) -> str:
    try:
        return input(question)
    except EOFError:
        print()
        raise Failure(
            "the input ended before all questions were answered; nothing was written "
            "(`make olddefconfig` takes the defaults)"
        ) from None
