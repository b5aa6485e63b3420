# SPDX-License-Identifier: MIT
"""What a tracker is told about a run, read from the files of the run directory.

The forwarder gets a directory and nothing else, so that a live run and a replay years later
say the same: config.yaml (every setting) and metadata.yaml (code, machine, data, model).
"""

import json
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..config import config_yaml
from ..runs import metadata, words
from ..runs.redact import redact, redact_tree
from ..safe_yaml import flatten, settings_in
from ..text import printable

_FACTS = ("seed", "science_hash", "version", "command", "git", "environment", "device", "precision")
_FACTS += ("batch", "pruning", "dataset", "model")

# Parts of file names in trackers; and a run directory may come from anybody.
_SAFE = re.compile(r"(?!.*\.\.)[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class Description:
    """A run as trackers see it. `settings` is symbol → value; `metadata` is metadata.yaml without
    secrets; `facts` is what matters in both: flat name → number, text or bool. `notes` is Markdown:
    what was written before the run, then its conclusion and notes; `conclusion` has the verdict,
    expected and actual (lib/runs/words.py), or is empty.
    """

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
    metadata: Mapping[str, Any]
    facts: Mapping[str, Any]
    conclusion: Mapping[str, str]

    @property
    def mark(self) -> int:
        """A number that changes with what trackers show of the run besides its rows."""
        shown = [self.facts, self.tags, self.notes, self.conclusion]
        return zlib.crc32(json.dumps(shown).encode())


def describe(run_dir: Path) -> Description:
    """Read the description of a run. Raises FileNotFoundError, ValueError for damaged files."""
    path = run_dir / "metadata.yaml"
    stored = metadata.load(path)
    for key in ("run_id", "run_name"):
        if not _SAFE.fullmatch(str(stored.get(key))):
            raise ValueError(f"{path}: {key} is not made of letters, digits, '.', '_' and '-'")
    meta = redact_tree(stored)
    config = _settings(run_dir / "config.yaml")
    tracking = stored.get("tracking")
    settings = {**config, **(tracking if isinstance(tracking, Mapping) else {})}
    facts = {**redact_tree(config), **dict(flatten({key: meta.get(key) for key in _FACTS}))}
    facts["run_dir"] = printable(run_dir)  # its bytes need not be UTF-8
    return Description(
        dir=run_dir,
        id=str(stored["run_id"]),
        name=str(stored["run_name"]),
        project=str(settings.get("TRACKER_PROJECT") or _model(meta)),
        tags=tuple(words.tags(meta)),
        notes=_notes(settings, meta),
        group=str(meta.get("group") or ""),
        job_type=str(meta.get("job_type") or "train"),
        started=timestamp(meta.get("start_time")) or 0.0,
        settings=settings,
        metadata=meta,
        facts={name: _plain(value) for name, value in facts.items()},
        conclusion=_conclusion(meta),
    )


def _notes(settings: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
    before = redact(str(settings.get("TRACKER_NOTES") or meta.get("description") or ""))
    return "\n\n".join(filter(None, (before, words.as_markdown(meta))))


def _conclusion(meta: Mapping[str, Any]) -> dict[str, str]:
    said = words.conclusion(meta)
    return {name: str(said[name]) for name in ("verdict", "expected", "actual") if said.get(name)}


def _settings(path: Path) -> dict[str, Any]:
    return dict(flatten(settings_in(config_yaml.load(path)))) if path.exists() else {}


def _plain(value: Any) -> Any:
    """What every tracker can hold: dates, integers past 64 bits, NaN and infinity become text."""
    if isinstance(value, (bool, str)):
        return value
    fits = isinstance(value, (int, float)) and math.isfinite(value) and abs(value) < 2**63
    return value if fits else str(value)


def _model(meta: Mapping[str, Any]) -> str:
    return str((meta.get("model") or {}).get("name") or "adamwprune")


def timestamp(text: Any) -> float | None:
    """Seconds since the epoch of a time in metadata.yaml; None if it is not one."""
    try:
        return max(0.0, datetime.fromisoformat(str(text)).timestamp())
    except (ValueError, OverflowError, OSError):
        return None


def resumes(run_dir: Path) -> int:
    """How often the run has been resumed, or was about to be; 0 if that cannot be read."""
    try:
        found = metadata.load(run_dir / "metadata.yaml").get("resumes")
    except (OSError, ValueError):
        return 0
    return len(found) if isinstance(found, list) else 0


def modified(run_dir: Path) -> int:
    """A number that changes when the description may have; 0 while there is none."""
    try:
        return (run_dir / "metadata.yaml").stat().st_mtime_ns
    except OSError:
        return 0
