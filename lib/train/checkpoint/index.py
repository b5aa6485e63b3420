# SPDX-License-Identifier: MIT
"""index.json: which checkpoints a folder holds, for whoever wants to know without opening them.

    for entry in read_index(run_dir / "checkpoints"):
        print(entry.step, entry.metrics.get("val/loss"))

It is written last, when the checkpoints it names are safe. After a kill it can lag behind by one:
`find.listed` compares it with the files. Does not import PyTorch.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...files import write_atomic
from .digest import CheckpointError

INDEX = "index.json"


@dataclass(frozen=True)
class Entry:
    """A checkpoint: `file` is its name in the folder, `time` when it was written (ISO 8601).

    `metrics` are those of its step, `size` is in bytes, `sha256` is the digest at the end of the
    file. `best` says that best.pt is this file, `milestone` that it stays whatever comes later.
    """

    file: str
    step: int
    metrics: Mapping[str, float]
    size: int
    sha256: str
    time: str
    best: bool
    milestone: bool


def read_index(folder: str | Path) -> list[Entry]:
    """The checkpoints that index.json lists, the oldest first; none when there is no index.

    Raises CheckpointError when index.json cannot be read or is not what `write_index` wrote.
    """
    path = Path(folder) / INDEX
    try:
        listed = json.loads(path.read_bytes())["checkpoints"]
        return [_entry(fields) for fields in listed]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged; the checkpoints can be used without it, and the next one that is "
            "written brings it up to date"
        ) from error


def write_index(folder: Path, entries: Iterable[Entry]) -> None:
    """List `entries`, the oldest first. Raises OSError, with the old index untouched."""
    listed = {"checkpoints": [asdict(entry) for entry in entries]}
    write_atomic(folder / INDEX, json.dumps(listed, indent=1) + "\n")


def _entry(fields: Mapping[str, Any]) -> Entry:
    """Raises TypeError when a field is missing, unknown, or of another type."""
    entry = Entry(**fields)
    kinds = {"metrics": dict, "step": int, "size": int, "best": bool, "milestone": bool}
    for name, value in fields.items():
        if type(value) is not kinds.get(name, str):
            raise TypeError(name)
    return entry
