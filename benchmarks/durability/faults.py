# SPDX-License-Identifier: MIT
"""Ends a process at a chosen place: the production code has no hooks for it.

    install("saving", at=120)     # SIGKILL at the 120th call made while a checkpoint is written
    install_counters()            # or nothing but counting: counts() in the end

Python's own profiling sees every call of a Python or C function on every thread that starts later,
and this one. The places:

    saving    any call within the code that writes checkpoints
    renaming  a call of the kernel that changes or syncs files: rename, link, unlink, fsync, write,
              open … (not the writes of a buffered file, which PyTorch uses)
    starting  any call before the first step ends: data, run directory, loading the checkpoint
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from lib.files import ROOT

_SAVING = (f"{ROOT}/lib/train/checkpoint/", f"{ROOT}/lib/train/saver", f"{ROOT}/lib/files")
_FILE_CALLS = frozenset(
    (
        "rename",
        "replace",
        "link",
        "unlink",
        "remove",
        "fsync",
        "fdatasync",
        "write",
        "open",
        "mkdir",
    )
)
_calls: dict[str, int] = {}
_started = False


def install(place: str, at: int) -> None:
    """Send this process SIGKILL at call number `at` of `place`."""
    matches = _PLACES[place]
    left = at

    def hook(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal left
        if matches(frame, event, arg):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    _profile(hook)


def install_counters() -> None:
    """Count the calls of each place."""
    _calls.update(dict.fromkeys(_PLACES, 0))

    def hook(frame: FrameType, event: str, arg: Any) -> None:
        for place, matches in _PLACES.items():
            if matches(frame, event, arg):
                _calls[place] += 1

    _profile(hook)


def counts() -> dict[str, int]:
    """How many calls there were of each place; empty without install_counters."""
    sys.setprofile(None)
    return dict(_calls)


def _profile(hook: Callable[[FrameType, str, Any], None]) -> None:
    threading.setprofile(hook)
    sys.setprofile(hook)


def _saving(frame: FrameType, event: str, _: Any) -> bool:
    if event not in ("call", "c_call"):
        return False
    caller = frame.f_code.co_filename
    return caller.startswith(_SAVING) or caller.endswith("/torch/serialization.py")


def _renaming(_: FrameType, event: str, arg: Any) -> bool:
    return event == "c_call" and arg.__name__ in _FILE_CALLS and arg.__module__ in ("posix", "io")


def _starting(frame: FrameType, event: str, _: Any) -> bool:
    global _started
    if event == "call" and frame.f_code.co_name == "end_step":
        _started = True
    return not _started and event in ("call", "c_call")


_PLACES: dict[str, Callable[[FrameType, str, Any], bool]] = {
    "saving": _saving,
    "renaming": _renaming,
    "starting": _starting,
}
