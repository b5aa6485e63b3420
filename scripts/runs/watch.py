# SPDX-License-Identifier: MIT
"""Watch runs in the terminal, also those of other processes, and over SSH.

    make watch [RUN=name]
    python -m scripts.runs.watch [--output-dir DIR] [RUN]

Shows the runs, those in progress first, and of one of them the curves, latest values, speed,
machine, progress and last lines; ? lists the keys. RUN is the name of a run, its unique beginning,
or a path; without it, the first of the list. Where the output is no terminal, it prints once what
there is, and ends. No training is disturbed: journals are only read, and no lock is taken that a
training needs.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os
import sys
from pathlib import Path

from lib import text
from lib.errors import BadUse
from lib.runs.stored import resolve
from lib.runs.watch.listing import Listing
from lib.runs.watch.panel import snapshot
from lib.runs.watch.tail import latest_step
from scripts.common import output_dir, run_parser

_RUNS, _LINES = 20, 5  # of a snapshot


def print_snapshot(listing: Listing, name: str) -> None:
    """What there is to see now, as plain text."""
    entries = listing.entries(_RUNS)
    if not entries:
        print(f"no runs in {text.one_line(listing.output_dir)} yet: train one with `make`")
        return
    steps = {e.name: latest_step(e.dir) for e in entries if e.status == "running"}
    known = {run: step for run, step in steps.items() if step is not None}
    chosen = listing.entry(name) if name else entries[0]
    print(*snapshot(entries, chosen, known, _LINES), sep="\n")
    if len(listing) > len(entries):
        print(f"\n{len(entries)} of {len(listing):,} runs; `make runs` lists all of them")


def check_terminal() -> None:
    """Raise BadUse for a terminal on which nothing can be drawn."""
    if os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        raise BadUse(
            f"TERM={os.environ.get('TERM', '')}: nothing can be drawn on this terminal. For a look "
            "as plain text: make watch | cat. If it is a usual one: TERM=xterm-256color make watch"
        )


def main() -> int:
    options = run_parser(__doc__).parse_args()
    folder, name = Path(output_dir(options.output_dir)), ""
    if options.run:
        directory = resolve(folder, options.run)
        folder, name = directory.parent, directory.name
    listing = Listing(folder, name)
    listing.scan()
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print_snapshot(listing, name)
        return 0
    check_terminal()
    from lib.runs.watch.app import WatchApp  # textual is needed, and loaded, only here

    return WatchApp(listing, name).run() or 0


if __name__ == "__main__":
    run_main(main)
