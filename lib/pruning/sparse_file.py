# SPDX-License-Identifier: MIT
"""A compact file for a network with many zeros: a bitmap of what is not zero, and the values.

    save_sparse("model.sparse", model.state_dict())         # bfloat16 values
    model.load_state_dict(load_sparse("model.sparse"))

With n weights of which a share s is zero, it takes n·(1/16 + 1 - s) times two bytes, and some
hundred bytes of header. The loader returns exactly the tensors that were saved, rounded to `dtype`;
zeros lose their sign. Layout, little-endian:

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
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import Failure
from ..files import write_atomic

MAGIC = b"AWPRUNE1"
_START = struct.Struct("<8sI")
_LENGTH = struct.Struct("<I")
HEADER_LIMIT = 2**24  # bytes, inflated: some 300,000 tensors
DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32}
OTHER_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
}


class SparseFileError(Failure):
    """A sparse file cannot be read."""


def save_sparse(path: str | Path, tensors: Mapping[str, Tensor], dtype: str = "bfloat16") -> int:
    """Write the tensors to `path`, atomically; returns its size in bytes.

    dtype: bfloat16 or float32, of the values in the file. Raises OSError, with the old file
    untouched, when it cannot be written, and ValueError for tensors that the file cannot hold.
    """
    floating = {name: t.detach().cpu() for name, t in tensors.items() if t.is_floating_point()}
    others = {name: t.detach().cpu() for name, t in tensors.items() if name not in floating}
    for name, tensor in others.items():
        if _name_of(tensor.dtype) not in OTHER_DTYPES:
            raise ValueError(f"{name}: a sparse file cannot hold {tensor.dtype}")
    empty = torch.empty(0, dtype=DTYPES[dtype])
    flat = torch.cat([empty, *(t.to(DTYPES[dtype]).flatten() for t in floating.values())])
    filled = flat != 0
    values = flat[filled]
    header = {
        "dtype": dtype,
        "tensors": [[name, list(t.shape)] for name, t in floating.items()],
        "others": [[name, list(t.shape), _name_of(t.dtype)] for name, t in others.items()],
        "values": len(values),
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    if len(text) > HEADER_LIMIT:
        raise ValueError(f"{len(tensors):,} tensors are too many for the header of a sparse file")
    packed = zlib.compress(text, 9)
    bitmap = np.packbits(filled.numpy()).tobytes()
    parts = [_LENGTH.pack(len(packed)), packed, bitmap, _bytes(values)]
    body = b"".join([*parts, *map(_bytes, others.values())])
    data = _START.pack(MAGIC, zlib.crc32(body)) + body
    write_atomic(path, data)
    return len(data)


def load_sparse(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file that `save_sparse` wrote, by name, dense, floating ones in its dtype.

    Raises SparseFileError when the file is missing, damaged, of another kind, or has a header that
    does not match its contents. It is safe to load a file from anybody: the header is checked
    against the length of the file before anything is allocated, so that the tensors take at most 32
    times the memory of the file (a bit of the bitmap becomes a float32 zero).
    """
    try:
        with Path(path).open("rb") as file:
            start = file.read(_START.size)
            if len(start) < _START.size or not start.startswith(MAGIC):
                raise SparseFileError(
                    f"{path} is not a sparse model file (make export FORMAT=sparse)"
                )
            body = memoryview(file.read())
        if zlib.crc32(body) != _START.unpack(start)[1]:
            raise SparseFileError(f"{path} is damaged: its checksum does not match")
        return _unpack(*_read_header(body))
    except OSError as error:
        raise SparseFileError(f"cannot read {path}: {error.strerror}") from error
    except _Malformed as error:
        raise SparseFileError(f"{path} is not a valid sparse model file: {error}") from error
    except MemoryError as error:
        raise SparseFileError(f"{path} does not fit into memory") from error


class _Malformed(Exception):
    """The header does not describe what follows it; the message says why."""


class _Header(NamedTuple):
    """The header, consistent in itself and with the length of what follows."""

    dtype: torch.dtype
    tensors: dict[str, list[int]]  # shapes of the floating tensors
    others: dict[str, tuple[list[int], torch.dtype]]
    values: int


