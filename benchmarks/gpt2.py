# SPDX-License-Identifier: MIT
"""GPT-2 training speed against a plain implementation, on this machine: `make bench-gpt2`.

    make bench-gpt2                      tokens a second; on a GPU when there is one
    python -m benchmarks.gpt2 --loss     also the losses of both after 500 steps on real text

Each side trains in a process of its own; they take turns of a few steps, so that other load on the
machine affects both, and the fastest step of each counts. The reference is
benchmarks/reference_gpt2.py. Ours is the model, the optimizer and the update of gpt2/train.py, in
the precision that its trial chooses. The last line is JSON.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.gpt2_worker import SIDES, Case, Worker
from lib.data.text.corpora import open_corpus
from lib.data.text.prepare import prepare
from lib.data.text.tokenizers import load_tokenizer
from lib.files import ROOT
from lib.train.flops import peak_flops, transformer_flops_per_token
from lib.train.openmp import spin_briefly

LOSS_STEPS, LOSS_SEEDS = 500, 3


CPU_CASES = (
    Case(6, 6, 384, 256, 8, 257, 1e-3, 3.0, 30),
    Case(4, 4, 128, 64, 12, 257, 1e-3, 1.2, 300),
)
CUDA_CASES = (Case(12, 12, 768, 1024, 16, 50257, 6e-4, 1.25),)


def measure(case: Case, device: str, rounds: int, steps: int) -> dict:
    """Both sides in turn: the fastest and the median step of each, and their ratios."""
    workers = {side: Worker(side, case, 0, device) for side in SIDES}
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    for worker in workers.values():
        worker.ask("steps 3")
    for _ in range(rounds):
        for side, worker in workers.items():
            seconds[side] += worker.ask(f"steps {steps}")
    for worker in workers.values():
        worker.close()
    best = {side: min(values) for side, values in seconds.items()}
    medians = {side: statistics.median(values) for side, values in seconds.items()}
    width, layers = case.width, case.layers
    flops = transformer_flops_per_token(
        12 * layers * width**2 + case.vocab * width, layers, width, case.block
    )
    peak = peak_flops(torch.device(device), workers["ours"].precision)
    return {
        "case": case.name,
        "precision": workers["ours"].precision,
        "tokens_per_s": {side: round(case.tokens / value) for side, value in best.items()},
        "step_ms": {side: round(1000 * value, 2) for side, value in best.items()},
        "median_step_ms": {side: round(1000 * value, 2) for side, value in medians.items()},
        "ratio": round(best["reference"] / best["ours"], 3),
        "median_ratio": round(medians["reference"] / medians["ours"], 3),
        "target": case.target,
        "share_of_peak": round(case.tokens * flops / best["ours"] / peak.flops, 3)
        if peak
        else None,
        "peak": peak.source if peak else None,
    }


def compare_losses(case: Case) -> dict:
    """Validation loss after LOSS_STEPS of each side, over LOSS_SEEDS seeds, on real text."""
    with tempfile.TemporaryDirectory() as folder:
        data = prepare(
            Path(folder),
            "pystdlib",
            open_corpus("pystdlib"),
            load_tokenizer("bytes"),
            val_fraction=0.05,
            shard_tokens=100_000_000,
        )
        losses: dict[str, list[float]] = {side: [] for side in SIDES}
        for seed in range(LOSS_SEEDS):
            for side in SIDES:
                worker = Worker(side, case, seed, "cpu", str(data))
                worker.ask(f"steps {LOSS_STEPS}")
                losses[side].append(round(worker.ask("loss"), 4))
                worker.close()
    return {"case": case.name, "steps": LOSS_STEPS, "val_loss": losses}


def loop_overhead(case: Case) -> dict:
    """What gpt2/train.py adds to its steps (benchmarks/gpt2_loop.py), in a fresh process."""
    flags = {
        "gpt2-size": "free",
        "gpt2-n-layer": case.layers,
        "gpt2-n-head": case.heads,
        "gpt2-n-embd": case.width,
        "gpt2-block-size": case.block,
        "batch-size": case.batch,
        "max-steps": case.loop_steps,
    }
    command = [sys.executable, "-m", "benchmarks.gpt2_loop", json.dumps(flags)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def print_table(results: list[dict]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), title="Tokens a second", title_justify="left")
    table.add_column("model, batch")
    for column in ("precision", "reference", "ours", "ratio", "goal", "of peak", "loop"):
        table.add_column(column, justify="right")
    for result in results:
        speed = result["tokens_per_s"]
        share = result["share_of_peak"]
        table.add_row(
            result["case"],
            result["precision"],
            f"{speed['reference']:,}",
            f"{speed['ours']:,}",
            f"{result['ratio']:.2f}",
            f"{result['target']:.2f}",
            "?" if share is None else f"{share:.0%}",
            f"+{result['loop']['overhead']:.2%}" if "loop" in result else "",
        )
    Console().print(table)


def main() -> None:
    """The program; see the top of the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--loss", action="store_true", help="also compare losses (CPU; an hour)")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each side")
    parser.add_argument("--steps", type=int, default=3, help="steps in a turn")
    given = parser.parse_args()
    spin_briefly()  # for the processes started from here, as in gpt2/train.py
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cases = CUDA_CASES if device == "cuda" else CPU_CASES
    results = [measure(case, device, given.rounds, given.steps) for case in cases]
    report = {"benchmark": "gpt2", "device": device_name(device), "torch": torch.__version__}
    report |= {"threads": torch.get_num_threads(), "results": results}
    for case, result in zip(cases, results, strict=True):
        if case.loop_steps:
            result["loop"] = loop_overhead(case)
    print_table(results)
    if given.loss:
        report["losses"] = [compare_losses(case) for case in CPU_CASES]
    print(json.dumps(report))


def device_name(device: str) -> str:
    """The GPU's name, or the CPU's with the instructions that decide about bfloat16."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} CPUs"


if __name__ == "__main__":
    run_main(main)
