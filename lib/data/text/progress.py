# SPDX-License-Identifier: MIT
"""The progress of a preparation: a bar on a terminal, a line every ten seconds elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .staging import State

LINE_SECONDS = 10.0


@contextmanager
def preparation_progress(name: str, size: int | None) -> Iterator[Callable[[State], None]]:
    """A function to call with the state from time to time; `size`: bytes of text, if known."""
    if sys.stderr.isatty():
        with _bar(name, size) as update:
            yield update
    else:
        yield _lines(name, size)


@contextmanager
def _bar(name: str, size: int | None) -> Iterator[Callable[[State], None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn(f"{name} {{task.fields[tokens]:,}} tokens"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=size, tokens=0)

        def update(state: State) -> None:
            tokens = sum(state.tokens.values())
            progress.update(task, completed=state.text_bytes, tokens=tokens)

        yield update


def _lines(name: str, size: int | None) -> Callable[[State], None]:
    started = said = time.monotonic()
    first: int | None = None

    def update(state: State) -> None:
        nonlocal said, first
        now = time.monotonic()
        first = state.text_bytes if first is None else first
        if now - said >= LINE_SECONDS:
            said = now
            share = f" ({100 * state.text_bytes / size:.0f} %)" if size else ""
            speed = (state.text_bytes - first) / (now - started) / 1e6
            print(
                f"{name}: {state.text_bytes / 1e6:,.0f} MB{share}, "
                f"{sum(state.tokens.values()):,} tokens, {speed:.1f} MB/s",
                file=sys.stderr,
            )

    return update
