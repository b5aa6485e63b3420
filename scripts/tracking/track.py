# SPDX-License-Identifier: MIT
"""Send a run to trackers: one that was down, or was not chosen while it trained.

    make track RUN=name TRACKER=mlflow
    python -m scripts.tracking.track [--output-dir DIR] [RUN] [--tracker NAMES]

The run may be completed, interrupted, failed or in progress; in progress, it is followed to its
end. A tracker gets only what it does not have, so repeating the command changes nothing. Without
TRACKER the run goes to the trackers that it was configured for. Exit code 1 if something is
missing.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os
import subprocess
import sys
import time
from pathlib import Path

from lib.config.trackers import SYMBOLS, enabled_trackers, parse_trackers
from lib.errors import BadUse, Failure
from lib.tracking import cursor as cursors
from lib.tracking.describe import describe
from lib.tracking.launch import check, environment, forwarder_command, outcome
from scripts.common import chosen_run, run_parser

_REPORT_S = 5.0


def choose(run_dir: Path, names: str) -> tuple[str, ...]:
    """The trackers named, else those of the run's configuration. Raises BadUse for none, and
    Failure for a run whose description is damaged.
    """
    try:
        settings = describe(run_dir).settings
    except (OSError, ValueError) as error:
        raise Failure(f"{run_dir.name}: {error}") from error
    if names:
        chosen = parse_trackers(names)
    else:
        chosen = enabled_trackers({**dict.fromkeys(SYMBOLS.values(), False), **settings})
    chosen = check(chosen, settings, print)
    if not chosen:
        raise BadUse(f"{run_dir.name}: no tracker to send it to: add TRACKER=mlflow, for example")
    return chosen


def check_delivery(run_dir: Path, trackers: tuple[str, ...]) -> None:
    """Raise Failure for a run that has no journal or cannot be written, and while another process
    delivers it.
    """
    journal = run_dir / "logs" / "metrics.jsonl"
    if not journal.is_file():
        raise Failure(f"{journal}: there is no such file, so nothing can be sent")
    try:
        with (run_dir / "logs" / "tracking.log").open("a"):
            pass
        for name in trackers:
            with cursors.exclusive(run_dir, name) as lock:
                if not lock():
                    raise Failure(f"{name}: another process is delivering this run to it already")
    except OSError as error:
        raise Failure(
            f"{run_dir} cannot be written ({error.strerror}: {error.filename}), and how far each "
            "tracker has got is kept in it.\nCopy the run to where you may write, then: "
            "make track RUN=path/of/the/copy TRACKER=…"
        ) from error


def follow(process: "subprocess.Popen[bytes]", run_dir: Path, trackers: tuple[str, ...]) -> None:
    """Print every few seconds how far each tracker is, until the forwarder ends."""
    while True:
        try:
            process.wait(_REPORT_S)
            return
        except subprocess.TimeoutExpired:
            states = {name: cursors.load(run_dir, name) for name in trackers}
            rows = [f"{name} {state.rows if state else 0:,} rows" for name, state in states.items()]
            print(f"{time.strftime('%H:%M:%S')}  {', '.join(rows)}", flush=True)


def main() -> int:
    flags = run_parser(__doc__)
    flags.add_argument("--tracker", metavar="NAMES", default=os.environ.get("TRACKER", ""))
    arguments = flags.parse_args()
    run_dir = chosen_run(arguments)
    trackers = choose(run_dir, arguments.tracker)
    check_delivery(run_dir, trackers)
    process = subprocess.Popen(forwarder_command(run_dir, trackers), env=environment({}))
    try:
        follow(process, run_dir, trackers)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        print("stopped; the same command continues from here", file=sys.stderr)
        raise
    for name in trackers:
        print(outcome(run_dir, name))
    return int(process.returncode != 0)


if __name__ == "__main__":
    run_main(main)
