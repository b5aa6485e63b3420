# SPDX-License-Identifier: MIT
"""A compact file for a network with many zeros: a bitmap of what is not zero, and the values.

    save_sparse("model.sparse", model.state_dict())         # bfloat16 values
    model.load_state_dict(load_sparse("model.sparse"))

With n weights of which a share s is zero it takes n·(1/16 + 1 - s) times two bytes, and a header of
some hundred. The loader gives back exactly the tensors that were saved, rounded to `dtype`; zeros
lose their sign. Layout, little-endian:

    8 bytes   magic
    4         CRC-32 of all that follows
    4         length of the header
    header    JSON, deflated: dtype, [name, shape] of the floating tensors, [name, shape, dtype] of
              the others, number of values
    bitmap    a bit for each entry of the floating tensors in their order, high bit first, 1 = not 0
    values    those entries
    others    the other tensors, whole
"""

import json
import math
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.errors import Failure
from lib.files import write_atomic

MAGIC = b"AWPRUNE1"
_START = struct.Struct("<8sI")
_LENGTH = struct.Struct("<I")
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}


class SparseFileError(Failure):
    """A sparse file cannot be read."""


def save_sparse(path: str | Path, tensors: Mapping[str, Tensor], dtype: str = "bfloat16") -> int:
    """Write the tensors to `path`, atomically; returns its size in bytes.

    dtype: bfloat16 or float32, of the values in the file. Raises OSError, with the old file
    untouched, when it cannot be written.
    """
    floating = {name: t.detach().cpu() for name, t in tensors.items() if t.is_floating_point()}
    others = {name: t.detach().cpu() for name, t in tensors.items() if name not in floating}
    flat = torch.cat([t.to(DTYPES[dtype]).flatten() for t in floating.values()])
    filled = flat != 0
    values = flat[filled]
    header = {
        "dtype": dtype,
        "tensors": [[name, list(t.shape)] for name, t in floating.items()],
        "others": [[name, list(t.shape), _name_of(t.dtype)] for name, t in others.items()],
        "values": len(values),
    }
    packed = zlib.compress(json.dumps(header, separators=(",", ":")).encode(), 9)
    bitmap = np.packbits(filled.numpy()).tobytes()
    parts = [_LENGTH.pack(len(packed)), packed, bitmap, _bytes(values)]
    body = b"".join([*parts, *map(_bytes, others.values())])
    data = _START.pack(MAGIC, zlib.crc32(body)) + body
    write_atomic(path, data)
    return len(data)


def load_sparse(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file that `save_sparse` wrote, by name, dense, floating ones in its dtype.

    Raises SparseFileError when it is missing, damaged or no such file.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise SparseFileError(f"cannot read {path}: {error.strerror}") from error
    if len(data) < _START.size or not data.startswith(MAGIC):
        raise SparseFileError(f"{path} is no sparse model file (make export FORMAT=sparse)")
    body = memoryview(data)[_START.size :]
    if zlib.crc32(body) != _START.unpack_from(data)[1]:
        raise SparseFileError(f"{path} is damaged: its checksum does not match")
    end = _LENGTH.size + _LENGTH.unpack_from(body)[0]
    header = json.loads(zlib.decompress(body[_LENGTH.size : end]))
    return _unpack(header, body[end:])


def _unpack(header: dict[str, Any], body: memoryview) -> dict[str, Tensor]:
    sizes = [math.prod(shape) for _, shape in header["tensors"]]
    n, dtype = sum(sizes), DTYPES[header["dtype"]]
    end = (n + 7) // 8
    filled = np.unpackbits(np.frombuffer(body[:end], np.uint8), count=n).view(bool)
    flat = torch.zeros(n, dtype=dtype)
    start, end = end, end + header["values"] * dtype.itemsize
    flat[torch.from_numpy(filled)] = _tensor(body[start:end], dtype)
    parts = flat.split(sizes)
    found = {
        name: part.view(shape).clone()
        for (name, shape), part in zip(header["tensors"], parts, strict=True)
    }
    for name, shape, kind in header["others"]:
        other = getattr(torch, kind)
        start, end = end, end + math.prod(shape) * other.itemsize
        found[name] = _tensor(body[start:end], other).view(shape)
    return found


def bound(tensors: Mapping[str, Tensor]) -> float:
    """Bytes of a bitmap and bfloat16 values for the floating tensors, without any header."""
    floating = [t for t in tensors.values() if t.is_floating_point()]
    n = sum(t.numel() for t in floating)
    filled = sum(int(t.count_nonzero()) for t in floating)
    return n / 8 + 2 * filled


def _bytes(tensor: Tensor) -> bytes:
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _tensor(data: memoryview, dtype: torch.dtype) -> Tensor:
    if not len(data):
        return torch.empty(0, dtype=dtype)
    return torch.frombuffer(bytearray(data), dtype=dtype)


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
