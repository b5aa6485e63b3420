# SPDX-License-Identifier: MIT
"""GPT-2 sampling speed with a cache of keys and values and without, on this machine.

    make bench-sample                    tokens a second; on a GPU when there is one
    python -m benchmarks.sample --rounds 3 --layers 4 --width 128 --block 128

For one text at several lengths of its context: with the cache a token costs one position, without
it the whole context is computed again. Both take turns of a few tokens, so that other load on the
machine affects both, and the fastest token of each counts. The weights are random, which takes the
same time. The last line is JSON.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import functools
import json
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.worker import machine, seconds_of
from gpt2.generation import Cache
from gpt2.model import GPT, GPTConfig

TURN = 4  # tokens


class Case(NamedTuple):
    layers: int
    width: int
    block: int
    vocab: int

    @property
    def name(self) -> str:
        return f"{self.layers} × {self.width}, block {self.block}, vocabulary {self.vocab:,}"


CPU_CASES = (Case(4, 128, 128, 257), Case(6, 384, 256, 257), Case(12, 768, 1024, 50257))
CUDA_CASES = (Case(12, 768, 1024, 50257), Case(36, 1280, 1024, 50257))


def model_of(case: Case, device: torch.device, dtype: torch.dtype) -> GPT:
    config = GPTConfig(case.vocab, case.block, case.layers, case.width // 64, case.width)
    model = GPT(config, dtype).to(device).eval()
    for module in model.modules():  # as gpt2/trained.py
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            module.to(dtype)
    return model


@torch.no_grad()
def measure(case: Case, model: GPT, context: int, rounds: int) -> dict:
    """The fastest token with `context` tokens before it, both ways in turn."""
    device = model.wte.weight.device
    text = torch.randint(case.vocab, (1, context + TURN), device=device)
    seconds: dict[str, list[float]] = {"cache": [], "whole": []}
    cache = Cache(model, 1, context + TURN)
    for turn in range(rounds + 1):
        cache.clear()
        cache.logits(text[:, :context])
        for end in range(context + 1, context + TURN + 1):
            one = functools.partial(cache.logits, text[:, end - 1 : end])
            whole = functools.partial(model.next_logits, text[:, :end])
            found = {"cache": seconds_of(one, device), "whole": seconds_of(whole, device)}
            if turn:  # the first one sets up the libraries
                for side, value in found.items():
                    seconds[side].append(value)
    fastest = {side: min(values) for side, values in seconds.items()}
    return {
        "case": case.name,
        "context": context,
        "tokens_per_s": {side: round(1 / value, 1) for side, value in fastest.items()},
        "ratio": round(fastest["whole"] / fastest["cache"], 2),
    }


def print_table(results: list[dict]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), title="Tokens a second", title_justify="left")
    table.add_column("model")
    for column in ("context", "with cache", "without", "ratio"):
        table.add_column(column, justify="right")
    for result in results:
        speed = result["tokens_per_s"]
        table.add_row(
            result["case"],
            f"{result['context']:,}",
            f"{speed['cache']:,.1f}",
            f"{speed['whole']:,.1f}",
            f"{result['ratio']:.1f}",
        )
    Console().print(table)


def main() -> None:
    """The program; see the top of the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each length")
    for name, default in (("layers", 0), ("width", 128), ("block", 128), ("vocab", 257)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    dtype = torch.bfloat16 if on_gpu else torch.float32  # as `make sample` computes
    cases = CUDA_CASES if on_gpu else CPU_CASES
    if given.layers:
        cases = (Case(given.layers, given.width, given.block, given.vocab),)
    results = []
    for case in cases:
        model = model_of(case, device, dtype)
        for context in (case.block // 8, case.block // 2, case.block - TURN):
            results.append(measure(case, model, context, given.rounds))
    print_table(results)
    report = {"benchmark": "sample", **machine(), "precision": str(dtype).removeprefix("torch.")}
    print(json.dumps({**report, "results": results}))


if __name__ == "__main__":
    run_main(main)
