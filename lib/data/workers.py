# SPDX-License-Identifier: MIT
"""Processes that call a function on tasks; the results come in the order of the tasks.

    with Workers(function, count=4) as workers:
        for result in workers.map(tasks): …

`function` is picklable: a frozen dataclass with `__call__`. A worker is a fresh interpreter that is
fed through its standard input. It imports only what `function` needs, shares no lock with the main
program, which may have threads, and ends by itself when the main program is gone, however that
ended, because its input ends. Signals do not reach it: the main program decides what they mean.
"""

import contextlib
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO

from ..errors import Failure
from ..files import python_path
from ..signals import blocked

_COMMAND = [sys.executable, "-c", f"from {__name__} import serve; serve()"]
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
_LENGTHS = struct.Struct("<Q")


class WorkerEnded(Failure):
    """A worker process ended although it was given no reason to."""


def cpu_count() -> int:
    """The CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """`count` processes that run `function`; `map` may be used by several threads at once."""

    def __init__(self, function: Callable[[Any], Any], count: int) -> None:
        self._idle: queue.SimpleQueue = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(count, "worker")
        self._depth = 2 * count + 1
        with blocked(*_SIGNALS):  # for the workers' whole life, which inherit this
            self.processes = [
                subprocess.Popen(
                    _COMMAND,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=os.environ | _ONE_THREAD | python_path(),
                )
                for _ in range(count)
            ]
        for process in self.processes:
            self._idle.put(process)
            with contextlib.suppress(BrokenPipeError):  # a dead worker is reported at its first use
                _send(process.stdin, function)

    def map(self, tasks: Iterable[Any]) -> Iterator[Any]:
        """The results in order, reading at most a few tasks ahead.

        Raises a Failure that `function` raises, and WorkerEnded when a process dies.
        """
        pending: deque[Future] = deque()
        try:
            for task in tasks:
                pending.append(self._threads.submit(self._call, task))
                if len(pending) >= self._depth:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def close(self) -> None:
        """End the processes; what they are computing is lost."""
        for process in self.processes:
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self.processes:
            process.wait()
            process.stdout.close()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, task: Any) -> Any:
        process = self._idle.get()
        try:
            _send(process.stdin, task)
            result = _receive(process.stdout)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            raise WorkerEnded(
                f"a worker process ended (exit status {process.wait()}; -9 is often a lack of "
                "memory: set NUM_WORKERS lower)"
            ) from error
        finally:
            self._idle.put(process)
        if isinstance(result, Failure):
            raise result
        return result


def map_tasks(
    function: Callable[[Any], Any], tasks: Sequence[Any], count: int, few: int = 16
) -> Iterator[Any]:
    """`function` of each of `tasks`, in order, by `count` processes; a `few` are not worth any."""
    if len(tasks) <= few:
        yield from map(function, tasks)
        return
    with Workers(function, count) as workers:
        yield from workers.map(tasks)


def _send(stream: BinaryIO, message: object) -> None:
    """Write `message`; arrays in it are neither copied nor kept twice."""
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL, buffer_callback=buffers.append)
    parts = [body, *(buffer.raw() for buffer in buffers)]
    stream.write(_LENGTHS.pack(len(parts)))
    stream.write(b"".join(_LENGTHS.pack(len(part)) for part in parts))
    for part in parts:
        stream.write(part)
    stream.flush()


def _receive(stream: BinaryIO) -> Any:
    """Read what `_send` wrote. Raises EOFError when the stream ends."""
    (count,) = _LENGTHS.unpack(_read(stream, _LENGTHS.size))
    lengths = [_LENGTHS.unpack(_read(stream, _LENGTHS.size))[0] for _ in range(count)]
    body, *buffers = [_read(stream, length) for length in lengths]
    return pickle.loads(body, buffers=buffers)


def _read(stream: BinaryIO, length: int) -> bytearray:
    data = bytearray(length)
    view = memoryview(data)
    while view:
        got = stream.readinto(view)
        if not got:
            raise EOFError
        view = view[got:]
    return data


def serve() -> None:
    """What a worker runs: the function first, then one task after another, until the input ends."""
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not mix with the results
    tasks = sys.stdin.buffer
    # Input that ends, also within a message, comes from a program that is gone.
    with contextlib.suppress(EOFError, BrokenPipeError):
        function = _receive(tasks)
        while True:
            task = _receive(tasks)
            try:
                result = function(task)
            except Failure as error:
                result = error
            _send(results, result)
