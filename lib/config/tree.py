# SPDX-License-Identifier: MIT
"""The Kconfig tree: which symbols there are, what they may hold, and what they hold now.

This module and symbols.py are the only ones that import kconfiglib.

    tree = Tree()
    apply(tree, [parse_words("SEED=3", "SET")[0]])  # lib/config/assign.py
    tree.values()["SEED"]                           # 3

Conventions on top of Kconfig:
- real numbers are strings whose help declares an interval (lib/config/intervals.py);
- paths are strings whose help ends with "Path: ~ at the beginning is your home directory.";
- a choice of bools <NAME>_<VALUE> has a string <NAME> without a prompt that holds the chosen value.
  Assigning to it (`OPTIMIZER=adamw`) selects the bool. It is not written to .config.
"""

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import kconfiglib
from kconfiglib import BOOL, INT, STRING, Symbol, expr_value

from ..files import ROOT
from . import dotconfig, intervals
from .definitions import definition_problems
from .dotconfig import PREFIX, ConfigError
from .symbols import conjuncts, has_prompt, help_of, home, menus

Value = bool | int | float | str | None
Clean = Callable[[str, str], str]  # (symbol, its text) → the text to write in its place
_PATH = "Path: ~ at the beginning is your home directory."
_HOME = re.compile(r"(?<!\S)~[^\s/]*")
_STDERR = " wrote to stderr: "  # in kconfiglib's warning about a program that a Kconfig file calls
# Variables that would change what kconfiglib parses. TRACKER is applied as an assignment: were it
# read here as well, what it enables would look like a default and be missing from a minimal config.
_HIDDEN_VARIABLES = ("TRACKER", "srctree", "CONFIG_", "KCONFIG_CONFIG_HEADER")


class Entry(NamedTuple):
    """A value that a user can change at present."""

    name: str  # of the choice's string where it is a choice
    text: str  # as it is written after `=`: y, 32, 0.001, adamw
    default: str
    menu: tuple[str, ...]  # titles from the outermost menu inwards
    symbol: Symbol  # a choice's selected bool


@contextmanager
def _parsing_in(root: Path) -> Iterator[None]:
    """Kconfig files are named relative to `root`, and the programs they call run there."""
    hidden = {name: os.environ.pop(name) for name in _HIDDEN_VARIABLES if name in os.environ}
    before = Path.cwd()
    os.chdir(root)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.update(hidden)


