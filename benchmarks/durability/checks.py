# SPDX-License-Identifier: MIT
"""What is compared after each interruption and at the end; every difference is a finding.

before = Seen()
findings += after_interruption(run_dir, before)     # nothing torn, nothing rewritten
findings += against_reference(run_dir, reference_dir)
findings += in_tracker(run_dir, "mlflow")           # every row exactly once
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lib.runs import metadata
from lib.runs.journal import current_rows, read_rows
from lib.train import checkpoint
from lib.train.checkpoint.find import named, steps_on_disk
from lib.train.checkpoint.index import read_index

COLUMNS = ("not resumed", "rows lost", "torn files", "unloadable", "tracker rows", "differing")
_OF_TIME = ("perf/", "system/", "final/training_time_s")  # metrics that differ between equal runs
_NOT_STATE = {"journal", "versions", "elapsed_s"}  # of a checkpoint


class Finding(NamedTuple):
    """Something that must not be: `column` is one of COLUMNS."""

    column: str
    text: str


@dataclass
class Seen:
    """What was there after the previous interruption."""

    journal: bytes = b""
    damaged: list[bytes] = field(default_factory=list)  # checkpoints that were damaged on purpose


def after_interruption(directory: Path, seen: Seen) -> Iterator[Finding]:
    """The journal only grew; every file that is not temporary is whole; all checkpoints load."""
    journal = directory / "logs" / "metrics.jsonl"
    content = journal.read_bytes() if journal.exists() else b""
    if not content.startswith(seen.journal):
        yield Finding("rows lost", "the journal does not begin with what it held before")
    seen.journal = content
    if (directory / "metadata.yaml").exists():
        try:
            metadata.load(directory / "metadata.yaml")
        except (OSError, ValueError) as error:
            yield Finding("torn files", f"metadata.yaml: {error}")
    folder = directory / "checkpoints"
    sharded = [path for path in steps_on_disk(folder).values() if path.is_dir()]
    for path in (*folder.glob("[!.]*.pt"), *sharded):
        try:
            checkpoint.load(path)
        except checkpoint.CheckpointError as error:
            if path.is_dir() or path.read_bytes() not in seen.damaged:
                yield Finding("unloadable", str(error))
    try:
        read_index(folder)  # it may lag behind the files
    except checkpoint.CheckpointError as error:
        yield Finding("torn files", str(error))


def against_reference(directory: Path, reference: Path) -> Iterator[Finding]:
    """The journal, the metadata and the last and the best checkpoint are those of `reference`."""
    found, wanted = _rows(directory), _rows(reference)
    for text, rows in (("lost", wanted - found), ("repeated or different", found - wanted)):
        if rows:
            first = min(rows)
            yield Finding("rows lost", f"{rows.total()} rows {text}, the first {first}")
    damaged: list[Any] = []
    list(current_rows(directory / "logs" / "metrics.jsonl", on_damage=damaged.append))
    if damaged:
        yield Finding("torn files", f"journal: {damaged[0]}")
    status = metadata.load(directory / "metadata.yaml").get("status")
    if status != "completed":
        yield Finding("not resumed", f"the status is {status}")
    for name in ("last", "best"):
        yield from _compare_checkpoints(name, directory / "checkpoints", reference / "checkpoints")
    for left in (*directory.glob(".*.tmp"), *directory.glob("*/.*.tmp")):
        yield Finding("torn files", f"{left.relative_to(directory)} was left behind")


def _compare_checkpoints(name: str, ours: Path, theirs: Path) -> Iterator[Finding]:
    try:
        one, other = checkpoint.load(named(ours, name)), checkpoint.load(named(theirs, name))
    except checkpoint.CheckpointError as error:
        yield Finding("unloadable", str(error))
        return
    differ = list(differences(one, other))
    if differ:
        yield Finding("differing", f"{name}: {len(differ)} values, the first {differ[0]}")


def differences(one: Any, other: Any, where: str = "") -> Iterator[str]:
    """The places at which two states are not equal bit for bit."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in {**one, **other}:
            if key in _NOT_STATE:
                continue
            if key in one and key in other:
                yield from differences(one[key], other[key], f"{where}/{key}")
            else:
                yield f"{where}/{key} is missing"
    elif isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        if len(one) != len(other):
            yield f"{where} has {len(one)} items, not {len(other)}"
        for i, (a, b) in enumerate(zip(one, other, strict=False)):
            yield from differences(a, b, f"{where}/{i}")
    elif isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if _bytes(one) != _bytes(other):
            yield f"{where}: a tensor {tuple(one.shape)}"
    elif type(one) is not type(other) or (one != other and one == one):
        yield f"{where}: {str(one)[:40]}, not {str(other)[:40]}"


def _bytes(tensor: torch.Tensor) -> tuple[Any, ...]:
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    return tensor.dtype, tuple(tensor.shape), flat.numpy().tobytes()


def _rows(directory: Path) -> Counter[str]:
    """The rows that count, as texts; without events, times, and what is measured beside them."""
    rows: Counter[str] = Counter()
    for row, _ in current_rows(directory / "logs" / "metrics.jsonl", on_damage=lambda _: None):
        metrics = row.get("metrics", {}).items()
        values = {name: value for name, value in metrics if not name.startswith(_OF_TIME)}
        if values or "media" in row:
            rows[f"step {row.get('step', 0):6}: {values or row['media']}"] += 1
    return rows


def in_tracker(directory: Path, tracker: str) -> Iterator[Finding]:
    """The tracker holds each value of the journal once, at its step."""
    from scripts.tracking.read_back import read

    wanted: dict[str, dict[int, float]] = {}
    for row, _ in read_rows(directory / "logs" / "metrics.jsonl", on_damage=lambda _: None):
        for name, value in row.get("metrics", {}).items():
            wanted.setdefault(name, {})[row["step"]] = value
    stored = read(tracker, directory).metrics
    for name, by_step in wanted.items():
        if name.startswith("system/"):
            continue
        steps = Counter(step for step, _ in stored.get(name, []))
        missing = sorted(by_step.keys() - steps.keys())
        twice = sorted(step for step, times in steps.items() if times > 1)
        for text, found in (("missing", missing), ("twice", twice)):
            if found:
                yield Finding("tracker rows", f"{tracker}: {name} {text} at steps {found[:5]}")
        off = [s for s, v in stored.get(name, []) if not _close(v, by_step.get(s))]
        if off and not name.startswith(_OF_TIME):
            yield Finding("tracker rows", f"{tracker}: {name} has other values at {off[:5]}")


def _close(one: float, other: float | None) -> bool:
    """Equal in the float32 of TensorBoard."""
    return other is not None and (one == other or abs(one - other) <= 1e-6 * abs(other))
