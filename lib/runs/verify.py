# SPDX-License-Identifier: MIT
"""Whether the files of a run are whole and agree with each other; its checkpoints apart, which
lib/train/checkpoint/verify.py looks at.

    for part in verify_files(run_dir):
        print(part.name, part.found, part.damage, part.remarks)

Nothing is written and no lock is taken: a run in progress can be looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..config import config_yaml, store
from ..config.dotconfig import ConfigError
from ..config.settings import Settings
from ..config.tree import Tree
from . import metadata
from .journal import DamagedRow, current_rows, read_rows
from .redact import REDACTED
from .stored_run import read_settings

_TYPES = {
    "run_name": str,
    "run_id": str,
    "start_time": str,
    "environment": dict,
    "model": dict,
    "final_metrics": dict,
}
_STATUSES = ("running", "completed", "failed", "interrupted")
_REPEATING = ("system/", "artifact/")  # may have several values at one step


@dataclass
class Part:
    """What is known of a part of a run: `found` in a few words, `damage` and harmless `remarks`."""

    name: str
    found: str = ""
    damage: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def verify_files(directory: Path) -> list[Part]:
    """The metadata, the configuration and the journal of the run in `directory`."""
    fields, about = _metadata(directory)
    return [about, _configuration(directory, fields), _journal(directory, fields)]


# ---------------------------------------------------------------------------------- metadata.yaml


def _metadata(directory: Path) -> tuple[dict[str, Any], Part]:
    """Its fields, empty if it cannot be read."""
    part = Part("metadata.yaml")
    try:
        fields = metadata.load(directory / "metadata.yaml")
    except OSError as error:
        part.damage.append(error.strerror or "cannot be read")
        return {}, part
    except ValueError as error:
        part.damage.append(str(error).removeprefix(f"{directory / 'metadata.yaml'}: "))
        return {}, part
    for name, kind in _TYPES.items():
        if not isinstance(fields.get(name), kind):
            part.damage.append(
                f"{name} is {'missing' if name not in fields else 'of a wrong type'}"
            )
    if fields.get("status") not in _STATUSES:
        part.damage.append(f"status is none of {', '.join(_STATUSES)}")
    if lost := fields.get("lost_rows"):
        part.remarks.append(f"{lost} rows of the journal could not be written when they were due")
    part.found = f"{fields.get('status')}, started {fields.get('start_time')}"
    return fields, part


# ---------------------------------------------------------------------------------- configuration


def _configuration(directory: Path, fields: Mapping[str, Any]) -> Part:
    """.config, defconfig, config.yaml and science_hash say the same.

    A run of a script has config.yaml alone.
    """
    part = Part("configuration")
    names = (".config", "defconfig")
    if not fields.get("science_hash") and not any((directory / n).exists() for n in names):
        part.found = f"{len(read_settings(directory / 'config.yaml'))} settings of a script"
        return part
    trees = {name: _tree(directory / name, part) for name in names}
    try:
        by_menu = config_yaml.load(directory / "config.yaml")
        flat = {
            k: v for menu in by_menu.values() if isinstance(menu, dict) for k, v in menu.items()
        }
    except OSError as error:
        part.damage.append(f"config.yaml: {error.strerror}")
        flat = {}
    except ValueError as error:
        part.damage.append(str(error).removeprefix(f"{directory}/"))
        flat = {}
    tree, minimal = trees[".config"], trees["defconfig"]
    if tree and minimal:
        differ = _differing(_texts(tree), _texts(minimal))
        if differ:
            part.damage.append(f".config and defconfig differ in {differ}")
    if tree and flat:
        values, names = tree.values(), {entry.name for entry in tree.entries()}
        differ = _differing({name: values[name] for name in names}, flat)
        if differ:
            part.damage.append(f".config and config.yaml differ in {differ}")
    if tree:
        _compare_hash(Settings(tree), fields, part)
        part.found = f"{len(tree.chosen())} settings that are not the defaults"
    return part


def _tree(path: Path, part: Part) -> Tree | None:
    """The configuration in the file; None, and why in `part`, if it cannot be loaded."""
    tree = Tree()
    try:
        store.load(tree, path)
    except ConfigError as error:
        part.damage += [problem.replace(f"{path}", path.name) for problem in error.problems[:5]]
        return None
    return tree


def _texts(tree: Tree) -> dict[str, str]:
    return {entry.name: entry.text for entry in tree.entries()}


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    names = [n for n in sorted(one.keys() | other.keys()) if one.get(n) != other.get(n)]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _compare_hash(settings: Settings, fields: Mapping[str, Any], part: Part) -> None:
    noted = fields.get("science_hash")
    if noted is None or noted == settings.science_hash:
        return
    if any(REDACTED in str(value) for value in settings.as_dict().values()):
        part.remarks.append("a secret in .config is redacted: science_hash cannot be computed")
        return
    part.damage.append(
        f".config has science_hash {settings.science_hash}, metadata.yaml {noted}: one of them was "
        "changed, or this is another version of the program"
    )


# ---------------------------------------------------------------------------------------- journal


def _journal(directory: Path, fields: Mapping[str, Any]) -> Part:
    """Torn and damaged rows, values that are there twice, the events at both ends."""
    part, path = Part("journal"), directory / "logs" / "metrics.jsonl"
    counts = _Counts()
    try:
        for row, _ in current_rows(path, on_damage=counts.damage):
            counts.add(row)
        resumes = _check_events(path, fields, part)
        torn = _is_torn(path)
    except OSError as error:
        part.damage.append(error.strerror or "cannot be read")
        return part
    part.found = f"{counts.rows:,} rows, steps {counts.first:,} to {counts.last:,}"
    part.damage += counts.damaged
    if counts.repeated:
        part.damage.append(f"{counts.repeated:,} values at steps that their metric had passed")
    if resumes:
        times = "once" if resumes == 1 else f"{resumes} times"
        part.remarks.append(f"resumed {times}; what was done again is there twice, and counts once")
    if torn and fields.get("status") != "running":
        # What goes on from a checkpoint writes it anew.
        (part.damage if fields.get("status") == "completed" else part.remarks).append(
            "the last row is cut off"
        )
    return part


class _Counts:
    """What a pass over the rows that count finds."""

    def __init__(self) -> None:
        self.rows = self.first = self.last = self.repeated = 0
        self.damaged: list[str] = []
        self._latest: dict[str, int] = {}

    def damage(self, row: DamagedRow) -> None:
        self.damaged.append(f"damaged row at byte {row.offset:,}, {row.end - row.offset:,} bytes")

    def add(self, row: Mapping[str, Any]) -> None:
        self.rows += 1
        step = row.get("step")
        if step is None:
            return
        self.first = min(self.first, step) if self._latest else step
        self.last = max(self.last, step)
        for name in (*row.get("metrics", ()), *row.get("media", ())):
            if step <= self._latest.get(name, -1) and not name.startswith(_REPEATING):
                self.repeated += 1
            self._latest[name] = step


def _check_events(path: Path, fields: Mapping[str, Any], part: Part) -> int:
    """The first event is this run's start, the last one its end; returns how many are resumes."""
    rows = read_rows(path, containing=b'"event"', on_damage=lambda _: None)
    events = [row for row, _ in rows if "event" in row]
    status = fields.get("status")
    if not events or events[0]["event"] != "start":
        part.damage.append("its first row is missing")
    elif fields and _run_of(events) != fields.get("run_id"):
        part.damage.append("it belongs to another run: the run_id is not that of metadata.yaml")
    elif status in ("completed", "failed") and events[-1]["event"] != "finish":
        part.damage.append(f"it does not reach the end of the run, which is {status}")
    return sum(event["event"] == "resume" for event in events)


def _run_of(events: list[dict[str, Any]]) -> Any:
    """The run_id of the last event that has one: a branch begins with the rows of its parent."""
    return next((event["run_id"] for event in reversed(events) if "run_id" in event), None)


def _is_torn(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 1))
        return size > 0 and file.read() != b"\n"
