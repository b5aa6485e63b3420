# SPDX-License-Identifier: MIT
"""Assigning values to a Kconfig tree so that nothing is lost silently.

Kconfiglib warns and continues where an assignment has no effect. Here the assignment is refused,
with symbol, value, reason and the place in the Kconfig files; all problems are reported at once.
"""

import re
from collections.abc import Iterable, Sequence

from ..errors import did_you_mean, near
from . import intervals
from .conflicts import contradictions
from .dotconfig import PREFIX, Assignment, ConfigError, shorten
from .symbols import Choice, has_prompt, location, unmet
from .synonyms import SYNONYMS
from .tree import BOOL, INT, Symbol, Tree

MAKE_VARIABLES = ("DEFCONFIG", "FRAGMENTS", "NPROC", "RUN", "SET", "TRACKER")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_OCTAL = re.compile(r"[+-]?0[0-9]{1,17}")
_YAML_BOOLS = {"true": "y", "yes": "y", "on": "y", "false": "n", "no": "n", "off": "n"}
_YAML_INFINITIES = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf"}

# What an assignment sets: the symbol and its value in canonical text.
Target = tuple[Symbol, str]


class Rejected(Exception):
    """Why an assignment is not possible; `unknown` where there is no such symbol."""

    def __init__(self, reason: str, unknown: bool = False):
        super().__init__(reason)
        self.unknown = unknown


def apply(
    tree: Tree,
    layers: Sequence[Sequence[Assignment]],
    tolerant: bool = False,
    followers: bool = True,
) -> list[str]:
    """Assign layer by layer, a later one overriding the others; check that every assignment took.

    An assignment may depend on a later layer (SET may turn on what it needs) and may lose its
    effect to one. Returns notes on those that lost their effect, and on the defaults that changed
    with what SET, TRACKER or a flag set. With `tolerant`, assignments to symbols that are gone or
    whose dependencies are no longer met are dropped and noted as well. Without `followers` the
    defaults that changed are not noted, which takes half of the time.
    Raises ConfigError with all problems; the values of the tree are then undefined.
    """
    problems: list[str] = []
    notes: list[str] = []
    standing = {}  # the last assignment to each symbol or choice, and whether it took at first
    before: dict[str, str] = {}
    for layer in layers:
        if followers and layer and not (_of_file(layer[0]) or before):
            before = _texts(tree)
        taken = _assign(tree, layer, problems, notes if tolerant else problems)
        for key, (assignment, target) in taken.items():
            standing[key] = assignment, target, _took(*target)
    for assignment, (symbol, value), took_at_first in standing.values():
        if _took(symbol, value):
            tree.origins[tree.public_name(symbol)] = assignment.origin
            continue
        reason = _why_not(tree, symbol, value)
        stale = not symbol.visibility
        if took_at_first or (tolerant and stale):
            symbol.unset_value()
            notes.append(f"{assignment.origin}: {assignment} has no effect: {reason}")
        else:
            problems.append(f"{assignment.origin}: {assignment}: {reason}")
    if not problems:
        problems = contradictions(tree.values(), tree.chosen())
    if problems:
        raise ConfigError(problems)
    if followers:
        notes += _followers(tree, before, {target[0] for _, target, _ in standing.values()})
    return notes


def _of_file(assignment: Assignment) -> bool:
    return assignment.yaml or assignment.quoted is not None


def _followers(tree: Tree, before: dict[str, str], assigned: set[Symbol]) -> list[str]:
    """A note on the defaults that differ from `before`; none after a change of the model.

    OPTIMIZER=sgd changes the default of LEARNING_RATE, for instance, and DATASET that of TOKENIZER.
    """
    after = _texts(tree)
    given = {tree.public_name(symbol) for symbol in assigned}
    changed = [
        f"{name} {shorten(before[name])} → {shorten(text)}"
        for name, text in after.items()
        if name not in given and before.get(name, text) != text
    ]
    if not changed or before.get("MODEL") != after.get("MODEL"):
        return []
    return [f"these defaults follow what was set: {', '.join(changed)}"]


def _texts(tree: Tree) -> dict[str, str]:
    return {entry.name: entry.text for entry in tree.entries()}


def _assign(
    tree: Tree, layer: Iterable[Assignment], problems: list[str], unknown: list[str]
) -> dict[Symbol | Choice, tuple[Assignment, Target]]:
    """Set the values of one layer; returns its well-formed assignments by what they set."""
    taken: dict[Symbol | Choice, tuple[Assignment, Target]] = {}
    for assignment in layer:
        try:
            symbol, value = target = resolve(tree, assignment)
        except Rejected as error:
            text = f"{assignment.origin}: {assignment}: {error}"
            (unknown if error.unknown else problems).append(text)
            continue
        # All bools of a choice share a key: selecting one is one decision.
        key = symbol.choice if symbol.choice and value == "y" else symbol
        if key in taken and taken[key][1] != target:
            earlier = taken[key][0]
            problems.append(
                f"{assignment.origin}: {assignment}: contradicts {earlier} ({earlier.origin}); "
                f"keep one of them {_at(symbol)}"
            )
        taken[key] = assignment, target
        symbol.set_value(value)
    return taken


