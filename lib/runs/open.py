# SPDX-License-Identifier: MIT
"""Runs as objects, for Python and for the programs that only look.

from lib.runs import open_run, open_runs

for run in open_runs("outputs/training", where="optimizer=adamw and val/loss<3", sort="val/loss"):
    print(run.name, run.value("val/loss"))
run = open_run()                        # the latest
run.metric("train/loss").values, run.frame()
"""

from pathlib import Path

from lib.errors import BadUse
from lib.runs.query.select import select
from lib.runs.stored import StoredRun, find_runs, load_run, resolve

OUTPUT_DIR = "outputs/training"


def open_runs(
    output_dir: str | Path = OUTPUT_DIR,
    where: str = "",
    sort: str = "",
    limit: int | None = None,
) -> list[StoredRun]:
    """The runs that fit `where`, in the order of `sort`, at most `limit` of them (docs/runs.md).

    Without `sort` the oldest first; a missing `output_dir` has none. Raises BadUse for what is
    wrong in `where` or `sort`.
    """
    if limit is not None and limit < 0:
        raise BadUse(f"LIMIT={limit} must not be negative")
    return select(find_runs(output_dir, details=True), where, sort)[:limit]


def open_run(name: str = "", output_dir: str | Path = OUTPUT_DIR) -> StoredRun:
    """The run `name`: its name, the unique beginning of it, or a path; without it the latest.

    Raises BadUse, with near matches, when there is no such run, and UnreadableRun when its
    metadata are damaged.
    """
    return load_run(resolve(output_dir, name))
