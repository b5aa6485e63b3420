# SPDX-License-Identifier: MIT
"""The plain values of a checkpoint, without its tensors and without PyTorch.

    peek(path)["step"]

A file of torch.save is a ZIP archive whose first member is a pickle. It is read here by an
unpickler to which every class is an empty shell, so that it can neither run code nor allocate a
tensor.
"""

import io
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

from ...advice import need
from ...errors import Failure
from .digest import CheckpointError

_ZSTD = b"\x28\xb5\x2f\xfd"  # the first bytes of a file that is compressed
_MEMBER = b"PK\3\4"  # begins the header of a member of a ZIP archive
_HEADER_BYTES = 30


def peek(path: Path) -> dict[str, Any]:
    """What the file holds; in the place of each tensor something that is none.

    Raises OSError, and CheckpointError when it is no file of torch.save.
    """
    with path.open("rb") as file:
        compressed = file.read(len(_ZSTD)) == _ZSTD
        file.seek(0)
        try:
            found = _Plain(_first_member(_unpacked(file) if compressed else file)).load()
        except (OSError, Failure):
            raise
        except Exception as error:  # a file that is meant to harm can make it raise anything
            reason = str(error) or type(error).__name__
            raise CheckpointError(f"checkpoint {path} cannot be read: {reason}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"checkpoint {path} cannot be read: it holds no dictionary")
    return found


class _Shell:
    """Stands for an object of any class."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return OrderedDict if (module, name) == ("collections", "OrderedDict") else _Shell

    def persistent_load(self, _: Any) -> None:
        """The storage of a tensor."""


def _unpacked(file: BinaryIO) -> BinaryIO:
    zstandard = need("zstandard", "a compressed checkpoint")
    return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(file))


def _first_member(file: BinaryIO) -> BinaryIO:
    """`file`, at the beginning of the data of its first member, which must not be deflated."""
    header = file.read(_HEADER_BYTES)
    if not header.startswith(_MEMBER) or header[8:10] != b"\0\0":
        raise ValueError("it is no file of torch.save")
    name, extra = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:30], "little")
    if not file.read(name).endswith(b"/data.pkl"):
        raise ValueError("it does not begin with its pickle")
    file.read(extra)
    return file
