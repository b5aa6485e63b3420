# SPDX-License-Identifier: MIT
"""config.yaml and origins.yaml of a run, for all that reads YAML, OmegaConf and Hydra too.

    text = render({"Training": {"BATCH_SIZE": 64}})     # symbols by menu
    settings = load(run_dir / "config.yaml")            # the same values again
    assignments, problems = read(path, str(path))       # for Kconfig, also of what a user wrote

A text means the same to every reader: one that YAML 1.1 or 1.2 takes for something else (1e-3,
0.10, off, null) is quoted. OmegaConf gives `${` and a whole `???` a meaning even in quotes; such a
text has a backslash more in the file, which OmegaConf, `load` and `read` remove. (OmegaConf before
2.4 keeps the one before `???`.)
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import BadUse
from .dotconfig import Assignment, ConfigError, shorten

SUFFIXES = (".yaml", ".yml")

# What no version of YAML takes for anything but a text, if it is not one of the words.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"}
_MISSING = re.compile(r"(\\*)\?\?\?")
_INTERPOLATION = re.compile(r"(\\*)\$\{")  # backslashes mean something only here
_NULL = "tag:yaml.org,2002:null"
_NAME = re.compile(r"(?:CONFIG_)?(\w+)", re.ASCII)


def escape(text: str) -> str:
    """`text` as OmegaConf has to find it, so that it resolves nothing in it."""
    if _MISSING.fullmatch(text):
        return f"\\{text}"
    return _INTERPOLATION.sub(lambda match: rf"{match[1]}{match[1]}\${{", text)


def unescape(text: str) -> str:
    """The inverse of `escape`. Raises ValueError for what OmegaConf would resolve."""
    if match := _MISSING.fullmatch(text):
        if not match[1]:
            raise ValueError(r"??? is a missing value in OmegaConf: write \??? for the text")
        return text[1:]
    if any(len(match[1]) % 2 == 0 for match in _INTERPOLATION.finditer(text)):
        raise ValueError(
            r"interpolations are not resolved here: write the value, or \${ for the text ${"
        )
    return _INTERPOLATION.sub(lambda match: match[1][: len(match[1]) // 2] + "${", text)


def render(values: Mapping[str, Any]) -> str:
    """The text of a YAML file with `values`, mappings among them, in their order."""
    import yaml

    # libyaml, because the dumper in Python loses a NEL (U+0085) at either end of a text.
    class Dumper(yaml.CSafeDumper):
        pass

    def represent(dumper: Dumper, text: str) -> Any:
        text = escape(text)
        plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
        style = None if plain else "'" if text.isprintable() else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)

    Dumper.add_representer(str, represent)
    return yaml.dump(dict(values), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=100)


def load(path: Path) -> dict[str, Any]:
    """What `render` has written to the file at `path`, in plain types.

    Raises OSError, and ValueError with the path for anything but a harmless mapping in YAML.
    """
    from ..safe_yaml import load_mapping

    return _unescaped(load_mapping(path))


def _unescaped(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_unescaped(key): _unescaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unescaped(item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        return unescape(value)
    except ValueError:  # not what `render` has written; shown as it is
        return value


def read(path: Path, origin: str) -> tuple[list[Assignment], list[str]]:
    """The assignments and the problems in a YAML file called `origin`.

    Symbols may stand in groups, whose titles mean nothing, or without. Their values stay as they
    are written: Kconfig, and not YAML, knows whether 1e-3 is a number. Raises ConfigError when the
    file is not YAML.
    """
    from ..safe_yaml import load_nodes

    try:
        node = load_nodes(path)
    except OSError as error:
        raise ConfigError([f"{origin}: {error.strerror}"]) from None
    except ValueError as error:
        raise ConfigError([_unreadable(error, path, origin)]) from None
    if node is not None and not isinstance(node.value, list):
        raise ConfigError([f"{origin}: not a mapping: write NAME: value, one a line"])
    assignments: list[Assignment] = []
    problems: list[str] = []
    for name, value, place in _scalars(node, origin, problems):
        try:
            assignments.append(Assignment(_name(name), _text(value), place, yaml=True))
        except BadUse as error:
            problems.append(f"{place}: {shorten(name)}: {error}")
    return assignments, problems


def _scalars(node: Any, origin: str, problems: list[str]) -> Iterator[tuple[str, Any, str]]:
    """(key, node, place) of every value that is not a group."""
    for entry in node.value if node else ():
        key, value = entry if isinstance(entry, tuple) else (entry, None)
        place = f"{origin}:{key.start_mark.line + 1}"
        if value is None or not isinstance(key.value, str):
            problems.append(f"{place}: a name is missing before the colon")
        elif value.id == "mapping":
            yield from _scalars(value, origin, problems)
        else:
            yield key.value, value, place


def _name(key: str) -> str:
    if match := _NAME.fullmatch(key):
        return match[1]
    raise BadUse("not the name of a symbol")


def _text(node: Any) -> str:
    if node.id != "scalar":
        raise BadUse("a list is not a value: write one text")
    if node.tag == _NULL:
        raise BadUse("no value: leave the line out for its default, or write '' for an empty text")
    try:
        return unescape(node.value)
    except ValueError as error:
        raise BadUse(str(error)) from None


def _unreadable(error: ValueError, path: Path, origin: str) -> str:
    mark = getattr(error.__cause__, "problem_mark", None)
    if mark is None:
        return str(error).replace(str(path), origin, 1)
    return f"{origin}:{mark.line + 1}: not YAML: {error.__cause__.problem}"
