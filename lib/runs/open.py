# SPDX-License-Identifier: MIT
"""Runs as objects, for Python and for the programs that only look.

from lib.runs import open_run, open_runs

for run in open_runs("outputs/training", where="optimizer=adamw and val/loss<3", sort="val/loss"):
    print(run.name, run.value("val/loss"))
run = open_run()                        # the latest
run.metric("train/loss").values, run.frame()
"""

import sqlite3
from contextlib import suppress
from pathlib import Path

from ..errors import BadUse
from .index.catalog import Catalog, open_catalog
from .query.select import Names, select
from .stored import run_named
from .stored_run import StoredRun, load_run

OUTPUT_DIR = "outputs/training"


def open_runs(
    output_dir: str | Path = OUTPUT_DIR,
    where: str = "",
    sort: str = "",
    limit: int | None = None,
) -> list[StoredRun]:
    """The runs that fit `where`, in the order of `sort` (docs/runs.md).

    With `limit` at most so many: the first ones; without `sort` the newest, the oldest of them
    first. A missing `output_dir` has none. Raises BadUse for what is wrong in `where` or `sort`.
    """
    if limit is not None and limit < 0:
        raise BadUse(f"LIMIT={limit} must not be negative")
    catalog = open_catalog(output_dir)
    return limited(select(CatalogNames(catalog), where, sort), sort, limit)


def limited(runs: list[StoredRun], sort: str, limit: int | None) -> list[StoredRun]:
    """At most `limit` runs: the first ones in the order of `sort`, without it the last ones."""
    if limit is None or limit >= len(runs):
        return runs
    return runs[:limit] if sort.strip() else runs[len(runs) - limit :]


class CatalogNames(Names):
    """What can be asked of the runs of a catalog."""

    def __init__(self, catalog: Catalog) -> None:
        super().__init__(catalog.runs())
        self._catalog = catalog

    def has_metric(self, name: str) -> bool:
        with suppress(sqlite3.Error):  # found damaged only now
            return self._catalog.has_metric(name)
        return super().has_metric(name)

    def metrics(self) -> set[str]:
        with suppress(sqlite3.Error):
            return self._catalog.metrics()
        return super().metrics()


def open_run(name: str = "", output_dir: str | Path = OUTPUT_DIR) -> StoredRun:
    """The run `name`: its name, the unique beginning of it, or a path; without it the latest.

    Raises BadUse, with near matches, when there is no such run, and UnreadableRun when its
    metadata are damaged.
    """
    return load_run(run_named(output_dir, name))
