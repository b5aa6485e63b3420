# SPDX-License-Identifier: MIT
"""Errors that a user can act on: a program ends with their message and exit code (lib/cli.py).

`near` and `did_you_mean` find what a wrong name was meant to be.
"""

from collections.abc import Iterable, Mapping


class Failure(Exception):
    """Something outside the program went wrong; the message says what and what to do."""

    exit_code = 1


class BadUse(Failure):
    """The user asked for something that is not possible; the message says what is allowed."""

    exit_code = 2


def near(
    word: str, names: Iterable[str], n: int = 3, synonyms: Mapping[str, str] | None = None
) -> list[str]:
    """Up to `n` of `names` that `word` probably means, the likeliest first.

    First what `synonyms` (lower case, words joined by _) say that it means, then names that contain
    it, as whole words (`run-name`: TRACKER_RUN_NAME) or in part, the shortest first, then names
    with a similar spelling. Case, leading hyphens, and - or _ between words make no difference.
    """
    import difflib  # only for a message

    by_key = {_key(name): name for name in names}
    key = _key(word)
    meant = [_key((synonyms or {}).get(key, ""))]
    holding = sorted(by_key, key=len)
    by_word = [name for name in holding if f"_{key}_" in f"_{name}_"]
    by_part = [name for name in holding if len(key) > 2 and key in name]
    alike = difflib.get_close_matches(key, by_key, n)
    found = dict.fromkeys([*meant, *by_word, *by_part, *alike])
    return [by_key[name] for name in found if name in by_key][:n]


def did_you_mean(
    word: str, names: Iterable[str], n: int = 3, synonyms: Mapping[str, str] | None = None
) -> str:
    """`; did you mean A or B?` with what is `near`, or nothing."""
    found = near(word, names, n, synonyms)
    return f"; did you mean {' or '.join(found)}?" if found else ""


def _key(name: str) -> str:
    return name.strip("-").replace("-", "_").lower()
