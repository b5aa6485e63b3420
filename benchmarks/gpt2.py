# SPDX-License-Identifier: MIT
"""GPT-2 training speed against a plain implementation, on this machine: `make bench-gpt2`.

    make bench-gpt2                                   tokens a second; on a GPU if there is one
    python -m benchmarks.gpt2 --operations            also the kernels that its trial compared
    python -m benchmarks.gpt2 --precision bfloat16 --kernels "attention=whole gelu=pytorch"
    python -m benchmarks.gpt2 --grad-accum 4          steps of four micro-steps
    python -m benchmarks.gpt2 --loss                  also the losses of both after 500 steps

Each side trains in a process of its own; they take turns of a few steps, so that other load on the
machine affects both, and the fastest step of each counts. The reference is
benchmarks/reference_gpt2.py. Ours is the model, the optimizer and the update of gpt2/train.py, in
the precision and with the kernels that its trial chooses, or that are given. The last line is JSON.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.gpt2_worker import SIDES, Case, start
from benchmarks.loop_overhead import measure_loop
from benchmarks.worker import OURS, machine, summary, take_turns
from gpt2.implementations import TABLE
from lib.data.text.corpora import open_corpus
from lib.data.text.prepare import prepare
from lib.data.text.tokenizers import load_tokenizer
from lib.errors import BadUse
from lib.train.flops import peak_flops, transformer_flops_per_token
from lib.train.openmp import spin_briefly
from lib.train.precision import parse_kernels

LOSS_STEPS, LOSS_SEEDS = 500, 3


CPU_CASES = (
    Case(6, 6, 384, 256, 8, 257, 1e-3, 2.7, 30),
    Case(4, 4, 128, 64, 12, 257, 1e-3, 1.3, 300),
)
CUDA_CASES = (Case(12, 12, 768, 1024, 16, 50257, 6e-4, 1.25),)


def measure(case: Case, device: str, rounds: int, steps: int, operations: bool) -> dict:
    """Both sides in turn: the fastest and the median step of each, and their ratios."""
    workers = {side: start(side, case, 0, device) for side in SIDES}
    compared = workers[OURS].ask("operations") if operations else None
    result = summary(take_turns(workers, rounds, steps))
    width, layers, precision = case.width, case.layers, workers[OURS].precision
    flops = transformer_flops_per_token(
        12 * layers * width**2 + case.vocab * width, layers, width, case.block
    )
    speed = {side: 1000 * case.tokens / ms for side, ms in result["step_ms"].items()}
    peak = peak_flops(torch.device(device), precision)
    return {
        "case": case.name,
        "precision": precision,
        "kernels": workers[OURS].kernels,
        **({"operations_ms": compared} if compared else {}),
        "tokens_per_s": {side: round(value) for side, value in speed.items()},
        **result,
        "target": case.target,
        "share_of_peak": round(speed[OURS] * flops / peak.flops, 3) if peak else None,
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
                worker = start(side, case, seed, "cpu", str(data))
                worker.ask(f"steps {LOSS_STEPS}")
                losses[side].append(round(worker.ask("loss"), 4))
                worker.close()
    return {"case": case.name, "steps": LOSS_STEPS, "val_loss": losses}


def loop(case: Case) -> dict:
    """What gpt2/train.py adds to its steps (benchmarks/loop_overhead.py)."""
    flags = {
        "gpt2-size": "free",
        "gpt2-n-layer": case.layers,
        "gpt2-n-head": case.heads,
        "gpt2-n-embd": case.width,
        "gpt2-block-size": case.block,
        "batch-size": case.batch,
        "grad-accum": case.grad_accum,
        "precision": case.precision,
        "kernels": case.kernels,
        "max-steps": case.loop_steps,
        "sample-tokens": 0,
        "eval-windows": 1,
    }
    return measure_loop("gpt2", flags)


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
            f"{result['ratio'][OURS]:.2f}",
            f"{result['target']:.2f}",
            "?" if share is None else f"{share:.0%}",
            f"+{result['loop']['overhead']:.2%}" if "loop" in result else "",
        )
    Console().print(table)


def print_operations(results: list[dict]) -> None:
    for result in results:
        table = Table(box=None, padding=(0, 2, 0, 0), title_justify="left")
        table.title = f"{result['case']}: one block in bfloat16"
        for column in ("operation", "kernel", "ms", "in use"):
            table.add_column(column, justify="right" if column == "ms" else "left")
        for operation, times in result["operations_ms"].items():
            for name, ms in times.items():
                used = "yes" if result["kernels"][operation] == name else ""
                table.add_row(operation, name, f"{ms:.2f}", used)
        Console().print(table)


def main() -> None:
    """The program; see the top of the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--loss", action="store_true", help="also compare losses (CPU; an hour)")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each side")
    parser.add_argument("--steps", type=int, default=3, help="steps in a turn")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    parser.add_argument("--kernels", default="auto", help="OPERATION=NAME …")
    parser.add_argument("--grad-accum", type=int, default=1, help="micro-steps in a step")
    parser.add_argument("--operations", action="store_true", help="compare the kernels, too (CPU)")
    parser.add_argument("--no-loop", action="store_true", help="do not time the whole program")
    given = parser.parse_args()
    parse_kernels(given.kernels, TABLE)
    if given.grad_accum < 1:
        raise BadUse("--grad-accum is a number from 1 on")
    spin_briefly()  # for the processes started from here, as in gpt2/train.py
    device = "cuda" if torch.cuda.is_available() else "cpu"
    asked = {"precision": given.precision, "kernels": given.kernels, "grad_accum": given.grad_accum}
    cases = [replace(c, **asked) for c in (CUDA_CASES if device == "cuda" else CPU_CASES)]
    compares = given.operations and device == "cpu"
    results = [measure(case, device, given.rounds, given.steps, compares) for case in cases]
    report = {"benchmark": "gpt2", **machine(), "results": results}
    for case, result in zip(cases, results, strict=True):
        if case.loop_steps and not given.no_loop:
            result["loop"] = loop(case)
    print_table(results)
    if compares:
        print_operations(results)
    if given.loss:
        report["losses"] = [compare_losses(case) for case in CPU_CASES]
    print(json.dumps(report))


if __name__ == "__main__":
    run_main(main)
