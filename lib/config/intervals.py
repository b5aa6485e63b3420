# SPDX-License-Identifier: MIT
"""Real numbers in Kconfig, which knows none: a `string` symbol whose help ends with a line such as

    Real number in [0, 1).

is a real in that interval: `[` and `]` include the bound, `(` and `)` leave it out. A bound may be
`inf`.
"""

import math
import re
from typing import NamedTuple

_INTERVAL = re.compile(r"Real number in ([\[(])(\S+), (\S+)([\])])\.\s*\Z")


class Interval(NamedTuple):
    """The reals a symbol may take."""

    low: float
    high: float
    low_included: bool
    high_included: bool

    def __contains__(self, value: float) -> bool:
        above = value >= self.low if self.low_included else value > self.low
        below = value <= self.high if self.high_included else value < self.high
        return above and below

    def __str__(self) -> str:
        left, right = "(["[self.low_included], ")]"[self.high_included]
        return f"{left}{self.low:g}, {self.high:g}{right}"


def interval_of(help_text: str) -> Interval | None:
    """What the last line of a Kconfig help text declares; None for a symbol that is not a real."""
    match = _INTERVAL.search(help_text)
    if not match:
        return None
    left, low, high, right = match.groups()
    return Interval(float(low), float(high), left == "[", right == "]")


def parse_real(text: str) -> float | None:
    """The number that `text` writes in decimal (0.1, 1e-3, inf); None when it is none."""
    try:
        value = float(text) if text.isascii() and "_" not in text and text == text.strip() else None
    except ValueError:
        return None
    return None if value is None or math.isnan(value) else value
