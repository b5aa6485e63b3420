# SPDX-License-Identifier: MIT
"""One training in this process, which may go on to others: a program, a notebook, a test.

    with session(settings) as start:
        train_from(settings, start)
    return start.trained_run()

What a training sets for all of PyTorch is set back afterwards, so that the next one begins as in a
fresh process, and gives the same bits.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .group import process_group
from .runtime import runtime_from_settings
from .start import Start

# A program may have set the precision of each (torch.set_float32_matmul_precision, allow_tf32).
_OPERATIONS = (
    torch.backends.cuda.matmul,
    torch.backends.cudnn.conv,
    torch.backends.cudnn.rnn,
    torch.backends.mkldnn.matmul,
    torch.backends.mkldnn.conv,
    torch.backends.mkldnn.rnn,
)


@contextmanager
def session(settings: Any, *, matmul_bound: bool = True, always: bool = False) -> Iterator[Start]:
    """Where the training begins, alone or as a rank of the group that torchrun started.

    `matmul_bound` is that of `setup`, `always` that of `process_group`; raises as they and
    Start.from_settings do.
    """
    with _torch_as_it_was():
        runtime = runtime_from_settings(settings, matmul_bound=matmul_bound)
        with process_group(
            runtime, timeout=settings.RANK_TIMEOUT, agree_on=settings.as_dict(), always=always
        ):
            yield Start.from_settings(settings, runtime)


@contextmanager
def _torch_as_it_was() -> Iterator[None]:
    """Set back what `setup` changes, but for the state of the random numbers."""
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    try:
        with _float32_is_float32():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = fill


@contextmanager
def _float32_is_float32() -> Iterator[None]:
    """Have all operations follow `setup`, also those whose precision was set one by one."""
    precision = torch.backends.fp32_precision
    torch.backends.fp32_precision = "ieee"
    deviant = [(op, op.fp32_precision) for op in _OPERATIONS if op.fp32_precision != "ieee"]
    for operation, _ in deviant:
        operation.fp32_precision = "ieee"
    try:
        yield
    finally:
        for operation, own in deviant:
            operation.fp32_precision = own
        torch.backends.fp32_precision = precision
