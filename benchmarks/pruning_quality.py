# SPDX-License-Identifier: MIT
"""What pruning costs in accuracy: python -m benchmarks.pruning_quality [--network resnet50] …

Trains LeNet-5 on digits, or the --network resnet50, with every method (or --methods A B …) at every
sparsity (--sparsities), all by AdamW with the same steps, data order, learning rate schedule,
weight decay and update frequency (those of the network's defconfig for digits and the defaults of
the Pruning menu), and takes the final weights, never the best epoch. Accuracy is on the images that
were never trained on (validation and test together: nothing is selected by them). Prints the mean ±
standard deviation over the seeds, the difference from magnitude with the same seed and its 95 %
interval, and the rank correlation of each score with |w| over the weights of a dense network; the
last line is JSON.

Each training is appended to --results when it is done: the benchmark trains only what is missing
there, so that it can be interrupted, and only prints when all are there. With --kept it trains
nothing and prints the seeds that are complete. --markdown prints the tables as docs/pruning.md has
them, --plot FILE draws both.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import contextlib
import json
import os
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from benchmarks.pruning_tables import (
    COLOURS,
    DENSE,
    Cell,
    differences,
    draw,
    means,
    print_table,
)
from benchmarks.pruning_training import METHODS, NETWORKS, STATE_SCORES, train
from lib import text
from lib.errors import BadUse, Failure

SPARSITIES = (0.5, 0.7, 0.9, 0.95, 0.98)


def cells(
    methods: Sequence[str], sparsities: Sequence[float], seeds: int, epochs: int
) -> Iterator[Cell]:
    """All trainings, seed by seed, so that an interrupted benchmark has as many of each method."""
    for seed in range(seeds):
        yield Cell(DENSE, 0.0, seed, epochs)
        for method in methods:
            for sparsity in sparsities:
                yield Cell(method, sparsity, seed, epochs)


def read_results(path: Path) -> dict[Cell, dict[str, Any]]:
    """The trainings kept in `path`; a line that was cut off counts as missing."""
    done = {}
    if path.exists():
        for line in path.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                row = json.loads(line)
                done[Cell(*row["cell"])] = row["result"]
    return done


def complete_seeds(wanted: Sequence[Cell], done: Mapping[Cell, Any]) -> int:
    """How many seeds, from 0 on, have all their trainings in `done`."""
    missing = [cell.seed for cell in wanted if cell not in done]
    return min(missing, default=1 + max(cell.seed for cell in wanted))


def run_all(
    network: str, wanted: list[Cell], results: Path, jobs: int
) -> dict[Cell, dict[str, Any]]:
    """Train what is not in `results` yet, in `jobs` processes, and append each to it."""
    done = read_results(results)
    missing = [cell for cell in wanted if cell not in done]
    results.parent.mkdir(parents=True, exist_ok=True)
    if results.exists() and not results.read_bytes().endswith(b"\n"):
        with results.open("a") as file:
            file.write("\n")
    with ProcessPoolExecutor(jobs) as pool, results.open("a") as file:
        futures = {pool.submit(train, network, cell): cell for cell in missing}
        for i, future in enumerate(as_completed(futures), start=1):
            cell, result = futures[future], future.result()
            done[cell] = result
            file.write(json.dumps({"cell": cell, "result": result}) + "\n")
            file.flush()
            print(f"\r{i}/{len(missing)} trainings", end="", file=sys.stderr, flush=True)
    if missing:
        print(file=sys.stderr)
    return {cell: done[cell] for cell in wanted}


def options_of(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags. Raises BadUse for a method that does not exist, or more than a figure has room."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=NETWORKS, default="lenet5")
    parser.add_argument("--methods", nargs="+", metavar="METHOD", default=[*METHODS])
    parser.add_argument("--sparsities", nargs="+", type=float, default=[*SPARSITIES])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--results", type=Path, help="default: outputs/benchmarks/…")
    parser.add_argument("--kept", action="store_true", help="train nothing; complete seeds only")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args(argv)
    if options.results is None:
        options.results = Path(f"outputs/benchmarks/pruning_quality_{options.network}.jsonl")
    if unknown := [name for name in options.methods if name not in METHODS]:
        raise BadUse(f"--methods {unknown[0]}: there are {', '.join(METHODS)}")
    if options.plot and len(options.methods) >= len(COLOURS):
        raise BadUse(f"--plot: a figure has room for {len(COLOURS) - 1} --methods")
    return options


def main() -> int:
    """The program; see the top of the file."""
    options = options_of()

    def wanted() -> list[Cell]:
        return [*cells(options.methods, options.sparsities, options.seeds, options.epochs)]

    if options.kept:
        options.seeds = complete_seeds(wanted(), read_results(options.results))
        if not options.seeds:
            raise Failure(f"{options.results}: no seed has all its trainings yet")
        print(f"{options.results}: {options.seeds} seeds")
    done = run_all(options.network, wanted(), options.results, options.jobs)
    print_table("accuracy, %, mean ± deviation", means(done, options), options)
    if above := differences(done, options):
        print_table("above magnitude, ± 95 % interval", above, options)
    related = rank_correlations(done)
    rows = [("rank correlation with |w|", "Spearman")]
    rows += [(name, f"{value:.3f}") for name, value in related.items()]
    print("", *text.columns(rows, right=(1,)), sep="\n")
    if options.plot:
        draw(done, options)
    cells_ = [{"cell": cell, "accuracy": result["accuracy"]} for cell, result in done.items()]
    print(json.dumps({"cells": cells_, "rank_correlation": related}))
    return 0


def rank_correlations(done: Mapping[Cell, dict[str, Any]]) -> dict[str, float]:
    """Of each state score with |w|, the mean over the dense trainings."""
    dense = [result["correlations"] for cell, result in done.items() if cell.method == DENSE]
    return {name: statistics.mean(row[name] for row in dense) for name in STATE_SCORES}


if __name__ == "__main__":
    run_main(main)
