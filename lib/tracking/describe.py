# SPDX-License-Identifier: MIT
"""What a tracker is told about a run, read from the files of the run directory.

The forwarder is given a directory and nothing else, so that a live run and a replay years later
say the same: config.yaml (every setting) and metadata.yaml (code, machine, data, model).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from lib.runs import metadata
from lib.runs.redact import redact, redact_tree

_FACTS = ("seed", "config_hash", "version", "command", "git", "environment", "dataset", "model")


@dataclass(frozen=True)
class Description:
    """A run as trackers see it. `settings` is symbol → value; `facts` is flat and redacted."""

    dir: Path
    id: str
    name: str
    project: str
    tags: tuple[str, ...]
    notes: str
    group: str
    job_type: str
    started: float
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]


def describe(run_dir: Path) -> Description:
    """Read the description of a run. Raises FileNotFoundError, ValueError for damaged files."""
    meta = metadata.load(run_dir / "metadata.yaml")
    settings = _settings(run_dir / "config.yaml")
    facts = {**settings, **dict(_flatten({key: meta.get(key) for key in _FACTS}))}
    facts["run_dir"] = str(run_dir)
    return Description(
        dir=run_dir,
        id=str(meta["run_id"]),
        name=str(meta["run_name"]),
        project=str(settings.get("TRACKER_PROJECT") or _model(meta)),
        tags=tuple(redact(str(tag)) for tag in meta.get("tags") or ()),
        notes=redact(str(settings.get("TRACKER_NOTES") or meta.get("description") or "")),
        group=str(meta.get("group") or ""),
        job_type=str(meta.get("job_type") or "train"),
        started=_timestamp(meta.get("start_time")),
        settings=settings,
        facts=redact_tree(facts),
    )


def _settings(path: Path) -> dict[str, Any]:
    """config.yaml groups the symbols by menu; here they are in one level again."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8") as file:
        tree = yaml.load(file, Loader=yaml.CSafeLoader)
    return {name.rpartition(".")[2]: value for name, value in _flatten(tree or {})}


def _flatten(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{name}.")
        elif isinstance(value, list):
            yield name, ", ".join(map(str, value))
        elif value is not None:
            yield name, value


def _model(meta: Mapping[str, Any]) -> str:
    return str((meta.get("model") or {}).get("name") or "adamwprune")


def _timestamp(text: Any) -> float:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return 0.0


def modified(run_dir: Path) -> int:
    """A number that changes when the description may have; 0 while there is none."""
    try:
        return (run_dir / "metadata.yaml").stat().st_mtime_ns
    except OSError:
        return 0
