# SPDX-License-Identifier: MIT
"""What is wrong with the Kconfig files themselves, as opposed to the values that users assign.

Kconfig merges all definitions of a name. A model may use that to add defaults to a general symbol;
a second prompt, type or choice of the same name would change what another model is configured by.
"""

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .symbols import MenuNode
    from .tree import Tree

_GOING_ON = re.compile(r", \w+ will be used$")
_NUMBER = re.compile(r"-?[0-9]+|MODULES")  # which kconfiglib keeps among the symbols


def definition_problems(tree: "Tree", warnings: Iterable[str]) -> list[str]:
    """The contradictions in the files that `tree` was parsed from, a line each, with all places.

    `warnings` are those of kconfiglib, which would continue with one of several meanings. They
    count only where nothing else is found: of two definitions they name the consequences alone.
    """
    found = [*_two_prompts(tree), *_undefined(tree)]
    return found or [_GOING_ON.sub("", " ".join(warning.split())) for warning in warnings]


def _two_prompts(tree: "Tree") -> Iterator[str]:
    for symbol in tree.unique_defined_syms:
        places = [_place(node) for node in symbol.nodes if node.prompt]
        if len(places) > 1:
            yield (
                f"{symbol.name} is defined by {' and by '.join(places)}: one symbol has one prompt "
                "and belongs to one choice; rename one of them, or let it only add a default"
            )


def _undefined(tree: "Tree") -> Iterator[str]:
    """Names that nothing defines: a misspelled `select` or `depends on` would have no effect."""
    places: dict[str, list[str]] = {}
    for node in tree.node_iter():
        for item in node.referenced:
            name = getattr(item, "name", None)
            if name and not item.nodes and not item.is_constant and not _NUMBER.fullmatch(name):
                places.setdefault(name, []).append(_place(node))
    for name, found in places.items():
        yield f"{name} is used by {', '.join(dict.fromkeys(found))} and defined nowhere"


def _place(node: "MenuNode") -> str:
    return f"{node.filename}:{node.linenr}"
