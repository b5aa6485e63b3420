# SPDX-License-Identifier: MIT
"""Trackio: rows go into its project database through its own storage class.

Trackio's log() queues rows in memory under random names, which loses rows on a kill and doubles
them on a retry. The storage class underneath accepts a name for each row and ignores a row whose
name it has. Rows are named {run id}-{index}, which makes every write idempotent.
"""

import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

from trackio import Histogram, Markdown, Table
from trackio.artifact import Artifact
from trackio.media.image import TrackioImage
from trackio.media.utils import get_project_media_path
from trackio.sqlite_storage import SQLiteStorage
from trackio.utils import MEDIA_DIR, RESERVED_KEYS

from ...advice import typed
from .. import media
from . import Backend, Row


class Trackio(Backend):
    """Scalars, images, histograms, tables, text and artifacts in Trackio's local database."""

    batch_rows: ClassVar[int] = 1000

    def open(self) -> int | None:
        project = self.run.project
        SQLiteStorage.validate_project_name(project)
        self._database = SQLiteStorage.init_db(project)
        self._config: dict[str, Any] | None = None
        show = typed("make dashboard", f"trackio show --project {project}")
        self.where = f"{show}, project {project}, run {self.run.name}"
        return 0 if self._some_row() is None else None

    def describe(self, facts: Mapping[str, Any]) -> None:
        run = self.run
        about = {"tags": list(run.tags), "notes": run.notes, "job_type": run.job_type}
        about |= {f"conclusion.{name}": text for name, text in run.conclusion.items()}
        config = {**facts, **about, "_Group": run.group or None, "_Username": None}
        self._config = config | {"_Created": _iso(run.started)}
        # The configuration comes with a row: one that is there already, or the first.
        if (index := self._some_row()) is not None:
            self._put([Row(index, 0, run.started)])

    def write(self, rows: Sequence[Row]) -> None:
        system = [row for row in rows if _is_system(row)]
        self._put([row for row in rows if not _is_system(row)])
        if system:
            SQLiteStorage.bulk_log_system(
                self.run.project,
                self.run.name,
                [_renamed(row.metrics) for row in system],
                timestamps=[_iso(row.time) for row in system],
                log_ids=[self._log_id(row) for row in system],
                run_id=self.run.id,
            )

    def finish(self, status: str, ended: float | None) -> None:
        """Trackio does not know finished runs; it shows the times of the rows."""

    def _some_row(self) -> int | None:
        """The index of any row that the database has of this run."""
        query = "SELECT log_id FROM metrics WHERE run_id = ? AND log_id IS NOT NULL LIMIT 1"
        with closing(sqlite3.connect(self._database, timeout=30)) as database:
            found = database.execute(query, (self.run.id,)).fetchone()
        return None if found is None else int(found[0].rpartition("-")[2])

    def _put(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        SQLiteStorage.bulk_log(
            self.run.project,
            self.run.name,
            [self._values(row) for row in rows],
            steps=[row.step for row in rows],
            timestamps=[_iso(row.time) for row in rows],
            config=self._config,
            log_ids=[self._log_id(row) for row in rows],
            run_id=self.run.id,
        )
        self._config = None

    def _log_id(self, row: Row) -> str:
        return f"{self.run.id}-{row.index}"

    def _values(self, row: Row) -> dict[str, Any]:
        values: dict[str, Any] = _renamed(row.metrics)
        for name, item in row.media.items():
            with self.encoding(row, name):
                values[name] = self._medium(row, name, item)
        return values

    def _medium(self, row: Row, name: str, item: dict[str, Any]) -> Any:
        kind = item["type"]
        if kind in ("image", "figure"):
            path = media.file_of(self.run.dir, item)
            return self._image(row, name, path, item.get("caption") or "")
        if kind == "histogram":
            return Histogram(np_histogram=(item["counts"], item["edges"]))._to_dict()
        if kind in ("table", "confusion_matrix"):
            columns, rows = media.read_table(self.run.dir, item)
            table = Table(columns=columns, data=rows)
            return table._to_dict(self.run.project, self.run.name, row.step)
        if kind == "artifact":
            self._artifact(item)
        return Markdown(media.as_markdown(item))._to_dict()

    def _image(self, row: Row, name: str, source: Path, caption: str) -> dict[str, Any]:
        """Trackio would choose a random file name and leave that file behind on a retry."""
        folder = get_project_media_path(self.run.project, self.run.name, row.step)
        path = folder / f"{self.run.id}-{row.index}-{name.replace('/', '-')}{source.suffix}"
        shutil.copyfile(source, path)
        relative = str(path.relative_to(MEDIA_DIR))
        return {"_type": TrackioImage.TYPE, "file_path": relative, "caption": caption}

    def _artifact(self, item: dict[str, Any]) -> None:
        artifact = Artifact(name=item["name"], type=item["kind"], metadata=item["metadata"])
        artifact.add_file(media.file_of(self.run.dir, item))
        SQLiteStorage.commit_artifact_version(
            project=self.run.project,
            name=artifact.name,
            type=artifact.type,
            description=artifact.description,
            manifest=artifact._build_manifest(self.run.project),
            metadata=artifact.metadata,
            aliases=[],
            run_name=self.run.name,
            run_id=self.run.id,
        )


def _is_system(row: Row) -> bool:
    """Trackio shows these apart, over time instead of steps."""
    return bool(row.metrics) and all(name.startswith("system/") for name in row.metrics)


def _renamed(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """A metric called like a column of Trackio's gets two underscores, as its log() does."""
    return {f"__{k}" if k in RESERVED_KEYS else k: v for k, v in metrics.items()}


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()
