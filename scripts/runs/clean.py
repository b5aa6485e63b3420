# SPDX-License-Identifier: MIT
"""Remove runs of which nothing can be made any more.

    make clean-runs                                  what failed or was interrupted before its first
                                                     checkpoint
    make clean-runs STATUS=failed,interrupted        all runs with these statuses
    python -m scripts.runs.clean [--output-dir DIR] [--status NAMES] [--yes]

The statuses are failed, interrupted, completed and unreadable. The runs and their sizes are listed
first. On a terminal you are asked; elsewhere nothing is removed without YES=1. A run in progress is
never touched, nor is one that another process is sending to a tracker. Exit codes: 0 all removed,
or nothing to remove; 1 some are left; 2 bad use.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from lib import text
from lib.errors import BadUse, Failure, did_you_mean
from lib.runs.removal import InUse, is_dead_end, remove, sweep_removed
from lib.runs.stored import StoredRun, disk_usage, find_runs
from lib.tracking import cursor as cursors
from scripts.common import output_dir, parser

STATUSES = ("failed", "interrupted", "completed", "unreadable")


def chosen(runs: list[StoredRun], statuses: str) -> list[StoredRun]:
    """The runs with one of the `statuses`, separated by commas; without any, the dead ends.

    Raises BadUse for a status that there is not, or that must not be removed.
    """
    wanted = statuses.replace(",", " ").split()
    for status in wanted:
        if status not in STATUSES:
            hint = did_you_mean(status, STATUSES)
            raise BadUse(f"STATUS={statuses}: must be some of {', '.join(STATUSES)}{hint}")
    return [run for run in runs if run.status in wanted or (not wanted and is_dead_end(run))]


def agreed(count: int, size: int, yes: bool) -> bool:
    """Whether the user wants it. Raises BadUse when there is nobody to ask."""
    what = f"{count} run{'' if count == 1 else 's'}, {text.size(size)}"
    if yes:
        return True
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BadUse(f"{what}: nothing was removed; to remove them, add YES=1")
    return input(f"remove {what}? [y/N] ").strip().lower() in ("y", "yes")


@contextmanager
def not_being_sent(run: StoredRun) -> Iterator[None]:
    """Keep forwarders from the run within the block. Raises InUse if one is delivering it."""
    with ExitStack() as stack:
        for path in sorted((run.dir / "tracking").glob("*.lock")):
            take = stack.enter_context(cursors.exclusive(run.dir, path.stem))
            if not take():
                raise InUse(f"{run.name} is being sent to {path.stem}")
        yield


def remove_all(runs: list[StoredRun]) -> list[str]:
    """Remove the runs; returns why those that are left are left."""
    left = []
    for run in runs:
        try:
            with not_being_sent(run):
                remove(run)
        except Failure as error:
            left.append(f"{error}: left alone")
        except FileNotFoundError:  # another process was quicker
            continue
        except (OSError, ValueError) as error:
            left.append(f"{run.name}: {error}")
    return left


def print_list(runs: list[StoredRun]) -> int:
    """A line for each run; returns their size."""
    now, sizes = datetime.now().astimezone(), [disk_usage(run.dir) for run in runs]
    started = [run.started() for run in runs]
    ages = [text.age((now - start).total_seconds()) if start else "" for start in started]
    cells = [
        (run.name, run.status, age, text.size(size))
        for run, age, size in zip(runs, ages, sizes, strict=True)
    ]
    print(*text.columns([("run", "status", "age", "size"), *cells], right=(2, 3)), sep="\n")
    return sum(sizes)


def options() -> argparse.Namespace:
    flags = parser(__doc__)
    flags.add_argument("--status", metavar="NAMES", default=os.environ.get("STATUS", ""))
    flags.add_argument("--yes", action="store_true", default=os.environ.get("YES") == "1")
    return flags.parse_args()


def main() -> int:
    given = options()
    where = Path(output_dir(given.output_dir))
    runs = chosen(find_runs(where), given.status)
    sweep_removed(where)
    if not runs:
        kind = (
            f"{given.status} run" if given.status else "run that ended before its first checkpoint"
        )
        print(f"no {kind} in {where}")
        return 0
    size = print_list(runs)
    if not agreed(len(runs), size, given.yes):
        print("nothing was removed")
        return 0
    left = remove_all(runs)
    freed = size - sum(disk_usage(run.dir) for run in runs)
    print(f"{len(runs) - len(left)} removed, {text.size(freed)} are free again")
    for reason in left:
        print(text.one_line(reason), file=sys.stderr)
    return int(bool(left))


if __name__ == "__main__":
    run_main(main)
