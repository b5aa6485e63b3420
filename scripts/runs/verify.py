# SPDX-License-Identifier: MIT
"""Compare the files of a run with their digests and with each other.

    make verify [RUN=name|all]
    python -m scripts.runs.verify [--output-dir DIR] [RUN|all]

RUN is the name of a run, its unique beginning, or a path; without it, the latest run. Looked at are
metadata.yaml; .config, defconfig, config.yaml and the hash of the settings; each row of the
journal; the SHA-256 of each checkpoint, and which run it belongs to. Says what is damaged, what can
still be used, and what to type next. A run in progress is not disturbed.

Exit codes: 0 everything is whole, 1 something is damaged, 2 bad use.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lib import text
from lib.runs.keep.partial import missing
from lib.runs.stored import UnreadableRun, find_runs, load_run
from lib.runs.verify import Part, verify_files
from lib.train.checkpoint.verify import Checked, verify_checkpoints
from scripts.common import chosen_run, output_dir, run_parser


def verify(run: Path, name: str) -> bool:
    """Print what there is to say about the run that RUN=`name` names; returns if it is whole."""
    try:
        fields = load_run(run).metadata  # marks it interrupted if its process is gone
    except UnreadableRun:
        fields = {}
    checked = verify_checkpoints(run, fields)
    parts = [*verify_files(run), checked.part]
    damaged = any(part.damage for part in parts)
    partial = missing(run)
    state = f"PARTIAL: {partial}" if partial else "DAMAGED" if damaged else "whole"
    print(text.one_line(f"{run.name}: {state}"))
    rows = [row for part in parts for row in _lines(part)]
    if not partial:
        rows += [("next", command) for command in _next(run, name, fields, checked, damaged)]
    print(*(f"  {line}" for line in text.columns(rows)), sep="\n")
    return not damaged


def _lines(part: Part) -> Iterator[tuple[str, str]]:
    yield part.name, part.found or "cannot be read"
    yield from (("", f"DAMAGED: {what}") for what in part.damage)
    yield from (("", f"note: {what}") for what in part.remarks)


def _next(
    run: Path, name: str, fields: dict[str, Any], checked: Checked, damaged: bool
) -> Iterator[str]:
    """What can be done with the run, as commands."""
    status, usable = fields.get("status"), checked.usable
    if status in ("failed", "interrupted") and usable:
        yield f"make resume RUN={name}    (goes on after step {usable[-1]})"
    elif status in ("failed", "interrupted"):
        yield f"KCONFIG_CONFIG={run}/.config make    (nothing to resume: the same from the start)"
    elif damaged and checked.weights and status != "running":
        newest = checked.weights[-1]
        yield f"make SET='INIT_FROM={newest}'    (a new run from weights that are whole)"
    if damaged:
        yield f"make show RUN={name}    (what else is known of it)"


def main() -> int:
    options = run_parser(__doc__).parse_args()
    if options.run != "all":
        run = chosen_run(options)
        return int(not verify(run, str(run) if "/" in options.run else run.name))
    where = output_dir(options.output_dir)
    whole = {run.name: verify(run.dir, run.name) for run in find_runs(where)}
    damaged = [name for name, is_whole in whole.items() if not is_whole]
    print(f"{len(whole)} runs in {where}, {len(damaged)} damaged", *map(text.one_line, damaged))
    return int(bool(damaged))


if __name__ == "__main__":
    run_main(main)
