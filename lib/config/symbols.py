# SPDX-License-Identifier: MIT
"""What one Kconfig symbol says about itself: where it is, what it needs, who selects it.

`tree.Tree` has what concerns all of them.
"""

import kconfiglib
from kconfiglib import AND, MENU, Choice, MenuNode, Symbol, expr_value


def home(symbol: Symbol) -> MenuNode:
    """Where a symbol belongs: its prompt, or its first definition if it has none."""
    return next((node for node in symbol.nodes if node.prompt), symbol.nodes[0])


def has_prompt(symbol: Symbol) -> bool:
    """Whether a user can set the symbol at all."""
    return home(symbol).prompt is not None


def prompt_of(symbol: Symbol) -> str:
    """The line that menus show: of the whole choice if the symbol belongs to one."""
    node = symbol.choice.nodes[0] if symbol.choice else home(symbol)
    return node.prompt[0]


def help_of(symbol: Symbol) -> str:
    """The help text of a symbol."""
    return home(symbol).help or ""


def location(symbol: Symbol) -> str:
    """`lib/train/Kconfig:6`"""
    node = home(symbol)
    return f"{node.filename}:{node.linenr}"


def conditions(symbol: Symbol) -> list:
    """The expressions that must all hold for the symbol, and its choice, to be settable."""
    found = []
    for part in conjuncts(home(symbol).prompt[1]):
        if isinstance(part, Choice):
            found += (inner for node in part.nodes for inner in conjuncts(node.prompt[1]))
        else:
            found.append(part)
    return found


def dependencies(symbol: Symbol) -> list[str]:
    """The conditions as Kconfig writes them."""
    texts = (kconfiglib.expr_str(part) for part in conditions(symbol))
    return [text for text in dict.fromkeys(texts) if text != "y"]


def unmet(symbol: Symbol) -> list[str]:
    """The dependencies that keep the symbol from being set at present."""
    parts = (part for part in conditions(symbol) if not expr_value(part))
    return list(dict.fromkeys(_explained(part) for part in parts))


def selectors(symbol: Symbol) -> list[Symbol]:
    """The symbols that select `symbol`, in the order of the Kconfig files."""
    found = kconfiglib.expr_items(symbol.rev_dep)
    return sorted(
        (item for item in found if isinstance(item, Symbol) and item.nodes),
        key=lambda item: item.kconfig.unique_defined_syms.index(item),
    )


def _explained(part) -> str:
    """A dependency as Kconfig writes it, and of a capability who has it, if that can be chosen."""
    text = kconfiglib.expr_str(part)
    if not isinstance(part, Symbol) or has_prompt(part):
        return text
    found = [part.kconfig.choice_names[item] for item in selectors(part) if item.visibility]
    names = dict.fromkeys(name for name, _ in found)
    values = (f"{name}={' or '.join(v for n, v in found if n == name)}" for name in names)
    return f"{text} (of {', '.join(values)})" if found else text


def conjuncts(expression) -> list:
    """The parts of `a && b && …`."""
    return kconfiglib.split_expr(expression, AND)


def menus(symbol: Symbol) -> tuple[str, ...]:
    """The titles of the menus that hold the symbol, from the outermost inwards."""
    titles, node = [], home(symbol)
    while node := node.parent:
        if node.item is MENU and node.prompt and node.parent:
            titles.insert(0, node.prompt[0])
    return tuple(titles)
