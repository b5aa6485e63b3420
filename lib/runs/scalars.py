# SPDX-License-Identifier: MIT
"""The values of metrics as plain Python scalars, without waiting for those still on a GPU.

values, events = to_scalars({"train/loss": loss, "lr": 0.1})
…                                       # once each event has completed:
row = arrived({"step": 1, "metrics": values})
"""

import sys
from collections.abc import Mapping
from typing import Any

PLAIN = frozenset((float, int, bool))


def to_scalars(metrics: Mapping[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """Plain Python scalars, or pinned host copies in flight and the CUDA events to wait for.

    Raises TypeError, naming the metric, for a value that is not one number.
    """
    values: dict[str, Any] = {}
    devices: dict[Any, None] = {}
    for name, value in metrics.items():
        if type(value) in PLAIN:
            values[name] = value
        elif getattr(value, "is_cuda", False) and value.ndim == 0:
            # PyTorch copies into pinned memory here, so that neither side waits.
            values[name] = value.detach().to("cpu", non_blocking=True)
            devices[value.device] = None
        else:
            values[name] = _to_scalar(name, value)
    return values, [_event_on(device) for device in devices]


def _to_scalar(name: str, value: Any) -> float | int | bool:
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):  # NumPy, CPU tensors
        value = value.item()
    if type(value) in PLAIN:
        return value
    for kind in (int, float):  # an IntEnum, say
        if isinstance(value, kind):
            return kind(value)
    shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
    raise TypeError(f"metric {name!r} is not a number but {type(value).__name__}{shape}")


def _event_on(device: Any) -> Any:
    """An event that completes with the copies enqueued so far on `device`."""
    cuda = sys.modules["torch"].cuda  # imported already, since a CUDA tensor exists
    event = cuda.Event()
    event.record(cuda.current_stream(device))
    return event


def arrived(row: dict[str, Any]) -> dict[str, Any]:
    """A row of which all values have arrived, with plain scalars."""
    metrics = row["metrics"]
    values = {k: v if type(v) in PLAIN else v.item() for k, v in metrics.items()}
    return {**row, "metrics": values}
