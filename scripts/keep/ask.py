# SPDX-License-Identifier: MIT
"""Asking before something is taken away."""

import sys

from lib.errors import BadUse


def agreed(question: str, yes: bool) -> bool:
    """Whether the user wants it. Raises BadUse when there is nobody to ask."""
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadUse(f"{question}: nothing was done; to do it, add YES=1")
    return input(f"{question}? [y/N] ").strip().lower() in ("y", "yes")
