# SPDX-License-Identifier: MIT
"""Keep secrets out of everything a run writes: keys, tokens, passwords, credentials in URLs.

    redact("wandb login --api-key 0123…")      -> "wandb login --api-key [redacted]"
    redact("https://me:pw@host/path")          -> "https://[redacted]@host/path"
    redact_tree({"api_key": "abc", "lr": 0.1}) -> {"api_key": "[redacted]", "lr": 0.1}

A value counts as secret by its own shape when that shape is unmistakable (ghp_…, hf_…, a URL with
a password), else only beside a name that says so. Git commits and hashes, which look just like
a W&B key, therefore stay.
"""

import re
from collections.abc import Mapping
from typing import Any

REDACTED = "[redacted]"

# Words that make a name secret when they are its last one: WANDB_API_KEY, hf-token, dbPassword.
_SECRET_WORDS = (
    r"(?:api[_-]?key|access[_-]?key(?:[_-]?id)?|secret[_-]?key|private[_-]?key|auth[_-]?key"
    r"|secret|token|passw(?:or)?d|passphrase|credentials?|authorization)"
)
_SECRET_NAME = re.compile(rf"(?:^|[_.\-\s]|(?<=[a-z])(?=[A-Z]))(?i:{_SECRET_WORDS})$")

_VALUE = r"""(?:"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s"',;&}\])]+)"""

# What is secret by its shape alone.
_SHAPES = re.compile(
    r"\b(?:"
    r"(?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{20,}"  # GitHub
    r"|github_pat_[A-Za-z0-9_]{20,}"
    r"|glpat-[A-Za-z0-9_-]{16,}"  # GitLab
    r"|hf_[A-Za-z0-9]{20,}"  # Hugging Face
    r"|sk-(?:[A-Za-z0-9]+-)*[A-Za-z0-9_]{20,}"  # OpenAI, Anthropic and others
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}"  # AWS
    r"|AIza[A-Za-z0-9_-]{35}"  # Google
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}"  # Slack
    r"|(?:wandb_v1|local)-?_?[0-9a-f]{40}"  # W&B, self-hosted
    r"|pypi-[A-Za-z0-9_-]{40,}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"  # JSON web token
    r")"
)

# user:password@ or token@ in a URL.
_URL = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/?#@'\"]+(?:@[^\s/?#@'\"]+)*@")

# --api-key VALUE, --api-key=VALUE, API_KEY=VALUE, "api_key": "VALUE", password VALUE (netrc),
# Authorization: Bearer VALUE
_NAMED = re.compile(
    rf"""(?P<name>(?<![A-Za-z0-9])["']?-{{0,2}}(?:[A-Za-z0-9]+[_.-])*{_SECRET_WORDS}["']?)
    (?P<sep>\s*[=:]\s*(?:(?:bearer|basic|token)\s+)?|(?<=[a-z])\s+)(?P<value>{_VALUE})""",
    re.IGNORECASE | re.VERBOSE,
)


def redact(text: str) -> str:
    """`text` with every secret in it replaced by "[redacted]"."""
    text = _URL.sub(rf"\1{REDACTED}@", text)
    text = _NAMED.sub(_keep_name, text)
    return _SHAPES.sub(REDACTED, text)


def _keep_name(match: re.Match[str]) -> str:
    return f"{match['name']}{match['sep']}{REDACTED}"


def redact_tree(value: Any) -> Any:
    """A copy of nested mappings and sequences with secrets replaced, by name and by shape."""
    if isinstance(value, Mapping):
        return {
            key: REDACTED if _is_secret(key, item) else redact_tree(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return type(value)(redact_tree(item) for item in value)
    return redact(value) if isinstance(value, str) else value


def _is_secret(key: Any, value: Any) -> bool:
    return isinstance(value, str) and bool(value) and bool(_SECRET_NAME.search(str(key)))
