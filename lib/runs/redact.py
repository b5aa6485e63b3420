# SPDX-License-Identifier: MIT
"""Keep secrets out of everything a run writes: keys, tokens, passwords, credentials in URLs.

    redact("API_KEY=0123abc")                  -> "API_KEY=[redacted]"
    redact("https://me:pw@host/path")          -> "https://[redacted]@host/path"
    redact_command(["x", "--token", "a b"])    -> "x --token '[redacted]'"
    redact_tree({"api_key": "abc", "lr": 0.1}) -> {"api_key": "[redacted]", "lr": 0.1}

A value counts as secret by its own shape where that is unmistakable (ghp_…, hf_…, user:password@
in a URL), where it is the value of an environment variable with a secret name, and beside a name
that says so. Git commits and hashes look just like a W&B key and stay, since no name accuses them.
"""

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

REDACTED = "[redacted]"

# The last word of a name that holds a secret: WANDB_API_KEY, hf-token, dbPassword; but eos_token
# and its like are vocabulary.
_WORD = (
    r"(?i:api[_-]?keys?|access[_-]?key(?:[_-]?id)?|(?:secret|private|auth|account)[_-]?key|secret"
    r"|(?<!(?:eos|bos|eot|pad|unk|sep|cls|end)[_-])(?<!mask[_-])token"
    r"|passw(?:or)?d|passphrase|credentials?|authorization)"
)
_BEGIN = r"(?:(?<![A-Za-z0-9])|(?<=[a-z])(?=[A-Z]))"
_SECRET_NAME = re.compile(rf"{_BEGIN}{_WORD}$")

_VALUE = r"""(?P<value>"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|\S*[^\s"',;)\]}])"""
_NAMED = [
    # API_KEY=VALUE, "api_key": "VALUE", Authorization: Bearer VALUE
    re.compile(
        rf"(?P<name>{_BEGIN}{_WORD}[\"']?)"
        rf"(?P<sep>[ \t]*[=:][ \t]*(?:(?i:bearer|basic|token)[ \t]+)?){_VALUE}"
    ),
    # --api-key VALUE
    re.compile(rf"(?P<name>(?<![^\s'\"])--?[\w.-]*{_WORD})(?P<sep>[ \t]+){_VALUE}"),
    # a line of .netrc: login NAME password VALUE
    re.compile(rf"(?P<name>\blogin\s+\S+\s+password)(?P<sep>\s+){_VALUE}"),
    # wandb login VALUE; the key … VALUE
    re.compile(
        rf"(?P<name>\bwandb\s+login|{_BEGIN}{_WORD}|(?i:\bapi key|\bbearer))"
        r"(?P<sep>[^\w\n]{1,4})(?P<value>[\w.~+/-]{32,})"
    ),
]
# References, placeholders and plain absences are no secrets.
_HARMLESS = re.compile(
    r"""["']?(?:|~|[yn]|(?i:null|none|true|false)|\[redacted\]?|<[^<>]*>|\$\{?[A-Z_][A-Z0-9_]*\}?)
    ["']?[,;)\]}]*""",
    re.VERBOSE,
)

_URL = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]{1,20}://)(?!git@)[^\s/?#'\"]+@")
_SHAPES = re.compile(
    r"\bgh[opsur]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}"  # GitHub
    r"|\bglpat-[\w-]{16,}"  # GitLab
    r"|\bhf_[A-Za-z0-9]{20,}"  # Hugging Face
    r"|\bsk-(?=[A-Za-z_-]*\d)[\w-]{20,}"  # language model services
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"  # AWS
    r"|\bAIza[\w-]{35}"  # Google
    r"|\bxox[a-z]-[\w-]{10,}"  # Slack
    r"|\bwandb_v1_\w{30,}|\blocal-[0-9a-f]{40}\b"  # W&B
    r"|\bpypi-[\w-]{40,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}"  # JSON web token
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?"
)


def redact(text: str, *, code: bool = False) -> str:
    """`text` with every secret in it replaced by "[redacted]"; doing so twice changes nothing.

    In source code (`code`) the right side of `token = line.split()` is no secret: beside a name,
    only string literals and shell assignments count there.
    """
    for secret in _environment_secrets():
        text = text.replace(secret, REDACTED)
    text = _URL.sub(rf"\1{REDACTED}@", text)
    for pattern in _NAMED:
        text = pattern.sub(_hide_in_code if code else _hide, text)
    return _SHAPES.sub(REDACTED, text)


def redact_command(arguments: Sequence[str]) -> str:
    """A command line as a shell would take it, without its secrets."""
    kept: list[str] = []
    after_secret_flag = False
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if after_secret_flag and not argument.startswith("-"):
            kept.append(REDACTED)
        elif equals and is_secret_name(name) and not _HARMLESS.fullmatch(value):
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


def is_secret_name(name: str) -> bool:
    """Whether the value of something called `name` is a secret."""
    return _SECRET_NAME.search(name) is not None


def _hides(key: Any, value: Any) -> bool:
    if isinstance(value, str) and _HARMLESS.fullmatch(value):
        return False
    return isinstance(value, (str, bytes, list, tuple)) and is_secret_name(str(key))


def _hide(match: re.Match[str]) -> str:
    if _HARMLESS.fullmatch(match["value"]):
        return match[0]
    quote = match["value"][0] if match["value"][0] in "\"'" else ""
    return f"{match['name']}{match['sep']}{quote}{REDACTED}{quote}"


def _hide_in_code(match: re.Match[str]) -> str:
    literal = match["value"][0] in "\"'"
    assignment = match["sep"] == "=" and match["name"].isupper()
    return _hide(match) if literal or assignment else match[0]


def _environment_secrets() -> list[str]:
    found = {v for k, v in os.environ.items() if len(v) >= 8 and is_secret_name(k)}
    return sorted(found, key=len, reverse=True)
