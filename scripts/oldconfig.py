# SPDX-License-Identifier: MIT
"""The questions of `make oldconfig`: one for each symbol that .config does not know yet."""

from lib.assign import apply
from lib.cli import Failure
from lib.dotconfig import Assignment, ConfigError
from lib.kconfig import BOOL, Symbol, Tree, help_of, prompt_of


def new_symbols(tree: Tree) -> list[Symbol]:
    """The settable symbols without a value of their own, a choice represented by its selection."""
    return [entry.symbol for entry in tree.entries() if _is_new(entry.symbol)]


def ask_for_new(tree: Tree) -> None:
    """Ask on the terminal until no symbol is new; an answer can bring up further symbols.

    Raises Failure at the end of the input, with nothing written.
    """
    while symbols := new_symbols(tree):
        _ask(tree, symbols[0])


def _is_new(symbol: Symbol) -> bool:
    if not symbol.choice:
        return symbol.user_value is None
    visible = (member for member in symbol.choice.syms if member.visibility)
    return any(member.user_value is None for member in visible)


def _ask(tree: Tree, symbol: Symbol) -> None:
    name = tree.public_name(symbol)
    current = next(entry.text for entry in tree.entries() if entry.name == name)
    members = (
        [member for member in symbol.choice.syms if member.visibility] if symbol.choice else []
    )
    if members:
        allowed = "/".join(tree.choice_names[member][1] for member in members)
    else:
        allowed = "y/n" if symbol.orig_type is BOOL else tree.bounds(symbol)
    question = (
        f"{prompt_of(symbol)} ({name}{allowed and f', {allowed}'}) [{current}] (? for help): "
    )
    while True:
        answer = _input(question).strip()
        if answer == "?":
            print("\n".join(help_of(member) for member in members or [symbol]))
            continue
        try:
            apply(tree, [[Assignment(name, answer or current, "oldconfig")]])
        except ConfigError as error:
            print(error)
            continue
        for member in members:  # known from now on, each one
            member.set_value("y" if member is symbol.choice.selection else "n")
        return


def _input(question: str) -> str:
    try:
        return input(question)
    except EOFError:
        raise Failure(
            "the input ended before all questions were answered; nothing was written "
            "(`make olddefconfig` takes the defaults)"
        ) from None
