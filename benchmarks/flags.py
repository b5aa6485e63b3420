# SPDX-License-Identifier: MIT
"""Flags of a train.py from a dictionary."""

from typing import Any


def as_argv(flags: dict[str, Any]) -> list[str]:
    """{"batch-size": 4, "plots": False} as ["--batch-size", "4", "--no-plots"]."""
    argv = []
    for name, value in flags.items():
        if isinstance(value, bool):
            argv.append(f"--{name}" if value else f"--no-{name}")
        else:
            argv += [f"--{name}", str(value)]
    return argv
