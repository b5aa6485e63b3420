# SPDX-License-Identifier: MIT
"""Prepared data sets on disk: one tensor file each, checked against its own fingerprint.

    tensors = cached(data_dir / "mnist.pt", lambda: {"images": …, "labels": …})

The folder may be deleted at any time; what is missing is prepared again.
"""

import hashlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from lib.train import checkpoint

Tensors = dict[str, Tensor]


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256, in hex, over names, types, shapes and bytes; the order of the names is no matter."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()


def cached(path: Path, build: Callable[[], Tensors]) -> Tensors:
    """What `build` returns, from the file `path` if an earlier call has left it there.

    A file that does not match its fingerprint is built anew. A file that can not be written is
    said on standard error: the next call has to build again, nothing else is lost.
    """
    if path.exists():
        try:
            stored = checkpoint.load(path)
            tensors = stored["tensors"]
            if stored["fingerprint"] == fingerprint(tensors):
                return tensors
            reason = f"{path} does not match its fingerprint"
        except (checkpoint.CheckpointError, KeyError) as error:
            reason = str(error)
        print(f"warning: {reason}; preparing it again", file=sys.stderr)
    tensors = build()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save(path, {"tensors": tensors, "fingerprint": fingerprint(tensors)})
    except (checkpoint.CheckpointError, OSError) as error:
        print(f"warning: {error}; the data set will be prepared again next time", file=sys.stderr)
    return tensors
