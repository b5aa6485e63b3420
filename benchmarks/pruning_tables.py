# SPDX-License-Identifier: MIT
"""The trainings of benchmarks/pruning_quality.py as tables and as a figure."""

import argparse
import io
import math
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from lib import text
from lib.files import write_atomic

DENSE, MAGNITUDE = "dense", "magnitude"
# Distinguishable for the colour-blind, and in print by their markers.
COLOURS = ("0.4", "#4477aa", "#ee6677", "#228833", "#aa3377", "#ccbb44", "#66ccee", "#bbbbbb")
MARKERS = ("_", "o", "s", "^", "v", "D", "P", "X")


class Cell(NamedTuple):
    """One training. `sparsity` is 0 for the dense network."""

    method: str
    sparsity: float
    seed: int
    epochs: int


class Estimate(NamedTuple):
    """A mean over seeds, and its standard deviation or half its confidence interval."""

    mean: float
    spread: float

    def __str__(self) -> str:
        return f"{100 * self.mean:.2f} ± {100 * self.spread:.2f}"


Done = dict[Cell, dict[str, Any]]
Table = dict[str, dict[float, Estimate]]  # method → sparsity → estimate


def accuracies(done: Done, method: str, sparsity: float) -> dict[int, float]:
    """Seed → accuracy, in the order of the seeds."""
    found = {c.seed: r["accuracy"] for c, r in done.items() if c[:2] == (method, sparsity)}
    return dict(sorted(found.items()))


def means(done: Done, options: argparse.Namespace) -> Table:
    """Accuracy by method and sparsity: mean and standard deviation over the seeds."""
    dense = _mean_and_deviation([*accuracies(done, DENSE, 0.0).values()])
    table: Table = {DENSE: dict.fromkeys(options.sparsities, dense)}
    for method in options.methods:
        table[method] = {
            s: _mean_and_deviation([*accuracies(done, method, s).values()])
            for s in options.sparsities
        }
    return table


def differences(done: Done, options: argparse.Namespace) -> Table:
    """Accuracy less that of magnitude with the same seed: mean and half of its 95 % interval.

    Pairs share data split, initial weights and order of batches, so that the differences between
    seeds cancel. The interval is Student's.
    """
    table: Table = {}
    for method in options.methods if MAGNITUDE in options.methods else []:
        for s in options.sparsities if method != MAGNITUDE else []:
            ours, theirs = accuracies(done, method, s), accuracies(done, MAGNITUDE, s)
            pairs = [ours[seed] - theirs[seed] for seed in ours]
            table.setdefault(method, {})[s] = mean_and_interval(pairs)
    return table


def _mean_and_deviation(values: list[float]) -> Estimate:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return Estimate(statistics.mean(values), deviation)


def mean_and_interval(values: list[float], confidence: float = 0.95) -> Estimate:
    """The mean of the values and half of Student's interval around it; infinite for one value."""
    from scipy.stats import t

    n = len(values)
    if n < 2:
        return Estimate(statistics.mean(values), math.inf)
    quantile = float(t.ppf((1 + confidence) / 2, n - 1))
    return Estimate(statistics.mean(values), quantile * statistics.stdev(values) / math.sqrt(n))


def print_table(title: str, table: Table, options: argparse.Namespace) -> None:
    """A row a method, a column a sparsity, in per cent."""
    heads = [f"{100 * s:g} %" for s in options.sparsities]
    rows = [(method, *(str(row[s]) for s in options.sparsities)) for method, row in table.items()]
    if options.markdown:
        lines = [title, "", *markdown(["method", *heads], rows)]
    else:
        lines = text.columns([(title, *heads), *rows], right=range(1, 1 + len(heads)))
    print("", *lines, sep="\n")


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """As docs/pruning.md has them: the dense network has no sparsity, so its value stands once."""
    lines = [f"| {' | '.join(heads)} |", f"|---{'|---:' * (len(heads) - 1)}|"]
    for method, first, *others in rows:
        values = "".join(" |" if method == DENSE else f" {value} |" for value in others)
        lines.append(f"| {method} | {first} |{values}")
    return lines


def draw(done: Done, options: argparse.Namespace) -> None:
    """Accuracy, and its difference from magnitude, against sparsity; SVG or PNG by the suffix."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "the same bytes for the same figures"
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5), layout="constrained")
    panels = ((left, means(done, options)), (right, differences(done, options)))
    looks = dict(zip([DENSE, *options.methods], zip(COLOURS, MARKERS, strict=True), strict=False))
    places = range(len(options.sparsities))
    for axes, table in panels:
        for i, (method, row) in enumerate(table.items()):
            shift = 0.5 * ((i + 0.5) / len(table) - 0.5)  # side by side, so that bars do not hide
            colour, marker = looks[method]
            y, error = zip(*((100 * e.mean, 100 * e.spread) for e in row.values()), strict=True)
            axes.errorbar([x + shift for x in places], y, error, color=colour, marker=marker,
                          linestyle="none", capsize=3, label=method)  # fmt: skip
        axes.set_xticks(places, [f"{100 * s:g} %" for s in options.sparsities])
        axes.set_xlabel("sparsity")
        axes.grid(axis="y", alpha=0.3)
    left.set_title(
        f"accuracy on unseen images, %\nmean ± standard deviation, {options.seeds} seeds"
    )
    left.legend(fontsize="small", loc="lower left")
    right.axhline(0, color="0.4", linewidth=1)
    right.set_title("above magnitude with the same seed, points\nmean and its 95 % interval")
    picture = io.BytesIO()
    kind = options.plot.suffix[1:]
    figure.savefig(picture, format=kind, metadata={"Date": None} if kind == "svg" else None)
    write_atomic(options.plot, picture.getvalue())
