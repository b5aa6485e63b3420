# SPDX-License-Identifier: MIT
"""Measurements of the machine, taken by the forwarder and written to the journal as system/*.

Thus they reach every tracker exactly once, live or in a later replay, as all rows do. GPUs: NVIDIA
through nvidia-ml-py, AMD through amdsmi where it is installed; those of CUDA_VISIBLE_DEVICES.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ..advice import installing
from ..runs.journal import Journal

_GIB = 2**30


class SystemMetrics:
    """Logs a row of system/* every `interval` seconds; an interval of 0 turns it off.

    Without psutil nothing is measured, which logs/tracking.log says.
    """

    def __init__(self, journal: Path, interval: float) -> None:
        try:
            import psutil
        except ModuleNotFoundError:
            if interval > 0:
                print(f"no system/*: psutil is missing: {installing('psutil')}", file=sys.stderr)
            interval = 0.0
        self._interval = interval
        self._next = time.monotonic()
        if interval <= 0:
            return
        self._psutil = psutil
        self._journal = Journal(journal, warn=lambda _: None)
        self._disk = journal.parent
        self._gpus = _gpu_reader()
        psutil.cpu_percent()  # the first call has no earlier one to compare with

    def due(self) -> bool:
        """True when it is time for a row."""
        return self._interval > 0 and time.monotonic() >= self._next

    def log(self, step: int) -> None:
        """Append one row at `step`."""
        self._next = time.monotonic() + self._interval
        self._journal.log(self.measure(), step)

    def measure(self) -> dict[str, float]:
        """CPU and memory use in percent, sizes in GiB, degrees Celsius, watts."""
        psutil = self._psutil
        memory = psutil.virtual_memory()
        disk = psutil.disk_usage(str(self._disk))
        return {
            "system/cpu_percent": psutil.cpu_percent(),
            "system/memory_percent": memory.percent,
            "system/memory_used_gib": (memory.total - memory.available) / _GIB,
            "system/disk_percent": disk.percent,
            "system/disk_free_gib": disk.free / _GIB,
            **self._gpus(),
        }


def _gpu_reader() -> Callable[[], dict[str, float]]:
    for make in (_nvidia, _amd):
        try:
            return make()
        except Exception:  # no driver, no library, no permission: each raises its own
            continue
    return dict


def _nvidia() -> Callable[[], dict[str, float]]:
    import pynvml

    pynvml.nvmlInit()
    chosen = _visible(os.environ.get("CUDA_VISIBLE_DEVICES"), pynvml.nvmlDeviceGetCount())
    handles = {
        index: pynvml.nvmlDeviceGetHandleByIndex(index)
        if isinstance(index, int)
        else pynvml.nvmlDeviceGetHandleByUUID(index)
        for index in chosen
    }
    readings: dict[str, Callable[[object], float]] = {
        "utilization_percent": lambda gpu: pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu,
        "memory_used_gib": lambda gpu: pynvml.nvmlDeviceGetMemoryInfo(gpu).used / _GIB,
        "memory_percent": lambda gpu: _share(pynvml.nvmlDeviceGetMemoryInfo(gpu)),
        "temperature_c": lambda gpu: pynvml.nvmlDeviceGetTemperature(
            gpu, pynvml.NVML_TEMPERATURE_GPU
        ),
        "power_w": lambda gpu: pynvml.nvmlDeviceGetPowerUsage(gpu) / 1000,
    }

    def read() -> dict[str, float]:
        values = {}
        for number, gpu in enumerate(handles.values()):
            for name, reading in readings.items():
                try:
                    values[f"system/gpu{number}_{name}"] = float(reading(gpu))
                except pynvml.NVMLError:  # not every device reports everything
                    continue
        return values

    return read


def _share(memory: object) -> float:
    return 100.0 * memory.used / memory.total  # type: ignore[attr-defined]


def _amd() -> Callable[[], dict[str, float]]:
    import amdsmi

    amdsmi.amdsmi_init()
    handles = amdsmi.amdsmi_get_processor_handles()

    def read() -> dict[str, float]:
        values = {}
        for number, gpu in enumerate(handles):
            prefix = f"system/gpu{number}_"
            activity = amdsmi.amdsmi_get_gpu_activity(gpu)
            values[f"{prefix}utilization_percent"] = float(activity["gfx_activity"])
            memory = amdsmi.amdsmi_get_gpu_vram_usage(gpu)  # MiB
            values[f"{prefix}memory_used_gib"] = memory["vram_used"] / 1024
            values[f"{prefix}memory_percent"] = 100.0 * memory["vram_used"] / memory["vram_total"]
            power = amdsmi.amdsmi_get_power_info(gpu)["average_socket_power"]
            if isinstance(power, (int, float)):
                values[f"{prefix}power_w"] = float(power)
            values[f"{prefix}temperature_c"] = float(
                amdsmi.amdsmi_get_temp_metric(
                    gpu,
                    amdsmi.AmdSmiTemperatureType.EDGE,
                    amdsmi.AmdSmiTemperatureMetric.CURRENT,
                )
            )
        return values

    return read


def _visible(devices: str | None, count: int) -> list[int | str]:
    """The devices of CUDA_VISIBLE_DEVICES, by number or by UUID; all if it is not set."""
    if devices is None:
        return list(range(count))
    names = [name.strip() for name in devices.split(",") if name.strip()]
    return [int(name) if name.isdecimal() else name for name in names if name != "-1"]
