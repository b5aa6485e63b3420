# SPDX-License-Identifier: MIT
"""Kconfiglib's menuconfig and guiconfig, with our own reading, checking and writing of .config."""

import errno
import sys
import textwrap
from pathlib import Path
from types import ModuleType

from ..errors import Failure
from ..files import write_atomic
from . import dotconfig
from .assign import Rejected, apply, resolve
from .conflicts import contradictions
from .dotconfig import Assignment, ConfigError, shorten
from .store import config_path, locked, write_config
from .tree import Symbol, Tree, editor


class EditedTree(Tree):
    """A tree for the editors: they call the methods below and show an OSError in a dialog."""

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[str] = []  # of the file that the editor was opened with
        for symbol in self.settable:  # so that a search leads to where it can be changed
            symbol.nodes = [node for node in symbol.nodes if node.prompt]

    def load_config(self, filename: str | None = None, replace: bool = True) -> str:
        """Load a .config file; without a name the present one, if there is one.

        If that has problems, the rest of it is loaded: an editor is the place to fix them.
        """
        path = Path(filename) if filename else config_path()
        if not filename and not path.exists():
            return f"There is no {path} yet: starting from the defaults"
        assignments, problems = dotconfig.read(path)
        if replace:
            self.unset_values()
        problems += self._apply_sound(assignments)
        if problems and filename:
            raise OSError(errno.EINVAL, "\n".join(problems), str(path))
        self.problems = problems
        self.follow_defaults()
        return f"Loaded {path}"

    def _apply_sound(self, assignments: list[Assignment]) -> list[str]:
        """Apply what is possible of `assignments`; returns what is wrong with the others."""
        problems: list[str] = []
        while True:
            try:
                apply(self, [assignments])
            except ConfigError as error:
                problems += error.problems
                places = tuple(problem.split(": ")[0] for problem in error.problems)
                sound = [each for each in assignments if each.origin not in places]
                if len(sound) < len(assignments):
                    self.unset_values()
                    assignments = sound
                    continue
                # What remains does not go together; it stays until the user changes it.
            return problems

    def write_config(
        self, filename: str | None = None, header: None = None, save_old: bool = True
    ) -> str:
        """Check the values and write them as a .config file."""
        path = Path(filename) if filename else config_path()
        self._check()
        with locked():
            write_config(path, self.config_text())
        return f"Saved {path}"

    def write_min_config(self, filename: str, header: None = None) -> str:
        """Check the values and write what differs from the defaults."""
        self._check()
        write_atomic(Path(filename).resolve(), self.defconfig_text())
        return f"Saved {filename}"

    def why_not(self, symbol: Symbol, text: str) -> str:
        """What is wrong with `text` as a value of `symbol`; empty if nothing is."""
        try:
            value = resolve(self, Assignment(symbol.name, text, "typed"))[1]
        except Rejected as error:
            return f"{symbol.name}={shorten(text)}: {error}"
        for low, high, _ in symbol.orig_ranges:  # Kconfig itself checks these when they are set
            if not int(low.str_value) <= int(value) <= int(high.str_value):
                bounds = self.bounds(symbol)
                return f"{symbol.name}={value}: out of range, want an integer in {bounds}"
        return ""

    def _check(self) -> None:
        """Make real numbers canonical. Raises OSError if the values do not go together."""
        for name in self.intervals:
            symbol = self.syms[name]
            if symbol.visibility and symbol.user_value is not None:
                if problem := self.why_not(symbol, symbol.user_value):
                    raise OSError(errno.EINVAL, problem, name)
                assignment = Assignment(name, symbol.user_value, "typed")
                symbol.set_value(resolve(self, assignment)[1])
        if problems := contradictions(self.values(), self.chosen()):
            raise OSError(errno.EINVAL, "\n".join(problems))


def edit(program: str) -> None:
    """Let the user change the present .config with `program`: menuconfig or guiconfig.

    Raises Failure where the machine lacks what the program needs.
    """
    if program == "menuconfig" and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Failure("menuconfig needs a terminal; without one, use `make setconfig SET=…`")
    try:
        tree = EditedTree()
        _adapted(editor(program), tree).menuconfig(tree)
    except ImportError as error:
        raise Failure(
            f"{program} needs {error.name}, which this Python lacks: {_CURES[program]}"
        ) from None
    except Exception as error:
        # curses.error or tkinter.TclError, which exist only where the modules do
        if type(error).__module__ not in ("_curses", "_tkinter"):
            raise
        raise Failure(f"{program} cannot start ({error}): {_CURES[program]}") from None


def _adapted(module: ModuleType, tree: EditedTree) -> ModuleType:
    """The editor `module` with our checks of values, and with messages that fit the screen.

    It takes a symbol that nobody set for one that .config lacks; here it has its default. Without
    this, most symbols would be marked as new and saving would be offered with nothing changed.
    """
    node_text = module._node_str
    module._node_str = lambda node: node_text(node).replace(" (NEW)", "")
    module._needs_save = lambda: bool(tree.problems)
    module._range_info = lambda symbol: _allowed(tree, symbol)
    (_adapt_curses if module.__name__ == "menuconfig" else _adapt_tk)(module, tree)
    return module


def _allowed(tree: EditedTree, symbol: Symbol) -> str | None:
    """What the dialog that asks for a value says about it."""
    bounds = tree.bounds(symbol)
    if not bounds:
        return None
    return f"{'Real number' if symbol.name in tree.intervals else 'Integer'} in {bounds}"


def _adapt_curses(module: ModuleType, tree: EditedTree) -> None:
    show_error, set_up = module._error, module._init

    def error(text: str) -> None:
        height, width = module._stdscr.getmaxyx()
        show_error(_fitting(text, height - 4, width - 4))

    def check_valid(symbol: Symbol, text: str) -> bool:
        if problem := tree.why_not(symbol, text):
            error(problem)
        return not problem

    def init() -> None:
        set_up()
        if tree.problems:
            error(_opening(tree.problems))

    module._error, module._check_valid, module._init = error, check_valid, init


def _adapt_tk(module: ModuleType, tree: EditedTree) -> None:
    set_up = module._create_ui

    def check_valid(dialog, entry, symbol: Symbol, text: str) -> bool:
        if problem := tree.why_not(symbol, text):
            module.messagebox.showerror("Bad value", problem, parent=dialog)
            entry.focus_set()
        return not problem

    def create_ui() -> None:
        set_up()
        if tree.problems:
            module.messagebox.showerror("Error", _opening(tree.problems))

    module._check_valid, module._create_ui = check_valid, create_ui


def _opening(problems: list[str]) -> str:
    lines = "\n".join(problems)
    return f"Problems in {config_path()}; what is not possible is left out:\n\n{lines}"


def _fitting(text: str, height: int, width: int) -> str:
    """`text` in lines of `width`, and no more than fit; the dialogs would cut them off."""
    lines = [part for line in text.split("\n") for part in textwrap.wrap(line, width) or [""]]
    if len(lines) > height:
        lines = [*lines[: height - 1], f"… and {len(lines) - height + 1} more lines"]
    return "\n".join(lines)


_CURES = {
    "menuconfig": "set TERM to your terminal's type, or use `make setconfig SET=…`",
    "guiconfig": "install python3-tk and run it on a desktop, or use `make menuconfig`",
}
