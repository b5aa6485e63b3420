# SPDX-License-Identifier: MIT
"""What holds for all tests: caches stay out of the user's home, signals arrive, and a slow machine
fails no test.

A shell starts what it puts in the background with SIGINT ignored, nohup does the same to SIGHUP,
and every program that a test starts would inherit that.
"""

import os
import resource
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
_CACHE = tempfile.TemporaryDirectory(prefix="adamwprune-tests-", ignore_cleanup_errors=True)
os.environ["HF_HOME"] = os.environ["ADAMWPRUNE_CACHE"] = _CACHE.name
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def file_size_limit():
    """A `with` block in which no file can grow past so many bytes: a disk that fills up."""

    @contextmanager
    def limit(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit
