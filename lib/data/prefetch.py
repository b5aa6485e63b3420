# SPDX-License-Identifier: MIT
"""Get the next batches onto the device before they are asked for.

    for x, y in prefetch((split.random_batch(step=step, …) for step in range(n)), device):
        …

A thread reads the batches (page faults of the memory map included) and copies them; on CUDA from
pinned memory and on a separate stream, so that copying overlaps with computation.
"""

import queue
import threading
from collections.abc import Iterator

import torch

Batch = tuple[torch.Tensor, torch.Tensor]  # inputs and targets
_END = object()


def prefetch(
    batches: Iterator[Batch], device: torch.device | str, depth: int = 2
) -> Iterator[Batch]:
    """The same batches on `device`, up to `depth` ahead of the consumer.

    What `batches` raises is raised here. Closing the iterator (leaving its loop and dropping it)
    ends the thread and closes `batches`.
    """
    device = torch.device(device)
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None
    ready: queue.Queue = queue.Queue(depth)
    stop = threading.Event()
    producer = threading.Thread(
        target=_produce, args=(batches, device, stream, ready, stop), name="prefetch", daemon=True
    )
    producer.start()
    try:
        while (item := ready.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            batch, copied = item
            if copied is not None:
                consumer = torch.cuda.current_stream(device)
                consumer.wait_event(copied)
                for tensor in batch:
                    tensor.record_stream(consumer)
            yield batch
    finally:
        stop.set()
        while producer.is_alive():  # it may be waiting for a free place
            _drain(ready)
            producer.join(0.01)


def _produce(
    batches: Iterator[Batch],
    device: torch.device,
    stream: "torch.cuda.Stream | None",
    ready: queue.Queue,
    stop: threading.Event,
) -> None:
    """The thread: put (batch on the device, event of its copy) until the end, then _END."""
    try:
        for batch in batches:
            if stop.is_set():
                return
            ready.put(_copied(batch, device, stream))
        ready.put(_END)
    except BaseException as error:  # handed to the consumer, who raises it
        ready.put(error)
    finally:
        if hasattr(batches, "close"):
            batches.close()


def _copied(batch: Batch, device: torch.device, stream: "torch.cuda.Stream | None"):
    """(`batch` on `device`, the event after its copy or None)."""
    if stream is None:
        return tuple(tensor.to(device) for tensor in batch), None
    with torch.cuda.stream(stream):  # pinning as well, or this thread would initialise device 0
        moved = tuple(tensor.pin_memory().to(device, non_blocking=True) for tensor in batch)
        return moved, stream.record_event()


def _drain(ready: queue.Queue) -> None:
    try:
        while True:
            ready.get_nowait()
    except queue.Empty:
        pass
