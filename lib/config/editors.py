# SPDX-License-Identifier: MIT
"""Kconfiglib's menuconfig and guiconfig on our own reading, checking and writing of .config."""

import errno
import sys
from pathlib import Path
from types import ModuleType

from lib.config import dotconfig
from lib.config.assign import Rejected, apply, resolve
from lib.config.dotconfig import Assignment, ConfigError
from lib.config.store import config_path, locked, write_config
from lib.config.tree import Tree, editor
from lib.errors import Failure
from lib.files import write_atomic


class EditedTree(Tree):
    """A tree for the editors: they call the methods below and show an OSError in a dialog."""

    def __init__(self) -> None:
        super().__init__()
        for symbol in self.settable:  # so that a search leads to where it can be changed
            symbol.nodes = [node for node in symbol.nodes if node.prompt]

    def load_config(self, filename: str | None = None, replace: bool = True) -> str:
        """Load a .config file; without a name the present one, if there is one."""
        path = Path(filename) if filename else config_path()
        if not filename and not path.exists():
            return f"There is no {path} yet: starting from the defaults"
        try:
            assignments, problems = dotconfig.read(path)
            if problems:
                raise ConfigError(problems)
            if replace:
                self.unset_values()
            apply(self, [assignments])
        except ConfigError as error:
            raise OSError(errno.EINVAL, str(error), str(path)) from None
        self.follow_defaults()
        return f"Loaded {path}"

    def write_config(
        self, filename: str | None = None, header: None = None, save_old: bool = True
    ) -> str:
        """Check what was typed and write it as a .config file."""
        path = Path(filename) if filename else config_path()
        self._check_reals()
        with locked():
            write_config(path, self.config_text())
        return f"Saved {path}"

    def write_min_config(self, filename: str, header: None = None) -> str:
        """Check what was typed and write what differs from the defaults."""
        self._check_reals()
        write_atomic(Path(filename).resolve(), self.defconfig_text())
        return f"Saved {filename}"

    def _check_reals(self) -> None:
        """The editors take any text for a real number: make it canonical, or refuse to save."""
        for name in self.intervals:
            symbol = self.syms[name]
            if symbol.visibility and symbol.user_value is not None:
                assignment = Assignment(name, symbol.user_value, name)
                try:
                    symbol.set_value(resolve(self, assignment)[1])
                except Rejected as error:
                    raise OSError(errno.EINVAL, f"{assignment}: {error}", name) from None


def edit(program: str) -> None:
    """Let the user change the present .config with `program`: menuconfig or guiconfig.

    Raises Failure where the machine lacks what the program needs.
    """
    if program == "menuconfig" and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Failure("menuconfig needs a terminal; `make defconfig SET=…` does without")
    try:
        module = _adapted(editor(program))
        module.menuconfig(EditedTree())
    except ImportError as error:
        raise Failure(
            f"{program} needs {error.name}, which this Python lacks: {_CURES[program]}"
        ) from None
    except Exception as error:
        # curses.error or tkinter.TclError, which exist only where the modules do
        if type(error).__module__ not in ("_curses", "_tkinter"):
            raise
        raise Failure(f"{program} cannot start ({error}): {_CURES[program]}") from None


def _adapted(module: ModuleType) -> ModuleType:
    """The editors take a value that nobody set for a gap in .config; here it is a default.

    Without this they would mark most symbols as new and offer to save when nothing was changed.
    """
    node_text = module._node_str
    module._node_str = lambda node: node_text(node).replace(" (NEW)", "")
    module._needs_save = lambda: False
    return module


_CURES = {
    "menuconfig": "set TERM to your terminal's type, or use `make defconfig SET=…`",
    "guiconfig": "install python3-tk and run it on a desktop, or use `make menuconfig`",
}
