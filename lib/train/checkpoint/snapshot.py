# SPDX-License-Identifier: MIT
"""A copy of a training's state at one moment, fast enough to be taken between two steps.

    snapshot = Snapshot()
    contents = snapshot.take({"model_state_dict": model.state_dict(), "step": 12})
    snapshot.wait()                     # in the thread that reads `contents`

Tensors are copied into buffers that are allocated once: into fresh memory a copy takes 20 times as
long, because of the page faults. `contents` is valid until the next `take`.
"""

import copy
from typing import Any

import torch
from torch import Tensor


class Snapshot:
    """Buffers in CPU memory, as large as the state; pinned for what comes from a CUDA device."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[Any, ...], Tensor] = {}  # bytes, by the place in the state
        self._copied: list[torch.cuda.Event] = []

    @property
    def nbytes(self) -> int:
        """The size of the tensors of the latest state."""
        return sum(buffer.numel() for buffer in self._buffers.values())

    def take(self, state: Any) -> Any:
        """A copy of `state`, nested dicts, lists and tuples of tensors and plain values.

        What shares memory in `state`, such as tied weights, does so in the copy. Copies from CUDA
        are under way when this returns; work that is queued later cannot disturb them.
        """
        walk = _Walk(self._buffers)
        taken = walk.copy(state, ())
        self._buffers = walk.used
        self._copied = []
        for device in walk.devices:
            event = torch.cuda.Event()
            event.record(torch.cuda.current_stream(device))
            self._copied.append(event)
        return taken

    def wait(self) -> None:
        """Wait until the copies of the latest `take` are complete."""
        for event in self._copied:
            event.synchronize()


class _Walk:
    """One pass over a state. Whole storages are copied: views of one stay views of one."""

    def __init__(self, buffers: dict[tuple[Any, ...], Tensor]) -> None:
        self.used: dict[tuple[Any, ...], Tensor] = {}
        self.devices: set[torch.device] = set()  # CUDA
        self._buffers = buffers
        self._copies: dict[tuple[torch.device, int], Tensor] = {}  # by storage: its copy

    def copy(self, value: Any, place: tuple[Any, ...]) -> Any:
        if isinstance(value, Tensor):
            return self._tensor(value, place)
        if isinstance(value, dict):
            made = copy.copy(value)  # with what state_dict() keeps beside the items
            for key, item in value.items():
                made[key] = self.copy(item, (*place, key))
            return made
        if type(value) in (list, tuple):
            return type(value)(self.copy(item, (*place, i)) for i, item in enumerate(value))
        return copy.deepcopy(value)

    def _tensor(self, tensor: Tensor, place: tuple[Any, ...]) -> Tensor:
        tensor = tensor.detach()
        if tensor.layout is not torch.strided or tensor.is_conj() or tensor.is_neg():
            return tensor.clone().cpu()
        storage = tensor.untyped_storage()
        known = tensor.device, storage.data_ptr() or id(tensor)  # empty ones share address 0
        if known not in self._copies:
            self._copies[known] = self._storage(storage, tensor.device, place)
        made = torch.empty(0, dtype=tensor.dtype)
        return made.set_(
            self._copies[known].untyped_storage(),
            tensor.storage_offset(), tensor.size(), tensor.stride(),
        )  # fmt: skip

    def _storage(
        self, storage: torch.UntypedStorage, device: torch.device, place: tuple[Any, ...]
    ) -> Tensor:
        source = torch.empty(0, dtype=torch.uint8, device=device).set_(storage)
        on_cuda = device.type == "cuda"
        buffer = self._buffers.get(place)
        if buffer is None or buffer.numel() != source.numel() or buffer.is_pinned() != on_cuda:
            buffer = torch.empty(source.numel(), dtype=torch.uint8, pin_memory=on_cuda)
        if on_cuda:
            self.devices.add(device)
        self.used[place] = buffer
        return buffer.copy_(source, non_blocking=on_cuda)
