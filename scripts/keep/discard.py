# SPDX-License-Identifier: MIT
"""Throw runs away: their numbers stay in a ledger, and they themselves in a trash for 30 days.

    make discard RUN=name REASON="the loss diverges"
    make discard RUNS="a b lr_*" REASON="too slow" YES=1
    python -m scripts.keep.discard [--output-dir DIR] [--runs NAMES] [--reason TEXT] [--yes] [RUN]

On a terminal you are asked; elsewhere nothing is done without YES=1. Refused are a run in progress,
one that is being sent to a tracker, one that is kept, and one whose metadata cannot be read
(make clean-runs STATUS=unreadable); then none of the runs is discarded. outputs/training has the
line with settings, metrics and reason in discarded.jsonl, which git can have; a later training with
the same settings and seed says so. make undiscard takes a run back. Exit codes: 0 done; 1 some are
left; 2 bad use.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import os
import sys

from lib import text
from lib.errors import BadUse, Failure
from lib.runs.choose import chosen_runs
from lib.runs.keep import ledger
from lib.runs.keep.discard import DAYS, check, discard
from lib.runs.stored import StoredRun, disk_usage, load_run, resolve
from scripts.common import given_run, output_dir, parser
from scripts.keep.ask import agreed
from scripts.runs.clean import not_being_sent


def chosen(options: argparse.Namespace) -> list[StoredRun]:
    """The runs that RUN and RUNS name, all of which can be discarded. Raises BadUse, Failure."""
    folder = output_dir(options.output_dir)
    if bool(options.run) == bool(options.runs):
        raise BadUse("which runs? RUN=name, or RUNS='a b lr_*'")
    if options.run:
        runs = [load_run(resolve(folder, options.run))]
    else:
        runs = [load_run(run.dir) for run in chosen_runs(folder, runs=options.runs)]
    for run in runs:
        check(run)
    return runs


def main() -> int:
    flags = parser(__doc__)
    flags.add_argument("run", metavar="RUN", nargs="?", default=given_run())
    flags.add_argument("--runs", metavar="NAMES", default=os.environ.get("RUNS", ""))
    flags.add_argument("--reason", metavar="TEXT", default=os.environ.get("REASON", ""))
    flags.add_argument("--yes", action="store_true", default=os.environ.get("YES") == "1")
    options = flags.parse_args()
    runs = chosen(options)
    cells = [(run.name, run.status, text.size(disk_usage(run.dir))) for run in runs]
    print(*text.columns(cells, right=(2,)), sep="\n")
    if not agreed(f"discard {len(runs)} run{'' if len(runs) == 1 else 's'}", options.yes):
        print("nothing was discarded")
        return 0
    left = 0
    for run in runs:
        try:
            with not_being_sent(run):
                discard(run, options.reason)
        except (Failure, OSError) as error:
            left += 1
            print(text.one_line(f"{run.name}: {error}: left alone"), file=sys.stderr)
    done = len(runs) - left
    print(f"{done} discarded; their numbers are in {runs[0].dir.parent / ledger.NAME}")
    if done:
        print(f"for {DAYS} days: make undiscard RUN={runs[0].name}")
    return int(bool(left))


if __name__ == "__main__":
    run_main(main)
