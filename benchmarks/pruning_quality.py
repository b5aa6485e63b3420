# SPDX-License-Identifier: MIT
"""What pruning costs in accuracy: python -m benchmarks.pruning_quality [--seeds 10] [--epochs 20]

Trains LeNet-5 on digits with every method (or --methods A B …) at every sparsity (--sparsities),
all by AdamW with the same steps, data order, learning rate schedule, weight decay and update
frequency (those of defconfigs/lenet5-digits and the defaults of the Pruning menu), and takes the
final weights, never the best epoch. Accuracy is on the images that were never trained on
(validation and test together: nothing is selected by them). Prints the mean ± standard deviation
over the seeds, the difference from magnitude with the same seed and its 95 % interval, and the rank
correlation of each score with |w| over the weights of a dense network; the last line is JSON.

Each training is appended to --results when it is done: the benchmark trains only what is missing
there, so that it can be interrupted, and only prints when all are there. --plot FILE draws both
tables.
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
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F

from benchmarks.pruning_tables import (
    COLOURS,
    DENSE,
    Cell,
    differences,
    draw,
    means,
    print_table,
)
from lenet5.model import LeNet5
from lib import text
from lib.config.settings import Settings, load_settings
from lib.data.images.from_settings import images_from_settings
from lib.errors import BadUse
from lib.optim.from_settings import optimizer_from_settings, schedule_from_settings
from lib.optim.update import apply_update
from lib.pruning.ranking import scored
from lib.pruning.scores import SCORES
from lib.pruning.targets import prunable

SPARSITIES = (0.5, 0.7, 0.9, 0.95, 0.98)
STATE_SCORES = tuple(name for name in SCORES if name.startswith("bitter"))


class Method(NamedTuple):
    """A row of the table: flags of lenet5/train.py, and a factor on the length of training."""

    flags: tuple[str, ...]
    longer: float = 1.0


METHODS: dict[str, Method] = {
    "magnitude": Method(("--pruning-method", "magnitude")),
    "movement": Method(("--pruning-method", "movement")),
    "movement-from-start": Method(("--pruning-method", "movement-from-start")),
    **{
        name: Method(("--pruning-method", "state", "--pruning-score", name))
        for name in STATE_SCORES
    },
    "GraNet-style": Method(("--pruning-method", "magnitude", "--regrowth", "0.5")),
    "magnitude, erk": Method(("--pruning-method", "magnitude", "--pruning-scope", "erk")),
    # The original bitter2 is magnitude with more steps; not comparable with the other rows.
    "bitter2, 1.21× the steps": Method(
        ("--pruning-method", "state", "--pruning-score", "bitter2"), longer=1.21
    ),
}


def cells(
    methods: Sequence[str], sparsities: Sequence[float], seeds: int, epochs: int
) -> Iterator[Cell]:
    """All trainings, seed by seed, so that an interrupted benchmark has as many of each method."""
    for seed in range(seeds):
        yield Cell(DENSE, 0.0, seed, epochs)
        for method in methods:
            for sparsity in sparsities:
                yield Cell(method, sparsity, seed, epochs)


def settings_of(cell: Cell) -> tuple[Settings, float]:
    """The settings of a training and the factor on its length."""
    method = METHODS.get(cell.method, Method(()))
    flags = [*method.flags]
    if method.flags:
        flags += ["--target-sparsity", str(cell.sparsity)]
    flags += ["--seed", str(cell.seed), "--num-epochs", str(cell.epochs), "--device", "cpu"]
    return load_settings("lenet5", ["--config", "defconfigs/lenet5-digits", *flags]), method.longer


def train(cell: Cell) -> dict[str, Any]:
    """One training: {"accuracy", "sparsity", "steps"}; for the dense one "correlations" as well."""
    settings, longer = settings_of(cell)
    torch.set_num_threads(1)
    torch.manual_seed(settings.SEED)
    data = images_from_settings(settings, channels=1)
    batch_size = settings.BATCH_SIZE
    total_steps = round(longer * cell.epochs * (len(data.train) // batch_size))
    model = LeNet5()
    optimizer, pruner = optimizer_from_settings(settings, model, total_steps)
    learning_rate = schedule_from_settings(settings, total_steps)
    shares = [(step, slice(0, batch_size)) for step in range(total_steps)]
    for (step, _), (x, y) in zip(shares, data.train.training(shares, batch_size), strict=True):
        F.cross_entropy(model(x), y).backward()
        lr = learning_rate(step)
        apply_update(optimizer, lr=lr, grad_clip=settings.GRAD_CLIP, pruner=pruner)
    right, unseen = 0, [data.val, data.test]
    with torch.inference_mode():
        for images in unseen:
            for x, y in images.in_order([slice(0, len(images))]):
                right += int((model(x).argmax(1) == y).sum())
    result = {
        "accuracy": right / sum(len(images) for images in unseen),
        "sparsity": pruner.metrics().get("sparsity", 0.0),
        "steps": total_steps,
    }
    if cell.method == DENSE:
        result["correlations"] = correlations(model, optimizer)
    return result


def correlations(model: LeNet5, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Spearman's rank correlation with |w| over all prunable weights, for each state score."""
    weights = prunable(model)
    groups = {p: group for group in optimizer.param_groups for p in group["params"]}
    magnitude = torch.cat([w.detach().abs().flatten() for w in weights.values()])
    found = {}
    for name in STATE_SCORES:
        parts = []
        for layer, w in weights.items():
            mask = torch.ones_like(w, dtype=torch.uint8)
            state, group = optimizer.state[w], groups[w]
            item = scored(layer, w, mask, SCORES[name], state=state, param_group=group)
            parts.append(item.score(0, w.numel()))
        found[name] = spearman(torch.cat(parts), magnitude)
    return found


