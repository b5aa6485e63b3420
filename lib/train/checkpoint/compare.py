# SPDX-License-Identifier: MIT
"""Two checkpoints, tensor by tensor: equal bit for bit, or how far apart.

for part in compare_checkpoints(one, other):
    print(part.name, part.equal, part.tensors, part.max_abs)
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import checkpoint
from .weights import AVERAGE

_PARTS = {
    "weights": "model_state_dict",
    "mean of the weights": AVERAGE,
    "optimizer": "optimizer_state_dict",
}


@dataclass(frozen=True)
class Part:
    """The tensors of one part: how many there are in either, how many are equal in every bit.

    The greatest distances are those of the values, relative to the greater one of the two; infinite
    where one is not finite, or a tensor is missing or has another shape or type. `farthest` names
    the tensor.
    """

    name: str
    tensors: int
    equal: int
    max_abs: float
    max_rel: float
    farthest: str


def compare_checkpoints(one: Path, other: Path) -> list[Part]:
    """What two checkpoints of one step have in common, each a file or a sharded directory.

    Raises CheckpointError.
    """
    first, second = _load(one), _load(other)
    return [
        _compare(name, dict(_tensors(first.get(key))), dict(_tensors(second.get(key))))
        for name, key in _PARTS.items()
        if key in first or key in second
    ]


def _load(path: Path) -> Mapping[str, Any]:
    if not path.is_dir():
        return checkpoint.load(path)
    from .sharded import load_whole

    return load_whole(path)


def _tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Each tensor in nested values, with where it is."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _tensors(item, f"{name}/{key}" if name else str(key))
    elif isinstance(value, (list, tuple)):
        for key, item in enumerate(value):
            yield from _tensors(item, f"{name}/{key}")


def _compare(name: str, one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> Part:
    names = list(dict.fromkeys([*one, *other]))
    equal, greatest, relative, farthest = 0, 0.0, 0.0, ""
    for each in names:
        a, b = one.get(each), other.get(each)
        if a is not None and b is not None and _same_bits(a, b):
            equal += 1
            continue
        apart, rel = _distance(a, b)
        if apart >= greatest:
            greatest, farthest = apart, each
        relative = max(relative, rel)
    return Part(name, len(names), equal, greatest, relative, farthest)


def _same_bits(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return (
        a.contiguous().view(-1).view(torch.uint8).equal(b.contiguous().view(-1).view(torch.uint8))
    )


def _distance(a: Tensor | None, b: Tensor | None) -> tuple[float, float]:
    if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
        return math.inf, math.inf
    a, b = a.double(), b.double()
    apart = (a - b).abs()
    if not bool(torch.isfinite(apart).all()):
        return math.inf, math.inf
    scale = torch.maximum(a.abs(), b.abs())
    relative = torch.where(scale > 0, apart / scale, 0.0)
    return float(apart.max()), float(relative.max())
