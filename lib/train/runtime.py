# SPDX-License-Identifier: MIT
"""Device, precision, threads, seed and rank of a training.

runtime = setup(seed=0, device="auto", precision="auto", threads=0)
with runtime.autocast():
    loss = …
"""

import ctypes
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from ..errors import BadUse, Failure
from ..launch_env import launch_env

MANY_THREADS = 64  # allowed on any machine


@dataclass(frozen=True)
class Runtime:
    """What `setup` chose. `precision` is "float32", "bfloat16" or "float16".

    `kernels`: the implementation of each operation that has several (lib/train/precision.py).
    """

    device: torch.device
    precision: str
    rank: int
    world_size: int
    kernels: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    @property
    def reads_freely(self) -> bool:
        """Whether reading a number back costs nothing, as on one CPU.

        Elsewhere it makes a GPU wait, or ranks wait for each other.
        """
        return self.device.type == "cpu" and self.world_size == 1

    def autocast(self) -> AbstractContextManager:
        """Computes matrix products and convolutions within it in `precision`."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, getattr(torch, self.precision))


def setup(
    seed: int, device: str, precision: str, threads: int, *, matmul_bound: bool = True
) -> Runtime:
    """Prepare PyTorch for a training.

    `device` is auto, cpu, cuda or mps; `precision` is auto, float32, bfloat16 or float16; `threads`
    is the number of threads of a CPU operation, 0 for PyTorch's choice. A model that is not
    `matmul_bound` gains nothing from 16 bits, so auto gives it float32.

    Seeds all of PyTorch's generators. On a CPU, results are then bit for bit the same for the same
    number of threads. Raises Failure when there is no such `device` and BadUse when the launch
    environment makes no sense.
    """
    launch = launch_env()
    if threads:
        _check_threads(threads)
        torch.set_num_threads(threads)
    chosen = _device(device, launch.local_rank)
    if precision == "auto":
        precision = _fastest_precision(chosen) if matmul_bound else "float32"
    if precision == "float16" and chosen.type == "mps":
        raise BadUse("PRECISION=float16 is for CUDA devices: on mps take bfloat16 or float32")
    torch.backends.fp32_precision = "ieee"  # float32 means float32: no TF32 in convolutions
    torch.manual_seed(seed)
    if chosen.type == "cpu":
        _keep_freed_memory()
        # costs nothing here, and would cost speed on a GPU
        torch.use_deterministic_algorithms(True)
        torch.utils.deterministic.fill_uninitialized_memory = False
    return Runtime(
        device=chosen,
        precision=precision,
        rank=launch.rank,
        world_size=launch.world_size,
    )


def runtime_from_settings(settings: Any, *, matmul_bound: bool = True) -> Runtime:
    """`setup` as the settings ask."""
    return setup(
        settings.SEED,
        settings.DEVICE,
        settings.PRECISION,
        settings.NUM_THREADS,
        matmul_bound=matmul_bound,
    )


def _check_threads(threads: int) -> None:
    """Raise BadUse for a number of threads that cannot be intended.

    More threads than cores are slower, but reproduce the last bits of a machine that has the cores.
    """
    cores = os.cpu_count() or 1
    limit = max(MANY_THREADS, 4 * cores)
    if threads > limit:
        raise BadUse(
            f"NUM_THREADS={threads}: this machine has {cores} cores; at most {limit} threads are "
            "allowed here, and 0 leaves the number to PyTorch"
        )


def _keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next step instead of returning it to the kernel.

    Otherwise activations of some megabytes each are mapped anew at every step, zeroed and faulted
    in page by page: a 6-layer transformer has 78,000 page faults a step, and none with this. C
    libraries without mallopt are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        m_trim_threshold, m_mmap_max = -1, -4  # malloc.h
        mallopt(m_trim_threshold, 2**31 - 1)
        mallopt(m_mmap_max, 0)


def _device(name: str, local_rank: int) -> torch.device:
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, there in present.items() if there)
    if not present[name]:
        there = ", ".join(device for device, is_there in present.items() if is_there)
        raise Failure(f"DEVICE={name}: PyTorch finds no such device here; it finds: {there}")
    if name == "cuda":
        gpus = torch.cuda.device_count()
        if local_rank >= gpus:
            raise BadUse(
                f"LOCAL_RANK={local_rank}: a rank needs a GPU of its own, and PyTorch finds {gpus} "
                f"here. Start at most {gpus} (NPROC={gpus}), and see CUDA_VISIBLE_DEVICES"
            )
        name = f"cuda:{local_rank}"
        torch.cuda.set_device(name)
    return torch.device(name)


def _fastest_precision(device: torch.device) -> str:
    """The precision that the device has units for; emulation is slower than float32."""
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bfloat16"
        has_tensor_cores = torch.cuda.get_device_capability(device) >= (7, 0)
        return "float16" if has_tensor_cores else "float32"
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return "bfloat16" if able.get("amx_bf16") or able.get("avx512_bf16") else "float32"
    return "float32"