class Tree(kconfiglib.Kconfig):
    """The parsed Kconfig files of the project at `root`, with their values.

    Raises ConfigError for errors and contradictions in the Kconfig files.
    """

    def __init__(self, root: Path = ROOT, filename: str = "Kconfig"):
        try:
            with _parsing_in(root):
                super().__init__(filename, warn_to_stderr=False)
        except (kconfiglib.KconfigError, OSError) as error:
            raise ConfigError([str(error).strip()]) from None
        texts = [text.replace("warning: ", "", 1) for text in self.warnings]
        for text in (said := [text for text in texts if _STDERR in text]):
            print(f"warning: {text}", file=sys.stderr)
        if problems := definition_problems(self, [text for text in texts if text not in said]):
            raise ConfigError(problems)
        self.warn = False  # from here on lib/config/assign.py says more
        self.origins: dict[str, str] = {}  # by public name, of what was assigned

    # What the tree knows about its symbols

    @cached_property
    def choice_options(self) -> dict[str, dict[str, Symbol]]:
        """For each choice string, its values and the bool that each stands for."""
        options = {}
        for symbol in self.unique_defined_syms:
            if symbol.orig_type is STRING and not has_prompt(symbol):
                options[symbol.name] = {
                    value.str_value: bool_
                    for value, condition in symbol.orig_defaults
                    for bool_ in conjuncts(condition)
                    if isinstance(bool_, Symbol) and bool_.choice
                }
        return {name: values for name, values in options.items() if values}

    @cached_property
    def choice_names(self) -> dict[Symbol, tuple[str, str]]:
        """For each bool of a choice, the choice's string and its value: (OPTIMIZER, adamw)."""
        return {
            bool_: (name, value)
            for name, options in self.choice_options.items()
            for value, bool_ in options.items()
        }

    @cached_property
    def intervals(self) -> dict[str, intervals.Interval]:
        """The symbols that are real numbers, with the interval of each."""
        found = ((symbol.name, intervals.interval_of(help_of(symbol))) for symbol in self.settable)
        return {name: interval for name, interval in found if interval}

    @cached_property
    def paths(self) -> set[str]:
        """The symbols that are paths, by the last line of their help."""
        return {s.name for s in self.settable if help_of(s).rstrip().endswith(_PATH)}

    @cached_property
    def settable(self) -> list[Symbol]:
        """The symbols with a prompt, in the order of the menus."""
        nodes = (node for node in self.node_iter() if isinstance(node.item, Symbol))
        return [node.item for node in nodes if node is home(node.item) and node.prompt]

    @cached_property
    def titles(self) -> dict[Symbol, tuple[str, ...]]:
        """The titles of the menus of the symbols with a prompt, from the outermost inwards."""
        return {symbol: menus(symbol) for symbol in self.settable}

    def unset_values(self) -> None:
        """Back to the defaults, as if nothing had been assigned."""
        super().unset_values()
        self.origins.clear()

    def follow_defaults(self) -> None:
        """Unset what was set to its default, so that it follows when the default changes.

        A .config holds all values: without this, the learning rate of one optimizer would stay
        when another one is chosen.
        """
        for entry in self.entries():
            if entry.text == entry.default:
                if entry.symbol.choice:
                    entry.symbol.choice.unset_value()
                else:
                    entry.symbol.unset_value()

    # Reading the values

    def bounds(self, symbol: Symbol) -> str:
        """The interval of a number as text, `[1, 10]`; empty where there is none."""
        if interval := self.intervals.get(symbol.name):
            return str(interval)
        for low, high, _ in symbol.orig_ranges:
            return f"[{low.str_value}, {high.str_value}]"
        return ""

    def values(self) -> dict[str, Value]:
        """Every symbol by name, sorted; None for a number whose dependencies are not met.

        `~` is expanded in paths.
        """
        symbols = sorted(self.unique_defined_syms, key=lambda symbol: symbol.name)
        return {symbol.name: self._value(symbol) for symbol in symbols}

    def _value(self, symbol: Symbol) -> Value:
        if symbol.orig_type is BOOL:
            return symbol.tri_value == 2
        text = symbol.str_value if expr_value(symbol.direct_dep) else ""
        if symbol.orig_type is INT:
            return int(text) if text else None
        if symbol.name in self.intervals:
            return float(text) if text else None
        return expand_home(text) if symbol.name in self.paths else text

    def entries(self) -> list[Entry]:
        """What a user can change at present, in the order of the menus, a choice as one entry."""
        found = []
        for symbol in self.settable:
            if not symbol.visibility or (symbol.choice and symbol.choice.selection is not symbol):
                continue
            name, text = self.choice_names.get(symbol, (symbol.name, symbol.str_value))
            found.append(Entry(name, text, self.default_text(symbol), self.titles[symbol], symbol))
        return found

    def chosen(self) -> set[str]:
        """The names of the entries that do not hold their defaults."""
        return {entry.name for entry in self.entries() if entry.text != entry.default}

    def public_name(self, symbol: Symbol) -> str:
        """The name under which `entries` shows it."""
        return self.choice_names[symbol][0] if symbol in self.choice_names else symbol.name

    def default_text(self, symbol: Symbol) -> str:
        """The default of the symbol, or of its choice.

        For a symbol whose dependencies are not met, what it would be if they were.
        """
        # kconfiglib's own notion of a default, which its write_min_config() uses.
        if symbol.choice:
            selected = symbol.choice._selection_from_defaults()
            return self.choice_names[selected][1] if selected else ""
        if expr_value(symbol.direct_dep):
            return symbol._str_default()
        met = (
            value.str_value for value, condition in symbol.orig_defaults if expr_value(condition)
        )
        return next(met, "")

    # The text of .config

    @cached_property
    def texts(self) -> set[str]:
        """The symbols that hold free text: strings with a prompt that are not numbers."""
        return {s.name for s in self.settable if s.orig_type is STRING} - self.intervals.keys()

    def config_text(self, clean: Clean | None = None) -> str:
        """The whole configuration in the format of .config; `clean` replaces free texts."""
        lines, menu = ["# Written by make; change it by `make menuconfig` or in an editor.\n"], ()
        for symbol in self.settable:
            if not symbol.visibility:
                continue
            if self.titles[symbol] != menu:
                menu = self.titles[symbol]
                lines.append(f"\n#\n# {' / '.join(menu)}\n#\n")
            lines.append(self._config_line(symbol, clean))
        return "".join(lines)

    def defconfig_text(self, clean: Clean | None = None) -> str:
        """The minimal configuration: what differs from the defaults, as `make savedefconfig`."""
        entries = (entry for entry in self.entries() if entry.text != entry.default)
        return "".join(self._config_line(entry.symbol, clean) for entry in entries)

    def _config_line(self, symbol: Symbol, clean: Clean | None) -> str:
        if symbol.orig_type is not STRING:
            return symbol.config_string
        text = symbol.str_value
        if clean and symbol.name in self.texts:
            text = clean(symbol.name, text)
        return f'{PREFIX}{symbol.name}="{dotconfig.escape(text)}"\n'


def text_of(value: Value) -> str:
    """`value` as it is written after `=`; empty for None."""
    if isinstance(value, bool):
        return "y" if value else "n"
    return "" if value is None else str(value)


def expand_home(text: str) -> str:
    """`text`, one path or several between spaces, with `~` and `~user` expanded.

    A `~user` that does not exist stays as it is.
    """
    return _HOME.sub(lambda match: os.path.expanduser(match.group()), text)  # noqa: PTH111


def editor(program: str) -> ModuleType:
    """Kconfiglib's module menuconfig or guiconfig. Raises ImportError without curses or tkinter."""
    return importlib.import_module(program)
