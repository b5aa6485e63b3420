# SPDX-License-Identifier: MIT
"""Write a report of one or several runs: a single HTML file that opens without a network.

    make report [RUN=name | RUNS="a b*" | WHERE="optimizer=adamw"] [OUT=file.html]
    python -m scripts.runs.report [--output-dir DIR] [--where WHERE] [--out FILE] [RUN ...]

Without RUN, RUNS and WHERE, of the latest run. The report of one run is written into its directory,
as report.html; that of several beside them. A run may be in progress: the report shows what it has
logged so far. The file appears whole or not at all, and replaces an older report of the same name.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import os
from pathlib import Path

from lib import text
from lib.errors import BadUse, Failure
from lib.runs.report.page import write_report
from lib.runs.status import UnreadableRun
from lib.runs.stored import StoredRun, load_run, resolve
from scripts.common import chosen_runs, given_run, output_dir, runs_parser


def _runs(options: argparse.Namespace) -> list[StoredRun]:
    """The runs that are given, or the latest one. Raises BadUse, UnreadableRun."""
    one = given_run()
    if not options.runs and not options.where:
        return [_read(resolve(output_dir(options.output_dir), one))]
    if one:
        raise BadUse("give either RUN, or RUNS and WHERE")
    return chosen_runs(options)


def _read(directory: Path) -> StoredRun:
    """The run; with damaged metadata the journal may be worth a report all the same."""
    try:
        return load_run(directory)
    except UnreadableRun as error:
        if not (directory / "logs" / "metrics.jsonl").is_file():
            raise
        return StoredRun(directory, {"status": "unreadable", "error": str(error)})


def _place(options: argparse.Namespace, runs: list[StoredRun]) -> Path:
    """Where the report goes. Raises BadUse for what cannot be one."""
    if not options.out:
        alone = len(runs) == 1 and runs[0].dir.is_dir()  # a kept run need not be here
        folder = runs[0].dir if alone else Path(output_dir(options.output_dir))
        return folder / "report.html"
    path = Path(options.out)
    if path.suffix.lower() not in (".html", ".htm"):
        raise BadUse(f"OUT={path}: the name of a report ends in .html")
    if path.is_dir() or not path.parent.is_dir():
        wrong = "is a directory" if path.is_dir() else f"there is no directory {path.parent}"
        raise BadUse(f"OUT={path}: {wrong}; give the path of a file in a directory that exists")
    return path


def main() -> int:
    flags = runs_parser(__doc__)
    flags.add_argument("--out", metavar="FILE", default=os.environ.get("OUT", ""))
    options = flags.parse_args()
    runs = _runs(options)
    path = _place(options, runs)
    try:
        write_report(runs, path)
    except OSError as error:
        raise Failure(
            f"cannot write {path}: {error.strerror}. Free some space or choose another place: "
            "OUT=file.html"
        ) from error
    print(text.one_line(path))
    print(f"{len(runs)} run{'s' * (len(runs) > 1)}, {text.size(path.stat().st_size)}")
    return 0


if __name__ == "__main__":
    run_main(main)
