# SPDX-License-Identifier: MIT
"""Whether the checkpoints of a run are whole and belong to it; without PyTorch.

    checked = verify_checkpoints(run_dir, fields_of_metadata)
    checked.part.damage, checked.usable         # the steps that a training can go on from

The files of a run in progress come and go; what is replaced while it is looked at is not damage.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...runs.verify import Part
from . import digest, manifest
from .digest import CheckpointError, same
from .find import BEST, LAST, same_file, steps_on_disk
from .index import Entry, read_index
from .peek import peek


@dataclass
class Checked:
    """`usable` are the steps whose checkpoint is whole, and `weights` files that are whole."""

    part: Part
    usable: list[int] = field(default_factory=list)
    weights: list[Path] = field(default_factory=list)


def disagreements(folder: Path) -> list[str]:
    """Where index.json and the files differ; sizes are compared, digests are not.

    Raises CheckpointError when the index is damaged.
    """
    entries = {entry.step: entry for entry in read_index(folder)}
    files = steps_on_disk(folder)
    said = [
        f"{entry.file} is gone, though index.json lists it"
        for step, entry in entries.items()
        if step not in files
    ]
    for step, path in files.items():
        if step not in entries:
            said.append(f"{path.name} is not in index.json: it was written just before a kill")
        elif (size := _size(path)) != entries[step].size:
            said.append(f"{path.name} has {size:,} bytes, and {entries[step].size:,} in index.json")
    newest = files[max(files)] if files else folder
    if newest.is_file() and not same(newest, folder / LAST):
        said.append(f"{LAST} is not the newest checkpoint, {newest.name}")
    return said


def verify_checkpoints(directory: Path, fields: Mapping[str, Any]) -> Checked:
    """All checkpoints of the run in `directory`, whose metadata.yaml has `fields`."""
    folder = directory / "checkpoints"
    checked = Checked(Part("checkpoints"))
    part, entries = checked.part, {}
    try:
        entries = {entry.step: entry for entry in read_index(folder)}
        part.remarks += disagreements(folder)
    except CheckpointError as error:
        part.damage.append(str(error).removeprefix(f"{folder}/"))
    files = steps_on_disk(folder)
    for step, path in files.items():
        if _verify_step(step, path, entries.get(step), directory, fields, part):
            checked.usable.append(step)
            checked.weights.append(path)
    for name in (LAST, BEST):
        path = folder / name
        is_other = path.exists() and not any(same_file(path, other) for other in files.values())
        if is_other and _is_whole(path, part):
            checked.weights.append(path)
    count = len(files)
    steps = ", ".join(map(str, checked.usable[-5:]))
    part.found = f"{len(checked.usable)} of {count} whole" if count else "none"
    if steps:
        part.found += f", steps {'… ' if len(checked.usable) > 5 else ''}{steps}"
    return checked


def _verify_step(
    step: int,
    path: Path,
    entry: Entry | None,
    directory: Path,
    fields: Mapping[str, Any],
    part: Part,
) -> bool:
    """Whether the checkpoint can be used; what is wrong with it goes into `part`."""
    sha256 = _is_whole(path, part)
    if not sha256:
        return False
    if entry is not None and entry.sha256 != sha256:
        part.damage.append(f"{path.name} is another file than index.json says")
    try:
        held = peek(path / "state.pt" if path.is_dir() else path)
    except FileNotFoundError:  # retention has taken it
        return False
    except (CheckpointError, OSError) as error:
        part.damage.append(str(error).removeprefix(f"checkpoint {directory}/checkpoints/"))
        return False
    wrong = list(_strangers(step, held, directory, fields))
    part.damage += [f"{path.name} {what}" for what in wrong]
    hash_, science = held.get("settings_hash"), fields.get("science_hash")
    if not wrong and science is not None and hash_ != science:
        note = f"{path.name} is of science_hash {hash_}, metadata.yaml says {science}"
        (part.remarks if _was_changed(fields) else part.damage).append(note)
    return not wrong


def _strangers(
    step: int, held: Mapping[str, Any], directory: Path, fields: Mapping[str, Any]
) -> list[str]:
    """What says that a checkpoint is of another step, model or run."""
    said = []
    if held.get("step") != step:
        said.append(f"holds step {held.get('step')}")
    model = fields.get("model")
    name = model.get("name") if isinstance(model, Mapping) else None
    if name and held.get("model") != name:
        said.append(f"is of model {held.get('model')}, the run of {name}")
    journal, position = directory / "logs" / "metrics.jsonl", held.get("journal")
    offset = position.get("offset") if isinstance(position, Mapping) else None
    if type(offset) is int and journal.is_file() and offset > journal.stat().st_size:
        said.append(f"knows of {offset:,} bytes of the journal, which is shorter")
    return said


def _was_changed(fields: Mapping[str, Any]) -> bool:
    """Whether the run was resumed with other settings."""
    resumes = fields.get("resumes")
    return isinstance(resumes, list) and any(
        isinstance(resume, Mapping) and resume.get("changed") for resume in resumes
    )


def _is_whole(path: Path, part: Part) -> str:
    """The digest of a file or directory; empty, and why in `part`, if it is damaged."""
    try:
        return manifest.verify(path) if path.is_dir() else digest.verify(path)
    except FileNotFoundError:  # retention has taken it
        return ""
    except CheckpointError as error:
        part.damage.append(str(error).replace(f"checkpoint {path} is", f"{path.name} is"))
    except OSError as error:
        part.damage.append(f"{path.name}: {error.strerror}")
    return ""


def _size(path: Path) -> int:
    try:
        return manifest.size(path) if path.is_dir() else path.stat().st_size
    except (CheckpointError, OSError):
        return 0
