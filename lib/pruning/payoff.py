# SPDX-License-Identifier: MIT
"""How fast pruned linear layers are with the sparse kernels that PyTorch has on this machine."""

import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.sparse import to_sparse_semi_structured

from lib.errors import Failure
from lib.pruning.export import is_2to4

_ROUNDS = 25  # at most
_LEAST_ROUNDS = 7
_ROUND_S = 0.02  # of each side: far longer than the clock's resolution
_BUDGET_S = 6.0  # for one batch size, once the least rounds are done
_SETTLED = 0.05  # spread of the ratio at which measuring ends
UNSETTLED = 0.2  # spread of the ratio above which it means nothing

OnRound = Callable[[int, int, int], None]  # batch size, rounds done, rounds at most


@dataclass(frozen=True)
class Timing:
    """Quartiles over the rounds: seconds of a pass, dense and pruned, and their ratio."""

    dense: tuple[float, float, float]
    pruned: tuple[float, float, float]
    ratio: tuple[float, float, float]

    @property
    def settled(self) -> bool:
        """Whether the rounds agree on the ratio."""
        return spread(self.ratio) <= UNSETTLED


@dataclass(frozen=True)
class Payoff:
    """Of the linear layers, dense and pruned: bytes, and the time of a pass by batch size."""

    layers: list[str]
    kernel: str
    memory: tuple[int, int]
    times: dict[int, Timing]


def spread(quartiles: tuple[float, float, float]) -> float:
    """Half the interquartile range, as a share of the median."""
    return (quartiles[2] - quartiles[0]) / (2 * quartiles[1])


def measure_layers(
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    batch_sizes: Sequence[int],
    on_round: OnRound = lambda batch, done, most: None,
) -> Payoff:
    """Time x·Wᵀ over all pruned matrices, one after the other. Raises Failure without any.

    `on_round` is called before the first round of each batch size, and after each round.
    """
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
    times = {}
    for batch in batch_sizes:
        inputs = [torch.randn(batch, w.shape[1], device=device, dtype=w.dtype) for w in dense]
        times[batch] = compare(
            lambda xs=inputs: [F.linear(x, w) for x, w in zip(xs, dense, strict=True)],
            lambda xs=inputs: [multiply(x, w) for x, w in zip(xs, sparse, strict=True)],
            device,
            lambda done, size=batch: on_round(size, done, _ROUNDS),
        )
    return Payoff(list(matrices), kernel, (sum(map(_bytes, dense)), held), times)


def _csr_linear(x: Tensor, weight: Tensor) -> Tensor:
    return (weight @ x.T).T


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


@torch.inference_mode()
def compare(
    dense: Callable[[], Any],
    pruned: Callable[[], Any],
    device: torch.device,
    on_round: Callable[[int], None],
) -> Timing:
    """Time both in turn, so that other load affects both, until their ratio settles.

    Each round times one after the other, and the next round in the opposite order. `on_round` is
    called with the number of rounds done, starting with 0.
    """
    works = (dense, pruned)
    repeats = [max(1, int(_ROUND_S / _time(work, 3, device))) for work in works]
    taken: tuple[list[float], list[float]] = ([], [])
    ratios: list[float] = []
    started = time.perf_counter()
    on_round(0)
    for done in range(1, _ROUNDS + 1):
        for side in (0, 1) if done % 2 else (1, 0):
            taken[side].append(_time(works[side], repeats[side], device))
        ratios.append(taken[0][-1] / taken[1][-1])
        on_round(done)
        if done >= _LEAST_ROUNDS and (
            spread(_quartiles(ratios)) <= _SETTLED or time.perf_counter() - started > _BUDGET_S
        ):
            break
    return Timing(_quartiles(taken[0]), _quartiles(taken[1]), _quartiles(ratios))


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return (values[0],) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def _time(work: Callable, n: int, device: torch.device) -> float:
    start = time.perf_counter()
    for _ in range(n):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / n