def _read_header(body: memoryview) -> tuple[_Header, memoryview]:
    """The header and the bytes that follow it. Raises _Malformed."""
    if len(body) < _LENGTH.size:
        raise _Malformed("it ends before its header")
    end = _LENGTH.size + _LENGTH.unpack_from(body)[0]
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(body[_LENGTH.size : end], HEADER_LIMIT)
        if not inflate.eof:
            raise _Malformed(f"its header is cut off, or longer than {HEADER_LIMIT:,} bytes")
        found = json.loads(text)
    except (zlib.error, ValueError, RecursionError) as error:
        raise _Malformed("its header cannot be read") from error
    header = _check(found)
    body = body[end:]
    entries = sum(map(math.prod, header.tensors.values()))
    expected = (entries + 7) // 8 + header.values * header.dtype.itemsize
    expected += sum(math.prod(shape) * kind.itemsize for shape, kind in header.others.values())
    if expected != len(body):
        raise _Malformed(f"its header describes {expected:,} bytes, and {len(body):,} follow")
    return header, body


def _check(found: Any) -> _Header:
    """The header from parsed JSON of any shape. Raises _Malformed."""
    match found:
        case {"dtype": str(dtype), "tensors": list(tensors), "others": list(others),
              "values": int(values)} if dtype in DTYPES and values >= 0:  # fmt: skip
            pass
        case _:
            raise _Malformed("its header lacks dtype, tensors, others or values")
    shapes: dict[str, list[int]] = {}
    for entry in tensors:
        match entry:
            case [str(name), list(shape)] if _is_shape(shape) and name not in shapes:
                shapes[name] = shape
            case _:
                raise _Malformed(f"its header describes a tensor as {_shorten(entry)}")
    kinds: dict[str, tuple[list[int], torch.dtype]] = {}
    for entry in others:
        match entry:
            case [str(name), list(shape), str(kind)] if (
                _is_shape(shape)
                and kind in OTHER_DTYPES
                and name not in shapes
                and name not in kinds
            ):
                kinds[name] = (shape, OTHER_DTYPES[kind])
            case _:
                raise _Malformed(f"its header describes a tensor as {_shorten(entry)}")
    return _Header(DTYPES[dtype], shapes, kinds, values)


def _is_shape(shape: list[Any]) -> bool:
    """Whether PyTorch can index a tensor of this shape, even an empty one."""
    sides = [n for n in shape if n != 0]
    whole = all(type(n) is int and n >= 0 for n in shape)
    return len(shape) <= 64 and whole and math.prod(sides) < 2**60


def _shorten(entry: Any) -> str:
    text = ascii(entry)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _unpack(header: _Header, body: memoryview) -> dict[str, Tensor]:
    """The tensors. Raises _Malformed when the bitmap and the number of values do not agree."""
    sizes = [math.prod(shape) for shape in header.tensors.values()]
    n, dtype = sum(sizes), header.dtype
    end = (n + 7) // 8
    bits = np.unpackbits(np.frombuffer(body[:end], np.uint8))
    filled = bits[:n].view(bool)
    count = int(np.count_nonzero(filled))
    if count != header.values or bits[n:].any():
        raise _Malformed(f"its bitmap has {count:,} values and its header {header.values:,}")
    try:
        flat = torch.zeros(n, dtype=dtype)
    except RuntimeError as error:  # what PyTorch raises when an allocation fails
        raise MemoryError from error
    start, end = end, end + count * dtype.itemsize
    flat[torch.from_numpy(filled)] = _tensor(body[start:end], dtype)
    found = {}
    first = 0
    for (name, shape), size in zip(header.tensors.items(), sizes, strict=True):
        found[name] = flat[first : first + size].view(shape).clone()
        first += size
    for name, (shape, kind) in header.others.items():
        start, end = end, end + math.prod(shape) * kind.itemsize
        found[name] = _tensor(body[start:end], kind).view(shape)
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
    if dtype == torch.bool:
        return torch.frombuffer(bytearray(data), dtype=torch.uint8) != 0
    return torch.frombuffer(bytearray(data), dtype=dtype)


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
