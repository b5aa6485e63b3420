# SPDX-License-Identifier: MIT
"""Time to 94 % on CIFAR-10 with one GPU: `python -m benchmarks.resnet50_cifar10`.

Trains with resnet50/train.py by the RECIPE below, once for each of SEEDS, and takes the accuracy of
the final weights on the test images, which are used for nothing else. The time is that of the
training, evaluations and checkpoints included, compilation and the first copy of the images not.
Without a GPU or without the images, which `make defconfig-resnet50-cifar10 data` prepares, it says
so.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml

from benchmarks.flags import as_argv
from lib.config.settings import load_settings
from lib.data.images.from_settings import SOURCES
from lib.files import ROOT

GOAL, SEEDS = 0.94, (0, 1, 2)
CONFIG = "defconfigs/resnet50-cifar10"
# SGD in large batches with a warm-up over a fifth of 24 epochs, then down in a straight line.
RECIPE = {
    "resnet-depth": 18,
    "resnet-width": 64,
    "optimizer": "sgd",
    "momentum": 0.9,
    "nesterov": True,
    "weight-decay": 5e-4,
    "learning-rate": 0.4,
    "lr-schedule": "linear",
    "batch-size": 500,
    "val-fraction": 0.02,
    "num-epochs": 24,
    "warmup-steps": 470,
    "label-smoothing": 0.1,
    "augment-flip": True,
    "augment-pad": 4,
    "augment-cutout": 8,
    "ema-decay": 0.99,
    "grad-clip": 0,
}
SHORTLY = {"eval-interval": 98, "log-interval": 98, "tracker": "none", "plots": False}


def time_to_94() -> dict[str, Any]:
    """{"seconds", "accuracy"} of each training and whether GOAL was reached; `says`: in words."""
    settings = load_settings("resnet50", ["--config", CONFIG])
    if not torch.cuda.is_available():
        return {"says": "not run: it needs a GPU"}
    images = SOURCES["cifar10"].prepared(settings)
    if not images.exists():
        return {"says": f"not run: no {images} (make defconfig-resnet50-cifar10 data)"}
    with tempfile.TemporaryDirectory() as folder:
        trained = [train(folder, {**RECIPE, **SHORTLY, "seed": seed}) for seed in SEEDS]
    accuracy = statistics.mean(run["accuracy"] for run in trained)
    seconds = statistics.mean(run["seconds"] for run in trained)
    reached = accuracy >= GOAL
    outcome = "" if reached else "; the goal is NOT reached"
    says = f"{seconds:.1f} s, {accuracy:.2%} of the test images, mean of {len(SEEDS)}{outcome}"
    return {"says": says, "reached": reached, "trained": trained, "recipe": RECIPE}


def train(output: str, flags: dict[str, Any]) -> dict[str, float]:
    """A training with these flags of resnet50/train.py: {"seconds", "accuracy"}, on test images."""
    whole = {"config": CONFIG, "output-dir": output, "run-name": f"seed-{flags['seed']}"} | flags
    program = [sys.executable, "resnet50/train.py", *as_argv(whole)]
    subprocess.run(program, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    described = Path(output) / whole["run-name"] / "metadata.yaml"
    metrics = yaml.safe_load(described.read_text())["final_metrics"]
    return {
        "seconds": metrics["final/training_time_s"],
        "accuracy": metrics["final/test_accuracy"],
    }


def main() -> None:
    """The program; see the top of the file."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    report = time_to_94()
    print(report["says"])
    print(json.dumps(report))


if __name__ == "__main__":
    run_main(main)
