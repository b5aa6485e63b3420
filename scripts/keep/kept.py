# SPDX-License-Identifier: MIT
"""List the runs that are kept, and where their files are.

    make kept [FORMAT=table|json] [REMOTE=1]
    python -m scripts.keep.kept [--output-dir DIR] [--format table|json] [--remote]

Columns: here (in the output directory: yes, no, partial, changed since it was kept, or unknown when
the cache does not say), cache (DVC's on this machine), and with REMOTE=1 the DVC remote, which
takes seconds to ask: yes, no, or lost when neither has all files.
Exit codes: 0 done; 1 failure; 2 bad use.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import json
import os

from lib import text
from lib.errors import BadUse
from lib.runs.keep.kept import KeptRun, damaged_names, kept_runs
from lib.runs.keep.remote import remote_states
from scripts.common import parser
from scripts.keep.common import repository

FORMATS = ("table", "json")
HEADER = ("run", "status", "version", "files", "size", "here", "cache", "remote", "kept", "message")


def row(run: KeptRun) -> tuple[str, ...]:
    """The cells of a run under HEADER."""
    return (
        run.name,
        str(run.summary.get("status", "")),
        (run.tags[-1] if run.tags else "no tag") if run.is_committed else "not committed",
        str(run.pointer.count),
        text.size(run.pointer.size),
        run.here,
        run.in_cache,
        run.remote or "?",
        str(run.summary.get("kept_at", ""))[:10],
        str(run.summary.get("message", "")),
    )


def main() -> int:
    flags = parser(__doc__)
    flags.add_argument("--format", default=os.environ.get("FORMAT") or "table")
    flags.add_argument("--remote", action="store_true", default=os.environ.get("REMOTE") == "1")
    options = flags.parse_args()
    if options.format not in FORMATS:
        raise BadUse(f"FORMAT={options.format}: must be {' or '.join(FORMATS)}")
    where = repository(options.output_dir)
    runs = kept_runs(where)
    if options.remote and runs:
        states = remote_states(where, [run.name for run in runs])
        for run in runs:
            run.remote = states[run.name]
    if options.format == "json":
        print(json.dumps([run.as_dict() for run in runs], indent=2))
    elif runs:
        print(*text.columns([HEADER, *map(row, runs)], right=(3, 4)), sep="\n")
        if not all(run.is_committed for run in runs):
            print("not committed: make keep RUN=name again, or git add and git commit")
    else:
        print(f"no run in {where.output_dir} is kept: make keep RUN=name")
    if options.format == "table":
        for name in map(text.one_line, damaged_names(where.output_dir)):
            print(f"{name}.dvc cannot be read: make keep RUN={name} writes it anew")
    return 0


if __name__ == "__main__":
    run_main(main)
