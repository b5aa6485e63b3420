# SPDX-License-Identifier: MIT
"""Files whose SHA-256 is computed while torch.distributed.checkpoint writes them.

writer.fs = HashedFiles()
…
writer.fs.written["shard-00001-….safetensors"]["sha256"]
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.filesystem import FileSystem

from . import manifest


class HashedFiles(FileSystem):
    """Files for a storage writer; `written` has size and SHA-256 of each, by name."""

    def __init__(self) -> None:
        self.written: dict[str, manifest.Described] = {}

    @contextmanager
    def create_stream(self, path: str | os.PathLike, mode: str) -> Iterator[Any]:
        with super().create_stream(path, mode) as stream:
            hashed = _Hashed(stream)
            yield hashed
        sha256 = hashed.digest.hexdigest()
        self.written[Path(path).name] = {"size": hashed.size, "sha256": sha256}


class _Hashed:
    """A file being written, and the digest of what was meant to be in it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.digest, self.size = hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self._stream.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
