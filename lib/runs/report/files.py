# SPDX-License-Identifier: MIT
"""What the small files of a run hold, ready for the page: settings, uncommitted changes, the log.

All texts are redacted again and made printable. A file that is missing or damaged is empty.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ... import text
from ...config import config_yaml
from ..redact import redact, redact_diff, redact_tree

MOST_DIFF = 200_000  # characters that are shown
_LOG_LINES = 60
_LOG_TAIL = 64 * 2**10  # bytes
_MOST_CHARACTERS = 20_000  # of a value


class Setting(NamedTuple):
    """A symbol, its value, and where it was set; `origin` is empty for a default."""

    name: str
    value: str
    origin: str


class Menu(NamedTuple):
    """The settings of one menu of Kconfig."""

    title: str
    settings: list[Setting]


def settings_of(directory: Path) -> list[Menu]:
    """config.yaml, by menu, with origins.yaml."""
    values, origins = _yaml(directory / "config.yaml"), _yaml(directory / "origins.yaml")
    menus = []
    for title, group in values.items():
        if isinstance(group, Mapping):
            rows = [
                Setting(text.one_line(name), _value(value), _origin(origins.get(name)))
                for name, value in group.items()
            ]
            menus.append(Menu(text.one_line(title), rows))
    return menus


def _yaml(path: Path) -> dict[str, Any]:
    try:
        return redact_tree(config_yaml.load(path))
    except (OSError, ValueError):
        return {}


def _value(value: Any) -> str:
    """As .config spells it: y, n, numbers, texts."""
    if isinstance(value, bool):
        return "y" if value else "n"
    return "" if value is None else text.printable(value)[:_MOST_CHARACTERS]


def _origin(entry: Any) -> str:
    if not isinstance(entry, Mapping):
        return ""
    return text.one_line(entry.get("origin") or "?")


def diff_of(directory: Path) -> str:
    """git.diff, redacted; a little more than MOST_DIFF characters of a longer one."""
    diff = _read(directory / "git.diff", 4 * MOST_DIFF)
    return redact_diff(text.printable(diff))


def end_of_log(path: Path) -> str:
    """The last _LOG_LINES lines."""
    try:
        start = max(0, path.stat().st_size - _LOG_TAIL)
    except OSError:
        return ""
    lines = _read(path, _LOG_TAIL, start).splitlines()
    kept = lines[1 if start else 0 :][-_LOG_LINES:]
    return redact(text.printable("\n".join(kept)))


def _read(path: Path, limit: int, start: int = 0) -> str:
    """Up to `limit` bytes of a regular file; empty without one."""
    try:
        if not path.is_file():  # reading a pipe would never end
            return ""
        with path.open("rb") as file:
            file.seek(start)
            return file.read(limit).decode("utf-8", "replace")
    except OSError:
        return ""
