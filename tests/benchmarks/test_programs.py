# SPDX-License-Identifier: MIT
"""The benchmarks that can be made short run to their last line, which is JSON."""

import json
import os
import subprocess
import sys

import pytest

from lib.files import ROOT


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        (["config", "--runs", "1"], "make defconfig"),
        (["journal", "--rows", "200"], "Journal.log"),
        pytest.param(
            ["prune", "--layers", "1", "--rounds", "1"], "update_steps", marks=pytest.mark.slow
        ),
        pytest.param(
            ["checkpoint", "--layers", "1", "--rounds", "1", "--steps", "2"],
            "pause_to_copy",
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_benchmark_ends_in_json(arguments, key):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    program, *flags = arguments
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{program}", *flags],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert key in json.loads(done.stdout.splitlines()[-1])
