# SPDX-License-Identifier: MIT
"""Errors that a user can act on: a program ends with their message and exit code (lib/cli.py)."""


class Failure(Exception):
    """Something outside the program went wrong; the message says what and what to do."""

    exit_code = 1


class BadUse(Failure):
    """The user asked for something that cannot be; the message says what is allowed."""

    exit_code = 2
