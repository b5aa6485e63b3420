# SPDX-License-Identifier: MIT
"""A bar on a terminal while bytes are read; nothing elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LARGE = 2**26  # bytes; what is smaller is done before a bar can be read


@contextmanager
def transfer(title: str, size: int) -> Iterator[Callable[[int], None]]:
    """A function to call with the number of bytes read since it was called last, of `size`."""
    if size < _LARGE or not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (TextColumn(title), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
    with bar:
        task = bar.add_task(title, total=size)
        yield lambda count: bar.update(task, advance=count)
