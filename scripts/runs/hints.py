# SPDX-License-Identifier: MIT
"""What to type after something was said about a run, so that others see it, too."""

from lib.config.trackers import TRACKERS
from lib.runs.stored import StoredRun
from lib.text import one_line
from lib.tracking import cursor


def print_next(run: StoredRun) -> None:
    """Name the trackers that have the run, and the kept version that is older now."""
    known = [name for name in TRACKERS if cursor.load(run.dir, name) is not None]
    names, shown = ", ".join(known), one_line(run.name)
    if known and run.status == "running":
        print(f"{names}: the run's own tracking sends it within seconds")
    elif known:
        print(f"{names}: make track RUN={shown} TRACKER={','.join(known)} sends it")
    if run.kept:
        print(f"the kept version is without it: make keep RUN={shown} keeps the run again")
