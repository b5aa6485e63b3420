# SPDX-License-Identifier: MIT
"""What DVC calls the data of a training, when they are under DVC.

data_hash(settings.as_dict(), {"name": "digits"})       # "8b21….dir", or None
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .pointer import SUFFIX, DamagedPointer, read

_WILD = frozenset("*?[")


def data_hash(settings: Mapping[str, Any], dataset: Mapping[str, Any]) -> str | None:
    """The md5 in the .dvc file of DATA_FILES, else of the set's folder in DATA_DIR, else of
    DATA_DIR; or of a folder above it, which has the data in it."""
    for place in _places(settings, dataset):
        for path in (place, *place.parents):
            with contextlib.suppress(OSError, DamagedPointer):
                found = read(path.with_name(path.name + SUFFIX)) if path.name else None
                if found and found.name == path.name:
                    return found.md5
    return None


def _places(settings: Mapping[str, Any], dataset: Mapping[str, Any]) -> Iterator[Path]:
    for pattern in str(settings.get("DATA_FILES", "")).split():
        path = Path(pattern)
        while _WILD & set(str(path)):
            path = path.parent
        yield path
    if settings.get("DATA_DIR"):
        folder = Path(settings["DATA_DIR"])
        yield folder / str(dataset.get("name", ""))
        yield folder
