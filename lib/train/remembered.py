# SPDX-License-Identifier: MIT
"""What trials found out about this machine, so that they are made once.

    found = recall(key) or remember(key, try_it())

`key` and what is found are plain values. Each key has a file of its own, in trials/ of
ADAMWPRUNE_CACHE (default: adamwprune in XDG_CACHE_HOME, which is ~/.cache). Of two that try at the
same time, the first one counts for both. A damaged file counts as none, and one that cannot be
written is done without: the next run tries again.
"""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files import link_or_copy, write_atomic

Found = dict[str, Any]


def recall(key: Mapping[str, Any]) -> Found | None:
    """What was found for `key`; None if nothing was."""
    try:
        stored = json.loads(_path(key).read_bytes())
        is_whole = stored["digest"] == _digest({"key": key, "found": stored["found"]})
    except (OSError, ValueError, TypeError, KeyError, RuntimeError):
        return None
    return stored["found"] if is_whole else None


def remember(key: Mapping[str, Any], found: Found) -> Found:
    """Keep what was found for `key`; returns what counts from now on."""
    stored = {"key": key, "found": found}
    text = json.dumps({**stored, "digest": _digest(stored)}, indent=1)
    with contextlib.suppress(OSError, RuntimeError):
        path = _path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            whole = Path(folder) / "found"
            whole.write_text(text)
            try:
                link_or_copy(whole, path)
            except FileExistsError:
                if first := recall(key):
                    return first
                write_atomic(path, text)  # over a damaged one
    return found


def _path(key: Mapping[str, Any]) -> Path:
    """Raises RuntimeError when there is no home directory."""
    given = os.environ.get("ADAMWPRUNE_CACHE")
    caches = os.environ.get("XDG_CACHE_HOME")
    root = Path(given or Path(caches or Path.home() / ".cache") / "adamwprune")
    return root / "trials" / f"{_digest(key)[:32]}.json"


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
