# SPDX-License-Identifier: MIT
"""Keep secrets out of everything a run writes: keys, tokens, passwords, credentials in URLs.

    redact("API_KEY=0123abc")                  -> "API_KEY=[redacted]"
    redact("https://me:pw@host/path")          -> "https://[redacted]@host/path"
    redact_command(["x", "--token", "a b"])    -> "x --token '[redacted]'"
    redact_tree({"api_key": "abc", "lr": 0.1}) -> {"api_key": "[redacted]", "lr": 0.1}

A value counts as secret if its shape is unmistakable (ghp_…, hf_…, user:password@ in a URL), if an
environment variable with a secret name has it, and if it follows a name that says so
(lib/runs/secret_patterns.py). Git commits and other hashes look just like a W&B key; they stay,
unless such a name precedes them.

What becomes YAML or .config is redacted value by value, before it is rendered: a replacement in the
rendered text could break its syntax.
"""

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import PurePosixPath
from typing import Any

from .secret_patterns import HARMLESS, HINT, NAMED, REACH, SHAPES, STRING, URL, WORD

REDACTED = "[redacted]"

_SECRET_NAME = re.compile(rf"{WORD}$")
_LITERAL = re.compile(STRING)
_OPENING = re.compile(r"""[rbufRBUF]{0,2}("{3}|'{3}|"|')""")
_FILE_OF_DIFF = re.compile(r"^(?=diff --git )", re.MULTILINE)
# Files in which what is assigned without quotes is an expression or prose, not a secret.
_CODE = {".c", ".cc", ".cpp", ".cu", ".cuh", ".go", ".h", ".hpp", ".java", ".jl", ".js", ".lua"}
_CODE |= {".md", ".py", ".pyi", ".pyx", ".rb", ".rs", ".rst", ".ts", ".txt"}
_SHORT = 8  # characters; shorter values of the environment are hidden only as whole words
_SHORTEST = 4  # shorter values occur everywhere by chance


def redact(text: str, *, code: bool = False) -> str:
    """`text` with every secret in it replaced by "[redacted]"; a second time changes nothing.

    In source code (`code`) the right side of `token = line.split()` is not a secret: after a name,
    only string literals and shell assignments count there.
    """
    for secret in _environment_secrets():
        if len(secret) < _SHORT:
            word = rf"(?<![A-Za-z0-9]){re.escape(secret)}(?![A-Za-z0-9])"
            text = re.sub(word, REDACTED, text)
        else:
            text = text.replace(secret, REDACTED)
    text = URL.sub(rf"\1{REDACTED}@", text)
    text = _hide_named(text, _hide_in_code if code else _hide)
    return SHAPES.sub(REDACTED, text)


def _hide_named(text: str, hide: Callable[[re.Match[str]], str]) -> str:
    """`text` without the secrets that follow a name."""
    lines, near, last = text.split("\n"), [], -1
    for number, line in enumerate(lines):
        if HINT.search(line.lower()):
            last = number + REACH
        near.append(number <= last)
    parts = []
    for is_near, group in groupby(zip(near, lines, strict=True), key=itemgetter(0)):
        part = "\n".join(line for _, line in group)
        for pattern in NAMED if is_near else ():
            part = pattern.sub(hide, part)
        parts.append(part)
    return "\n".join(parts)


def redact_diff(diff: str) -> str:
    """The output of `git diff`, each file in it by the rules of its kind."""
    return "".join(redact(part, code=_is_code(part)) for part in _FILE_OF_DIFF.split(diff))


def _is_code(part: str) -> bool:
    name = part.partition("\n")[0].rstrip('"')
    return PurePosixPath(name).suffix.lower() in _CODE


def redact_command(arguments: Sequence[str]) -> str:
    """A command line as a shell would take it, without its secrets."""
    kept: list[str] = []
    after_secret_flag = False
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if after_secret_flag and not argument.startswith("-"):
            kept.append(REDACTED)
        elif equals and is_secret_name(name) and not HARMLESS.fullmatch(value):
            kept.append(f"{name}={REDACTED}")
        else:
            kept.append(redact(argument))
        after_secret_flag = argument.startswith("-") and is_secret_name(argument)
    return shlex.join(kept)


def redact_tree(value: Any) -> Any:
    """A copy of nested mappings and sequences with secrets replaced, by name and by shape."""
    if isinstance(value, Mapping):
        return {
            key: REDACTED if _hides(key, item) else redact_tree(item) for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [redact_tree(item) for item in value]
    return redact(value) if isinstance(value, str) else value


def redact_named(name: str, value: str) -> str:
    """The `value` of something called `name`, without the secrets in it."""
    return redact_tree({name: value})[name]


def is_secret_name(name: str) -> bool:
    """Whether the value of something called `name` is a secret."""
    return _SECRET_NAME.search(name) is not None


def _hides(key: Any, value: Any) -> bool:
    if isinstance(value, str) and HARMLESS.fullmatch(value):
        return False
    return isinstance(value, (str, bytes, list, tuple)) and is_secret_name(str(key))


def _hide(match: re.Match[str]) -> str:
    value = match["value"]
    if HARMLESS.fullmatch(value):
        return match[0]
    opening = _OPENING.match(value)
    before, after = (opening[0], opening[1]) if opening else ("", "")
    return f"{match['name']}{match['sep']}{before}{REDACTED}{after}"


def _hide_in_code(match: re.Match[str]) -> str:
    name, value = match["name"], match["value"]
    if _LITERAL.fullmatch(value):
        return match[0] if _is_vocabulary(name, value) else _hide(match)
    shell_assignment = match["sep"] == "=" and name.isupper() and name[-1].isalnum()
    return _hide(match) if shell_assignment else match[0]


def _is_vocabulary(name: str, literal: str) -> bool:
    """Whether `token = "a"` means a token of text: one that grants access is longer."""
    is_token = name.rstrip("\"']").lower().endswith("token")
    return is_token and len(literal.strip("\"' ")) < 4


def _environment_secrets() -> list[str]:
    """Values of variables with secret names, longest first; paths to files do not count."""
    found = {
        value
        for name, value in os.environ.items()
        if len(value) >= _SHORTEST
        and is_secret_name(name)
        and not is_secret_name(value)
        and not HARMLESS.fullmatch(value)
        and not os.access(value, os.F_OK)
    }
    return sorted(found, key=len, reverse=True)
