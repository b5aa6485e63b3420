# SPDX-License-Identifier: MIT
"""What pruning costs in accuracy: python -m benchmarks.pruning_quality [--seeds 5] [--epochs 20]

Trains LeNet-5 on digits with every method at every sparsity, all by AdamW with the same steps, data
order, learning rate schedule, weight decay and update frequency (those of defconfigs/lenet5-digits
and the defaults of the Pruning menu), and takes the final weights, never the best epoch. Accuracy
is on the images that were never trained on (validation and test together: nothing is selected by
them). Prints mean ± standard deviation over the seeds, and how each score ranks the weights of a
dense network compared with |w|; the last line is JSON.

Each training is kept in --results as it is done: an interrupted benchmark goes on where it was, and
--results with all of them only prints. --plot FILE draws accuracy against sparsity.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from lenet5.model import LeNet5
from lib.config.settings import Settings, load_settings
from lib.data.batches import batch_indices
from lib.data.images.augment import augment
from lib.data.images.datasets import load_images
from lib.files import write_atomic
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
    # The original's bitter2 is magnitude with more steps; not comparable with the other rows.
    "bitter2, 1.21× the steps": Method(
        ("--pruning-method", "state", "--pruning-score", "bitter2"), longer=1.21
    ),
}
DENSE = "dense"


class Cell(NamedTuple):
    """One training. `sparsity` is 0 for the dense network."""

    method: str
    sparsity: float
    seed: int
    epochs: int


def cells(seeds: int, epochs: int) -> Iterator[Cell]:
    """All trainings, seed by seed, so that an interrupted table is even."""
    for seed in range(seeds):
        yield Cell(DENSE, 0.0, seed, epochs)
        for method in METHODS:
            for sparsity in SPARSITIES:
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
    data = load_images(
        "digits",
        seed=settings.SEED,
        val_fraction=settings.VAL_FRACTION,
        data_dir=settings.DATA_DIR,
        device=torch.device("cpu"),
    )
    n = len(data.train.labels)
    total_steps = round(longer * cell.epochs * (n // settings.BATCH_SIZE))
    model = LeNet5()
    optimizer, pruner = optimizer_from_settings(settings, model, total_steps)
    learning_rate = schedule_from_settings(settings, total_steps)
    for step in range(total_steps):
        batch = batch_indices(settings.SEED, step, n, settings.BATCH_SIZE)
        images = augment(data.train.images[batch], settings.SEED, step)
        F.cross_entropy(model(images), data.train.labels[batch]).backward()
        lr = learning_rate(step)
        apply_update(optimizer, lr=lr, grad_clip=settings.GRAD_CLIP, pruner=pruner)
    with torch.inference_mode():
        unseen = [data.val, data.test]
        right = sum(int((model(s.images).argmax(1) == s.labels).sum()) for s in unseen)
    result = {
        "accuracy": right / sum(len(split.labels) for split in unseen),
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
            item = scored(layer, w, mask, SCORES[name], state, group, None, [], None)
            parts.append(item.score(0, w.numel()))
        found[name] = spearman(torch.cat(parts), magnitude)
    return found


def spearman(a: torch.Tensor, b: torch.Tensor) -> float:
    """Pearson's correlation of the ranks of two 1-D tensors; ties in the order they come."""
    ranks = torch.stack([x.argsort(stable=True).argsort() for x in (a, b)]).double()
    return float(torch.corrcoef(ranks)[0, 1])


def run_all(wanted: list[Cell], results: Path, jobs: int) -> dict[Cell, dict[str, Any]]:
    """Train what is not in `results` yet, in `jobs` processes, and keep each as it is done."""
    done = {}
    if results.exists():
        for line in results.read_text().splitlines():
            row = json.loads(line)
            done[Cell(*row["cell"])] = row["result"]
    missing = [cell for cell in wanted if cell not in done]
    results.parent.mkdir(parents=True, exist_ok=True)
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


Summary = dict[str, dict[str, tuple[float, float]]]  # method → sparsity → (mean, deviation)


def summarize(done: dict[Cell, dict[str, Any]]) -> Summary:
    """Mean and standard deviation of the accuracy over the seeds."""
    values: dict[str, dict[str, list[float]]] = {}
    for cell, result in done.items():
        row = values.setdefault(cell.method, {})
        row.setdefault(f"{cell.sparsity:g}", []).append(result["accuracy"])
    return {
        method: {s: (statistics.mean(x), statistics.stdev(x) if len(x) > 1 else 0.0)
                 for s, x in row.items()}
        for method, row in values.items()
    }  # fmt: skip


def print_tables(console: Console, summary: Summary, related: dict[str, float]) -> None:
    """Accuracy in per cent by method and sparsity, and the rank correlations."""
    table = Table(title="accuracy on unseen images, %, final weights")
    table.add_column("method")
    for sparsity in SPARSITIES:
        table.add_column(f"{100 * sparsity:g} %", justify="right")
    mean, deviation = summary[DENSE]["0"]
    dense = f"{100 * mean:.2f} ± {100 * deviation:.2f}"
    table.add_row(DENSE, *[dense] * len(SPARSITIES), end_section=True)
    for method in METHODS:
        cells_ = (summary[method][f"{sparsity:g}"] for sparsity in SPARSITIES)
        table.add_row(method, *(f"{100 * mean:.2f} ± {100 * dev:.2f}" for mean, dev in cells_))
    console.print(table)
    table = Table(title="rank correlation with |w|, dense network, mean over seeds")
    table.add_column("score")
    table.add_column("Spearman", justify="right")
    for name, value in related.items():
        table.add_row(name, f"{value:.3f}")
    console.print(table)


def draw(summary: Summary, path: Path) -> None:
    """Accuracy against sparsity, a curve a method, as SVG or PNG by the name of the file."""
    import io

    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "the same bytes for the same figures"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    axes.axhline(100 * summary[DENSE]["0"][0], color="0.5", linestyle=":", label=DENSE)
    for i, method in enumerate(METHODS):
        means = [100 * summary[method][f"{sparsity:g}"][0] for sparsity in SPARSITIES]
        style = "-" if not method.startswith("bitter") else "--"
        axes.plot(range(len(SPARSITIES)), means, style, marker="o", ms=3, color=f"C{i % 10}",
                  label=method)  # fmt: skip
    axes.set_xticks(range(len(SPARSITIES)), [f"{100 * sparsity:g} %" for sparsity in SPARSITIES])
    # What falls out of the frame has failed; the rest would be one line with it.
    axes.set(xlabel="sparsity", ylabel="accuracy on unseen images, %", ylim=(75, 100))
    axes.legend(fontsize="small", ncols=2, loc="lower left")
    axes.grid(alpha=0.3)
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:], metadata={"Date": None})
    write_atomic(path, picture.getvalue())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    results = Path("outputs/benchmarks/pruning_quality.jsonl")
    parser.add_argument("--results", type=Path, default=results)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    done = run_all(list(cells(options.seeds, options.epochs)), options.results, options.jobs)
    summary = summarize(done)
    dense = [result for cell, result in done.items() if cell.method == DENSE]
    related = {
        name: statistics.mean(result["correlations"][name] for result in dense)
        for name in STATE_SCORES
    }
    print_tables(Console(), summary, related)
    if options.plot:
        draw(summary, options.plot)
    print(json.dumps({"accuracy": summary, "rank_correlation": related}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
