# SPDX-License-Identifier: MIT
"""How fast pruned layers are on this machine: linear ones with the sparse kernels that PyTorch has,
convolutions without the filters that were removed.
"""

import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.sparse import to_sparse_semi_structured

from .export import is_2to4

_ROUNDS = 25  # at most
_LEAST_ROUNDS = 7
_ROUND_S = 0.02  # of each side: far longer than the clock's resolution
_BUDGET_S = 6.0  # for one batch size, once the least rounds are done
_SETTLED = 0.05  # spread of the ratio at which measuring ends
UNSETTLED = 0.2  # spread of the ratio above which it means nothing

# What is measured, rounds done, rounds at most.
OnRound = Callable[[str, int, int], None]

IMAGES, EDGE = 16, 8  # what convolutions are timed on: the sizes in the network are not known here


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
    """Of the pruned layers: bytes, dense and pruned, and the time of a pass.

    `linear` are the names of the linear layers, timed with `kernel` by batch size; `cut` those of
    the convolutions that lack whole filters, timed without these; `dense` those of the other
    convolutions, which pruning makes neither smaller in memory nor faster.
    """

    linear: list[str]
    cut: list[str]
    dense: list[str]
    memory: tuple[int, int]
    kernel: str = ""
    times: Mapping[int, Timing] = field(default_factory=dict)
    cut_time: Timing | None = None


def spread(quartiles: tuple[float, float, float]) -> float:
    """Half the interquartile range, as a share of the median."""
    return (quartiles[2] - quartiles[0]) / (2 * quartiles[1])


def measure_layers(
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    batch_sizes: Sequence[int],
    on_round: OnRound = lambda what, done, most: None,
) -> Payoff:
    """Time the pruned layers, one after the other, as far as there is a faster way to compute them.

    Linear layers: x·Wᵀ by sparse kernels, or without the rows that were removed if nothing else
    was. Convolutions that lack whole filters: without them, on IMAGES images of EDGE × EDGE pixels
    with stride 1. Other convolutions are not timed. `on_round` is called before the first round of
    each measurement, and after each round.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    layers = {name: weights[name].to(device) for name in masks}
    linear = {name: w for name, w in layers.items() if w.ndim == 2}
    cut = {n: w for n, w in layers.items() if w.ndim == 4 and not masks[n].flatten(1).any(1).all()}
    dense = {name: w for name, w in layers.items() if name not in linear and name not in cut}
    pruned = sum(_bytes(w.float()) for w in dense.values())
    parts: dict[str, Any] = {}
    if linear:
        kernel, held, times = _time_linear(
            list(linear.values()), [masks[name] for name in linear], batch_sizes, on_round
        )
        parts |= {"kernel": kernel, "times": times}
        pruned += held
    if cut:
        kept = [w[masks[name].flatten(1).any(1).to(device)] for name, w in cut.items()]
        parts["cut_time"] = _time_cut(list(cut.values()), kept, on_round)
        pruned += sum(_bytes(w.float()) for w in kept)
    memory = sum(_bytes(w.float()) for w in layers.values()), pruned
    return Payoff(list(linear), list(cut), list(dense), memory, **parts)


def _time_linear(
    matrices: list[Tensor], masks: list[Tensor], batch_sizes: Sequence[int], on_round: OnRound
) -> tuple[str, int, dict[int, Timing]]:
    """(kernel, bytes that it holds, times by batch size)."""
    device, multiply = matrices[0].device, F.linear
    rows = [mask.any(1) for mask in masks]
    if not all(kept.all() for kept in rows) and all(
        kept.equal(mask.all(1)) for kept, mask in zip(rows, masks, strict=True)
    ):
        dense = [w.float() for w in matrices]
        sparse = [w[kept.to(device)] for w, kept in zip(dense, rows, strict=True)]
        kernel, held = "without the rows that were removed, in float32", sum(map(_bytes, sparse))
    elif device.type == "cuda" and all(is_2to4(mask) for mask in masks):
        dense = [w.half() for w in matrices]
        sparse = [to_sparse_semi_structured(w) for w in dense]
        kernel, held = "2:4 in float16", sum(_bytes(w) * 9 // 16 for w in dense)
    else:
        dense = [w.float() for w in matrices]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that CSR is in beta
            sparse = [w.to_sparse_csr() for w in dense]
        kernel, multiply = "compressed rows (CSR) in float32", _csr_linear
        held = sum(
            _bytes(part) for w in sparse for part in (w.values(), w.col_indices(), w.crow_indices())
        )
    times = {}
    for batch in batch_sizes:
        inputs = [torch.randn(batch, w.shape[1], device=device, dtype=w.dtype) for w in dense]
        times[batch] = compare(
            lambda xs=inputs: [F.linear(x, w) for x, w in zip(xs, dense, strict=True)],
            lambda xs=inputs: [multiply(x, w) for x, w in zip(xs, sparse, strict=True)],
            device,
            lambda done, size=batch: on_round(f"batch size {size}", done, _ROUNDS),
        )
    return kernel, held, times


def _time_cut(whole: list[Tensor], kept: list[Tensor], on_round: OnRound) -> Timing:
    """Convolutions in float32, with all filters and with those that are kept."""
    device = whole[0].device
    shape = {w.shape[1]: (IMAGES, w.shape[1], EDGE, EDGE) for w in whole}
    inputs = {n: _channels_last(torch.randn(size, device=device)) for n, size in shape.items()}

    def work(filters: list[Tensor]) -> Callable[[], Any]:
        filters = [_channels_last(w.float()) for w in filters if len(w)]
        return lambda: [
            F.conv2d(inputs[w.shape[1]], w, padding=(w.shape[2] // 2, w.shape[3] // 2))
            for w in filters
        ]

    return compare(
        work(whole), work(kept), device, lambda done: on_round("convolutions", done, _ROUNDS)
    )


def _channels_last(x: Tensor) -> Tensor:
    return x.to(memory_format=torch.channels_last)


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
