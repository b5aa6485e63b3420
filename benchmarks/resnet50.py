# SPDX-License-Identifier: MIT
"""ResNet training speed against a plain program, on this machine: `make bench-resnet50`.

    make bench-resnet50                                   on a GPU when there is one
    python -m benchmarks.resnet50 --width 32 --batch 64   one network and batch of your own

Each side trains in a process of its own; they take turns of a few steps, so that other load on the
machine affects both, and the fastest steps of each count. The reference is
benchmarks/reference_resnet50.py: torchvision's ResNet, Pillow images, a DataLoader. Ours is the
model, the images in memory, the optimizer and the update of resnet50/train.py, in the precision
that it chooses, and on a CPU with bfloat16 units once more in the other one. On a GPU the program
also trains on CIFAR-10 until 94 %, if the images are there (benchmarks/resnet50_cifar10.py). The
last line is JSON.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import json

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.loop_overhead import measure_loop
from benchmarks.resnet50_cifar10 import time_to_94
from benchmarks.resnet50_worker import CLASSES, OTHER, OURS, Case, start
from benchmarks.worker import REFERENCE, machine, summary, take_turns
from lib.train.flops import peak_flops
from lib.train.openmp import spin_briefly
from lib.train.runtime import setup
from resnet50.prepare import flops_per_image

CPU_CASES = (Case(18, 64, 32, 20), Case(18, 16, 128, 40))
CUDA_CASES = (Case(18, 64, 512), Case(50, 64, 256))


def target(device: str, precision: str) -> float:
    """How many times faster than the reference ours has to be."""
    if device == "cuda":
        return 1.5
    return 2.0 if precision == "bfloat16" else 1.2


def measure(case: Case, device: str, rounds: int, steps: int) -> dict:
    """All sides in turn: the fastest and the median step of each, and their ratios."""
    workers = {side: start(side, case) for side in (REFERENCE, OURS)}
    precision = workers[OURS].precision
    if device == "cpu" and setup(0, device, "auto", 0).precision == "bfloat16":
        workers[OTHER[precision]] = start(OTHER[precision], case)
    result = summary(take_turns(workers, rounds, steps))
    flops = case.batch * flops_per_image(case.settings(), CLASSES)
    precisions = {side: worker.precision for side, worker in workers.items()}
    peaks = {name: peak_flops(torch.device(device), name) for name in precisions.values()}
    return {
        "case": case.name,
        "precision": precisions,
        "images_per_s": {
            side: round(1000 * case.batch / ms) for side, ms in result["step_ms"].items()
        },
        **result,
        "target": {
            side: target(device, name) for side, name in precisions.items() if side != REFERENCE
        },
        "share_of_peak": {
            side: round(1000 * flops / ms / peaks[precisions[side]].flops, 3)
            for side, ms in result["step_ms"].items()
            if peaks[precisions[side]]
        },
        "peak": {name: peak.source for name, peak in peaks.items() if peak},
    }


def loop(case: Case) -> dict:
    """What resnet50/train.py adds to its steps, on digits in the size and the batch of `case`."""
    flags = {
        "dataset": "digits",
        "image-size": 32,
        "augment-affine": False,
        "augment-flip": True,
        "augment-pad": 4,
        "optimizer": "adamw",
        "resnet-depth": case.depth,
        "resnet-width": case.width,
        "batch-size": case.batch,
        "max-steps": case.loop_steps,
    }
    return measure_loop("resnet50", flags)


def print_table(result: dict) -> None:
    """A row a side."""
    title = f"Images a second: {result['case']}"
    table = Table(box=None, padding=(0, 2, 0, 0), title=title, title_justify="left")
    for column in ("side", "precision"):
        table.add_column(column, no_wrap=True)
    for column in ("images/s", "ratio", "of medians", "goal", "of peak", "loop"):
        table.add_column(column, justify="right")
    for side, speed in result["images_per_s"].items():
        share, goal = result["share_of_peak"].get(side), result["target"].get(side)
        table.add_row(
            side,
            result["precision"][side],
            f"{speed:,}",
            f"{result['ratio'][side]:.2f}" if goal else "",
            f"{result['median_ratio'][side]:.2f}" if goal else "",
            f"{goal:.1f}" if goal else "",
            "?" if share is None else f"{share:.0%}",
            f"+{result['loop']['overhead']:.2%}" if side == OURS and "loop" in result else "",
        )
    Console().print(table)


def main() -> None:
    """The program; see the top of the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--steps", type=int, default=6, help="steps in a turn")
    parser.add_argument("--depth", type=int, default=18, choices=(18, 50))
    parser.add_argument("--width", type=int, help="channels of the first stage: one network alone")
    parser.add_argument("--batch", type=int, default=128, help="with --width")
    given = parser.parse_args()
    spin_briefly()  # for the processes started from here, as in resnet50/train.py
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cases = CUDA_CASES if device == "cuda" else CPU_CASES
    if given.width:
        cases = (Case(given.depth, given.width, given.batch),)
    results = []
    for case in cases:
        results.append(measure(case, device, given.rounds, given.steps))
        if case.loop_steps:
            results[-1]["loop"] = loop(case)
        print_table(results[-1])
    report = {"benchmark": "resnet50", **machine(), "results": results}
    if not given.width:
        report["cifar10"] = time_to_94()
        print(f"CIFAR-10 to 94 %: {report['cifar10']['says']}")
    print(json.dumps(report))


if __name__ == "__main__":
    run_main(main)
