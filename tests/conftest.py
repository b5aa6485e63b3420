# SPDX-License-Identifier: MIT
"""What holds for all tests: libraries keep their caches out of the user's home."""

import os
import tempfile

_CACHE = tempfile.TemporaryDirectory(prefix="adamwprune-tests-", ignore_cleanup_errors=True)
os.environ["HF_HOME"] = _CACHE.name
