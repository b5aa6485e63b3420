# SPDX-License-Identifier: MIT
"""Which checkpoints stay: the latest ones, the best one and the milestones."""

from collections.abc import Sequence

from .index import Entry


def removable(entries: Sequence[Entry], keep: int) -> list[Entry]:
    """Those of `entries`, the oldest first, that can go: all but the last `keep`, best, milestones.

    At least one stays: `keep` is 1 or more.
    """
    return [entry for entry in entries[:-keep] if not (entry.best or entry.milestone)]
