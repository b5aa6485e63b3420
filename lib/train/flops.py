# SPDX-License-Identifier: MIT
"""Model flops utilisation: the share of a device's arithmetic that goes into the model.

    flops = transformer_flops_per_token(parameters, n_layer, width, context)
    flops = counted_flops(lambda: loss(model(images), labels)) / len(images)
    peak = peak_flops(device, "bfloat16")
    mfu = tokens_per_s * flops / (peak.flops * devices)

The peak is that of dense matrix products in the precision of the run: the maker's figure for a
GPU, and for a CPU the speed of a matrix product measured at the start. Work that an implementation
repeats or wastes does not count (Chowdhery et al. 2022, appendix B).
"""

import re
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from .runtime import Runtime

# Dense bfloat16 TFLOP/s from the makers' data sheets, without sparsity. The A10G's is what it
# sustains at its clocks, the MI250X's is that of one of its two dies, each of which is a device.
BFLOAT16_PEAKS = {
    "B200": 2250.0,
    "GH200": 989.0,
    "H200 NVL": 835.0,
    "H200": 989.0,
    "H100 NVL": 835.0,
    "H100 PCIe": 756.0,
    "H100": 989.0,
    "H800": 989.0,
    "A100": 312.0,
    "A800": 312.0,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
    "A10G": 70.0,
    "A10": 125.0,
    "RTX 6000 Ada": 364.0,
    "RTX 4090": 165.0,
    "RTX 3090": 71.0,
    "MI300X": 1307.0,
    "MI250X": 191.5,
    "W7900": 123.0,
}
# Dense float16 with float32 sums, of those without bfloat16; the others have the same in both.
FLOAT16_PEAKS = {"V100S": 130.0, "V100 PCIe": 112.0, "V100": 125.0, "T4": 65.0}
# What may surround the model in a device's name: maker, series, memory, form factor. Any other
# word makes it another device: RTX 4090 Laptop GPU, A10-24Q (a share of one), A100 … MIG 1g.5gb.
_AROUND = re.compile(
    r"NVIDIA|TESLA|GEFORCE|GRAPHICS|GENERATION|AMD|INSTINCT|RADEON|PRO|"
    r"SXM\d*|PCIE|OAM|HBM\w+|\d+GB"
)


class Peak(NamedTuple):
    """Flops a second, and where the figure comes from, for readers of an MFU."""

    flops: float
    source: str


def transformer_flops_per_token(parameters: int, n_layer: int, width: int, context: int) -> float:
    """Flops of one training step per token: 6 N + 12 · layers · width · context.

    `parameters` N counts those that take part in a matrix product: the output projection once,
    position embeddings not at all. A product costs 2 flops a weight forward and 4 backward; the
    second term is for the scores and the weighted sum of attention, not halved for causality
    (Chowdhery et al. 2022, appendix B).
    """
    return 6.0 * parameters + 12.0 * n_layer * width * context


def counted_flops(loss: Callable[[], Tensor]) -> int:
    """Flops of the products and convolutions in the forward and backward pass of `loss()`.

    On tensors of the meta device nothing is computed, so that this takes less than a second for
    networks of any size.
    """
    with FlopCounterMode(display=False) as counter:
        torch.autograd.backward(loss())
    return counter.get_total_flops()


def peak_flops(device: torch.device, precision: str) -> Peak | None:
    """The peak of `device` in `precision`; None if it is not known.

    That of a CPU in float16 is not measured: emulated, it takes minutes and says nothing.
    """
    if device.type == "cpu":
        return None if precision == "float16" else _measured_cpu(precision)
    if device.type != "cuda" or precision == "float32":
        return None
    peaks = BFLOAT16_PEAKS | (FLOAT16_PEAKS if precision == "float16" else {})
    model = _known_model(torch.cuda.get_device_name(device), peaks)
    if model is None:
        return None
    return Peak(1e12 * peaks[model], f"{peaks[model]:g} TFLOP/s, dense {precision} of the {model}")


def _known_model(device_name: str, models: Iterable[str]) -> str | None:
    """Which of `models` a device's name means, word by word."""
    words = set(re.split(r"[\s-]+", device_name.upper()))
    for model in sorted(models, key=len, reverse=True):  # H100 PCIe before H100
        named = set(model.upper().split())
        if named <= words and all(_AROUND.fullmatch(word) for word in words - named):
            return model
    return None


def _measured_cpu(precision: str, size: int = 1024, repeats: int = 10) -> Peak:
    """The fastest of a few square products, each about 10 ms in float32 on two cores."""
    a = torch.ones(size, size, dtype=getattr(torch, precision))
    a @ a  # the first one sets up the library
    best = min(_seconds(a) for _ in range(repeats))
    flops = 2.0 * size**3 / best
    return Peak(flops, f"{flops / 1e9:,.0f} GFLOP/s, a {precision} product measured here")


def _seconds(a: torch.Tensor) -> float:
    start = time.perf_counter()
    a @ a
    return time.perf_counter() - start


class Meter:
    """What a run logs about its speed: `unit`s a second, and its MFU.

    An example has `units` units, such as tokens, and costs `flops` in a training step; 0 where
    that is not known, and then there is no MFU.
    """

    def __init__(
        self, runtime: Runtime, *, unit: str = "samples", units: int = 1, flops: float = 0.0
    ) -> None:
        self._metric, self._units = f"perf/{unit}_per_s", units
        self._flops, self._devices = flops, runtime.world_size
        self._peak = peak_flops(runtime.device, runtime.precision) if flops else None
        # What the MFU is a share of; "" where there is none.
        self.peak_source = self._peak.source if self._peak else ""

    def metrics(self, examples_per_s: float) -> dict[str, float]:
        """The rate of all ranks, and perf/mfu, a share of their devices' peak, where known."""
        metrics = {self._metric: examples_per_s * self._units}
        if self._peak is not None:
            peak = self._peak.flops * self._devices
            metrics["perf/mfu"] = examples_per_s * self._flops / peak
        return metrics
