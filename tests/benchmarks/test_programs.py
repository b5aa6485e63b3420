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
        (["resnet50_cifar10"], "says"),
        (["augmentation", "--repeats", "1"], "ms"),
        pytest.param(
            ["runs", "--runs", "30", "--repeats", "1"], "make runs", marks=pytest.mark.slow
        ),
        (["sample", "--layers", "1", "--width", "64", "--block", "32", "--rounds", "1"], "results"),
        pytest.param(
            ["prune", "--layers", "1", "--rounds", "1"], "update_steps", marks=pytest.mark.slow
        ),
        pytest.param(
            ["checkpoint", "--layers", "1", "--rounds", "1", "--steps", "2"],
            "pause_to_copy",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["resnet50", "--width", "4", "--batch", "8", "--rounds", "1", "--steps", "2"],
            "results",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["loop_overhead", "lenet5", '{"max-steps": 3}'], "overhead", marks=pytest.mark.slow
        ),
        pytest.param(
            ["sweep", "--trials", "2", "--finished", "20"],
            "until the next one, s",
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


@pytest.mark.parametrize("program", ["data", "gpt2", "resnet50", "pruning_quality"])
def test_help_says_what_is_measured(program):
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{program}", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "last line is JSON" in " ".join(done.stdout.split())
