# SPDX-License-Identifier: MIT
"""The text of .config files, defconfigs and fragments, and of SET="NAME=value …".

A line is `CONFIG_NAME=value` or `# CONFIG_NAME is not set`; other `#` lines are comments. Strings
are in double quotes. Within them `\\"` is a quote, `\\\\` a backslash, `\\n` a newline and `\\r`
a carriage return, so that any text fits on one line; nothing else is special.

Reading collects every problem instead of stopping at the first one.
"""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from ..errors import BadUse

PREFIX = "CONFIG_"
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"}
_UNESCAPES = {"n": "\n", "r": "\r"}
_ESCAPED = re.compile(r'[\\"\n\r]')
_UNESCAPED = re.compile(r"\\(.)")
_SET = re.compile(rf"{PREFIX}(\w+)=(.*)")
_UNSET = re.compile(rf"# {PREFIX}(\w+) is not set")
_QUOTED = re.compile(r'"((?:[^\\"]|\\.)*)"')
_NAME = re.compile(rf"(?:{PREFIX})?(\w+)", re.ASCII)


class ConfigError(BadUse):
    """Assignments that are not possible; the message has one line for each of `problems`."""

    def __init__(self, problems: list[str]):
        super().__init__("\n       ".join(problems))
        self.problems = problems


class Assignment(NamedTuple):
    """One value asked for: `name` without CONFIG_, `value` unescaped (y or n for a bool)."""

    name: str
    value: str
    origin: str  # `.config:3`, `SET`, `flag --seed`
    quoted: bool | None = None  # as it stood in a .config; None where quotes have no meaning
    yaml: bool = False  # from a YAML file, where true and yes are y

    def __str__(self) -> str:
        return f"{self.name}={shorten(self.value)}"


def shorten(value: str, limit: int = 60) -> str:
    """`value` for a message on one line: control characters escaped, long text cut."""
    text = value if value.isprintable() else repr(value)
    return text if len(text) <= limit else f"{text[:limit]}… ({len(value)} characters)"


def escape(value: str) -> str:
    """`value` as it stands between the double quotes of a .config file."""
    return _ESCAPED.sub(lambda match: _ESCAPES[match.group()], value)


def unescape(text: str) -> str:
    """The inverse of `escape`; a backslash before any other character is dropped."""
    return _UNESCAPED.sub(lambda match: _UNESCAPES.get(match.group(1), match.group(1)), text)


def parse(text: str, origin: str) -> tuple[list[Assignment], list[str]]:
    """The assignments and the problems in the text of a .config file called `origin`."""
    assignments, problems = [], []
    for number, line in enumerate(text.split("\n"), 1):
        line, where = line.rstrip(), f"{origin}:{number}"
        if match := _UNSET.fullmatch(line):
            assignments.append(Assignment(match.group(1), "n", where, quoted=False))
        elif not line or line.lstrip().startswith("#"):
            continue
        elif not (match := _SET.fullmatch(line)):
            problems.append(
                f"{where}: malformed line `{shorten(line)}`: "
                f"write {PREFIX}NAME=value or `# {PREFIX}NAME is not set`"
            )
        elif not (value := match.group(2)).startswith('"'):
            assignments.append(Assignment(match.group(1), value, where, quoted=False))
        elif quoted := _QUOTED.fullmatch(value):
            name, value = match.group(1), unescape(quoted.group(1))
            assignments.append(Assignment(name, value, where, quoted=True))
        else:
            problems.append(
                f"{where}: malformed string `{shorten(line)}`: it ends at the second double "
                'quote; write \\" for a quote and \\\\ for a backslash within it'
            )
    return assignments, problems


def read(path: Path, origin: str | None = None) -> tuple[list[Assignment], list[str]]:
    """`parse` the file at `path`, or the YAML in it if its name ends in .yaml or .yml.

    Raises ConfigError for a file that cannot be read.
    """
    from . import config_yaml

    origin = origin or str(path)
    if path.suffix in config_yaml.SUFFIXES:
        return config_yaml.read(path, origin)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError([f"{origin}: not UTF-8 text ({error.reason})"]) from None
    except OSError as error:
        raise ConfigError([f"{origin}: {error.strerror}"]) from None
    return parse(text, origin)


def split_words(text: str, origin: str) -> list[str]:
    """The words of `text` as a shell would split them; an open quote is a ConfigError."""
    try:
        return shlex.split(text)
    except ValueError as error:
        problem = f"{origin}: `{shorten(text)}`: {str(error).lower()}"
        raise ConfigError([problem]) from None


def parse_words(text: str, origin: str) -> tuple[list[Assignment], list[str]]:
    """The assignments and the problems in `SEED=3 DESCRIPTION="two words"`."""
    assignments, problems = [], []
    for word in split_words(text, origin):
        name, equals, value = word.partition("=")
        if equals and (match := _NAME.fullmatch(name)):
            assignments.append(Assignment(match.group(1), value, origin))
        else:
            problems.append(
                f"{origin}: `{shorten(word)}` is not NAME=value; a value with spaces needs "
                f"quotes: {origin}='NAME=\"two words\"'"
            )
    return assignments, problems