def resolve(tree: Tree, assignment: Assignment) -> Target:
    """The symbol to set and the canonical text of its value. Raises Rejected."""
    name, value = assignment.name, assignment.value
    symbol = tree.syms.get(name)
    if symbol is None or not symbol.nodes:
        raise Rejected(f"no such symbol{near_symbols(tree, name)}", unknown=True)
    if "\0" in value or not _is_unicode(value):
        raise Rejected(f"NUL and bytes that are not UTF-8 cannot be stored {_at(symbol)}")
    if options := tree.choice_options.get(name):
        if value not in options:
            hint = did_you_mean(value, options, n=1)
            raise Rejected(f"is not one of {', '.join(options)}{hint} {_at(symbol)}")
        return options[value], "y"
    if not has_prompt(symbol):
        raise Rejected(f"follows from other symbols and cannot be set {_at(symbol)}")
    return symbol, _canonical(tree, symbol, assignment)


def _canonical(tree: Tree, symbol: Symbol, assignment: Assignment) -> str:
    """The one way to write this value of `symbol`. Raises Rejected for a wrong type."""
    value, quoted = _as_kconfig(symbol, assignment), assignment.quoted
    if symbol.orig_type is BOOL:
        if value not in ("y", "n") or quoted:
            raise Rejected(f"wrong type, want y or n {_at(symbol)}")
        return value
    if symbol.orig_type is INT:
        if not _INTEGER.fullmatch(value) or quoted:
            raise Rejected(f"wrong type, want {_wanted(tree, symbol)} {_at(symbol)}")
        return str(int(value))
    if quoted is False:
        raise Rejected(f'wrong type, write {PREFIX}{symbol.name}="…" {_at(symbol)}')
    interval = tree.intervals.get(symbol.name)
    if interval is None:
        return value
    if assignment.yaml:
        value = _YAML_INFINITIES.get(value.lower(), value)
    number = intervals.parse_real(value)
    if number is None:
        raise Rejected(f"wrong type, want {_wanted(tree, symbol)} {_at(symbol)}")
    if number not in interval:
        raise Rejected(f"out of range, want {_wanted(tree, symbol)} {_at(symbol)}")
    return repr(number)


def _as_kconfig(symbol: Symbol, assignment: Assignment) -> str:
    """The value as .config writes it, where YAML has another form."""
    value = assignment.value
    if not assignment.yaml:
        return value
    if symbol.orig_type is BOOL:
        return _YAML_BOOLS.get(value.lower(), value)
    if symbol.orig_type is INT and _OCTAL.fullmatch(value):
        raise Rejected(f"leading zeros make it octal in YAML: write {int(value)} {_at(symbol)}")
    return value


def _took(symbol: Symbol, value: str) -> bool:
    if symbol.choice and value == "n":  # deselects nothing; overruled by any selection
        return symbol.str_value == "n" or symbol.choice.user_selection is symbol
    return symbol.str_value == value and (bool(symbol.visibility) or value == "n")


def _why_not(tree: Tree, symbol: Symbol, value: str) -> str:
    """The reason why `symbol` does not hold `value`, which is of the right type."""
    if not symbol.visibility:
        return f"unmet dependency, needs {' and '.join(unmet(symbol))} {_at(symbol)}"
    if symbol.orig_type is INT:
        return f"out of range, want {_wanted(tree, symbol)} {_at(symbol)}"
    if symbol.choice:
        return f"would leave its choice without a value; select another one {_at(symbol)}"
    return f"is held at {symbol.str_value} by another symbol {_at(symbol)}"


def _wanted(tree: Tree, symbol: Symbol) -> str:
    kind = "an integer" if symbol.orig_type is INT else "a real number"
    bounds = tree.bounds(symbol)
    return f"{kind} in {bounds}" if bounds else kind


def near_symbols(tree: Tree, name: str) -> str:
    """`; did you mean …?` for an unknown name, or nothing."""
    if name in MAKE_VARIABLES:
        return f"; {name} is a variable of its own on the make line: make … {name}=…"
    names = [symbol.name for symbol in tree.settable] + list(tree.choice_options)
    found = [f"{match} {_at(tree.syms[match])}" for match in near(name, names, 3, SYNONYMS)]
    return f"; did you mean {', '.join(found)}?" if found else ""


def _at(symbol: Symbol) -> str:
    return f"({location(symbol)})"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes from the environment that are not UTF-8 arrive as surrogates
        return False
    return True