def spearman(a: torch.Tensor, b: torch.Tensor) -> float:
    """Pearson's correlation of the ranks of two 1-D tensors; ties in the order they come."""
    ranks = torch.stack([x.argsort(stable=True).argsort() for x in (a, b)]).double()
    return float(torch.corrcoef(ranks)[0, 1])


def read_results(path: Path) -> dict[Cell, dict[str, Any]]:
    """The trainings kept in `path`; a line that was cut off counts as missing."""
    done = {}
    if path.exists():
        for line in path.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                row = json.loads(line)
                done[Cell(*row["cell"])] = row["result"]
    return done


def run_all(wanted: list[Cell], results: Path, jobs: int) -> dict[Cell, dict[str, Any]]:
    """Train what is not in `results` yet, in `jobs` processes, and append each to it."""
    done = read_results(results)
    missing = [cell for cell in wanted if cell not in done]
    results.parent.mkdir(parents=True, exist_ok=True)
    if results.exists() and not results.read_bytes().endswith(b"\n"):
        with results.open("a") as file:
            file.write("\n")
    with ProcessPoolExecutor(jobs) as pool, results.open("a") as file:
        futures = {pool.submit(train, cell): cell for cell in missing}
        for i, future in enumerate(as_completed(futures), start=1):
            cell, result = futures[future], future.result()
            done[cell] = result
            file.write(json.dumps({"cell": cell, "result": result}) + "\n")
            file.flush()
            print(f"\r{i}/{len(missing)} trainings", end="", file=sys.stderr, flush=True)
    if missing:
        print(file=sys.stderr)
    return {cell: done[cell] for cell in wanted}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", metavar="METHOD", default=[*METHODS])
    parser.add_argument("--sparsities", nargs="+", type=float, default=[*SPARSITIES])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    results = Path("outputs/benchmarks/pruning_quality.jsonl")
    parser.add_argument("--results", type=Path, default=results)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    if unknown := [name for name in options.methods if name not in METHODS]:
        raise BadUse(f"--methods {unknown[0]}: there are {', '.join(METHODS)}")
    if options.plot and len(options.methods) >= len(COLOURS):
        raise BadUse(f"--plot: a figure has room for {len(COLOURS) - 1} --methods")
    wanted = cells(options.methods, options.sparsities, options.seeds, options.epochs)
    done = run_all([*wanted], options.results, options.jobs)
    print_table("accuracy, %, mean ± deviation", means(done, options), options.sparsities)
    if above := differences(done, options):
        print_table("above magnitude, ± 95 % interval", above, options.sparsities)
    dense = [result for cell, result in done.items() if cell.method == DENSE]
    related = {
        name: statistics.mean(result["correlations"][name] for result in dense)
        for name in STATE_SCORES
    }
    rows = [("rank correlation with |w|", "Spearman")]
    rows += [(name, f"{value:.3f}") for name, value in related.items()]
    print("", *text.columns(rows, right=(1,)), sep="\n")
    if options.plot:
        draw(done, options)
    cells_ = [{"cell": cell, "accuracy": result["accuracy"]} for cell, result in done.items()]
    print(json.dumps({"cells": cells_, "rank_correlation": related}))
    return 0


if __name__ == "__main__":
    run_main(main)
