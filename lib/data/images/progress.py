# SPDX-License-Identifier: MIT
"""The progress of reading images: a bar on a terminal, a line every ten seconds elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LINE_SECONDS = 10.0


@contextmanager
def reading_progress(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A function to call with the number of images read so far."""
    if sys.stderr.isatty():
        with _bar(name, total) as update:
            yield update
    else:
        yield _lines(name, total)


@contextmanager
def _bar(name: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=total)
        yield lambda done: progress.update(task, completed=done)


def _lines(name: str, total: int) -> Callable[[int], None]:
    started = said = time.monotonic()

    def update(done: int) -> None:
        nonlocal said
        now = time.monotonic()
        if now - said >= LINE_SECONDS:
            said = now
            speed = done / (now - started)
            print(
                f"{name}: {done:,} of {total:,} images read, {speed:,.0f} a second, "
                f"{(total - done) / speed / 60:.0f} minutes left",
                file=sys.stderr,
            )

    return update
