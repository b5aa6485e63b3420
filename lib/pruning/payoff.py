# SPDX-License-Identifier: MIT
"""How fast pruned linear layers are with the sparse kernels that PyTorch has on this machine."""

import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.sparse import to_sparse_semi_structured

from lib.errors import Failure
from lib.pruning.export import is_2to4

_ROUNDS = 15
_ROUND_S = 0.02  # long enough to measure, many times over


@dataclass(frozen=True)
class Payoff:
    """Dense and pruned figures of the linear layers: bytes, and seconds of one pass by batch."""

    layers: list[str]
    kernel: str
    memory: tuple[int, int]
    seconds: dict[int, tuple[float, float]]


def measure_layers(
    weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], batch_sizes: Sequence[int]
) -> Payoff:
    """Time x·Wᵀ over all pruned matrices, one after the other. Raises Failure without any."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    matrices = {name: weights[name].to(device) for name in masks if weights[name].ndim == 2}
    if not matrices:
        raise Failure("no pruned layer is linear: there are no sparse kernels for convolutions")
    semi = device.type == "cuda" and all(is_2to4(masks[name]) for name in matrices)
    if semi:
        dense = [w.half() for w in matrices.values()]
        sparse = [to_sparse_semi_structured(w) for w in dense]
        kernel, held = "2:4 in float16", sum(_bytes(w) * 9 // 16 for w in dense)
    else:
        dense = [w.float() for w in matrices.values()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that CSR is in beta
            sparse = [w.to_sparse_csr() for w in dense]
        kernel = "compressed rows (CSR) in float32"
        held = sum(
            _bytes(part) for w in sparse for part in (w.values(), w.col_indices(), w.crow_indices())
        )
    multiply = F.linear if semi else _csr_linear
    seconds = {}
    for batch in batch_sizes:
        inputs = [torch.randn(batch, w.shape[1], device=device, dtype=w.dtype) for w in dense]
        seconds[batch] = _compare(
            lambda xs=inputs: [F.linear(x, w) for x, w in zip(xs, dense, strict=True)],
            lambda xs=inputs: [multiply(x, w) for x, w in zip(xs, sparse, strict=True)],
            device,
        )
    return Payoff(list(matrices), kernel, (sum(map(_bytes, dense)), held), seconds)


def _csr_linear(x: Tensor, weight: Tensor) -> Tensor:
    return (weight @ x.T).T


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


@torch.inference_mode()
def _compare(a: Callable, b: Callable, device: torch.device) -> tuple[float, float]:
    """Median seconds of a call of each, measured in turn so that the load of others hits both."""
    repeats = [max(1, int(_ROUND_S / _time(work, 3, device))) for work in (a, b)]
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(_ROUNDS):
        for work, n, times in zip((a, b), repeats, taken, strict=True):
            times.append(_time(work, n, device))
    return statistics.median(taken[0]), statistics.median(taken[1])


def _time(work: Callable, n: int, device: torch.device) -> float:
    start = time.perf_counter()
    for _ in range(n):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / n
