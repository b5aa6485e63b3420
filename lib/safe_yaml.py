# SPDX-License-Identifier: MIT
"""Reading YAML files, which may be damaged or from somebody else.

    fields = load_mapping(run_dir / "metadata.yaml")

A file that is too large, nested too deeply (libyaml's loader recurses in C and would crash the
process), or has aliases, which can expand without limit, is refused before it is loaded.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

_MAX_BYTES = 4 * 2**20
_MAX_DEPTH = 50
_SYMBOL = re.compile(r"[A-Z][A-Z0-9_]*")
_OPENING = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_CLOSING = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


def load_mapping(path: Path, *, without: Iterable[str] = ()) -> dict[str, Any]:
    """The mapping in the file at `path`, in plain values (see `to_plain`).

    The top-level keys `without` are cut out before it is parsed, for speed. Raises OSError, and
    ValueError with the path for anything but a harmless mapping in YAML.
    """
    try:
        text = _read(path)
        if without:
            text = re.sub(rf"^(?:{'|'.join(without)}):.*\n(?:[ \-].*\n|\n)*", "", text, flags=re.M)
        _check(text)
        loaded = yaml.load(text, Loader=yaml.CSafeLoader)
    except OSError:
        raise
    except Exception as error:  # PyYAML raises almost anything for a value that contradicts its tag
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, Mapping):
        raise ValueError(f"{path}: not a mapping")
    return to_plain(loaded)


def load_nodes(path: Path) -> yaml.Node | None:
    """The YAML in the file at `path`, parsed but not resolved: each node has its line.

    None for an empty file. Raises OSError, and ValueError with the path for anything but harmless
    YAML.
    """
    try:
        text = _read(path)
        _check(text)
        return yaml.compose(text, Loader=yaml.CSafeLoader)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error


def _read(path: Path) -> str:
    info = path.stat()
    if not path.is_file():  # reading a pipe would never end
        raise ValueError("not a regular file")
    if info.st_size > _MAX_BYTES:
        raise ValueError(f"{info.st_size:,} bytes, more than {_MAX_BYTES:,}")
    return path.read_text(encoding="utf-8")


def _check(text: str) -> None:
    """Raise ValueError for what must not be loaded; parsing into events does not recurse."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, _OPENING):
            depth += 1
            if depth > _MAX_DEPTH:
                raise ValueError(f"nested more than {_MAX_DEPTH} levels deep")
        elif isinstance(event, _CLOSING):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            raise ValueError("has aliases")


def settings_in(tree: Mapping[str, Any]) -> dict[str, Any]:
    """What a config.yaml says, in one level.

    That of a configured run groups symbols by menu: their names are those of the symbols. Any other
    is a tree: the names have dots, as optimizer.lr.
    """
    menus = tree.values()
    if all(isinstance(menu, Mapping) and _has_symbols_only(menu) for menu in menus):
        names = [name for menu in menus for name in menu]
        if len(set(names)) == len(names):
            return {name: value for menu in menus for name, value in menu.items()}
    return dict(flatten(tree))


def _has_symbols_only(menu: Mapping[str, Any]) -> bool:
    return all(
        _SYMBOL.fullmatch(name) and not isinstance(value, Mapping) for name, value in menu.items()
    )


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of all leaves; a list of values is text, and nothing has no leaf."""
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            value = {str(number): item for number, item in enumerate(value)}
        if isinstance(value, Mapping):
            yield from flatten(value, f"{name}.")
        elif isinstance(value, list):
            yield name, ", ".join(map(str, value))
        elif value is not None:
            yield name, value


def to_plain(value: Any) -> Any:
    """The same in dict, list, str, int, float, bool and None, so that YAML can hold it."""
    if isinstance(value, Mapping):
        return {to_plain(str(key)): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_plain(item) for item in value]
    if isinstance(value, str):  # bytes that are not UTF-8 arrive as surrogates
        return value.encode("utf-8", "backslashreplace").decode()
    if (
        type(value) is int and value.bit_length() > 64
    ):  # Python refuses to write 4300 digits and more in decimal
        return hex(value)
    if value is None or type(value) in (bool, int, float):
        return value
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    return to_plain(str(value))
