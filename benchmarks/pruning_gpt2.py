# SPDX-License-Identifier: MIT
"""What pruning costs a small GPT-2 in validation loss: python -m benchmarks.pruning_gpt2

Prints the tables of docs/pruning.md from --results (benchmarks/pruning_gpt2.csv), which has a line
for each training of the sweep gpt2-pruning: mean ± standard deviation over the seeds, the loss
above that of the dense network for each exponent of v-power, and the difference from magnitude with
the same seed, with its 95 % interval and a paired t-test corrected for all comparisons of the table
(Holm). The last line is JSON.

--collect DIR writes that file first, from the completed runs in DIR whose science_hash is that of a
cell of the sweep; of seeds, those of which all cells are there. --plot FILE draws the differences.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.pruning_tables import COLOURS, DENSE, MAGNITUDE, MARKERS, markdown
from lib.errors import Failure
from lib.files import write_atomic
from lib.runs import open_runs
from lib.runs.compare.significance import Outcome, compare, holm, mean, std
from lib.sweep.cells import Space
from lib.sweep.reading import read_sweep

SWEEP = "gpt2-pruning"
RESULTS = Path("benchmarks/pruning_gpt2.csv")
POWERS = {MAGNITUDE: "0", "v-1/8": "⅛", "bitter7": "¼", "v-1/2": "½"}  # arm → p of |w|·v^p
ALPHA = 0.05
JSON = ("difference", "error", "df", "p", "p_holm", "significant")


class Row(NamedTuple):
    """One training. `sparsity` is 0 for the dense network."""

    arm: str
    sparsity: float
    seed: int
    val_loss: float
    science_hash: str


Losses = Mapping[tuple[str, float], Mapping[int, float]]  # (arm, sparsity) → seed → loss
Place = tuple[str, float]


def collect(directory: Path) -> list[Row]:
    """The trainings of the sweep among the completed runs in `directory`, of whole seeds only.

    Raises Failure when no seed has all its cells.
    """
    runs = open_runs(directory, where="status=completed")
    found = {run.field("science_hash"): run.value("val/loss:last") for run in runs}
    losses = {key: loss for key, loss in found.items() if loss is not None}
    cells = Space(read_sweep(SWEEP)).cells()
    missing = {cell.seed for cell in cells if cell.key not in losses}
    rows = [
        Row(
            cell.params["arm"],
            float(cell.params.get("TARGET_SPARSITY", 0)),
            cell.seed,
            losses[cell.key],
            cell.key,
        )
        for cell in cells
        if cell.seed not in missing
    ]
    if not rows:
        raise Failure(f"{directory}: no seed of SWEEP={SWEEP} has all its trainings yet")
    return sorted(rows, key=lambda row: row.seed)


def write(path: Path, rows: Sequence[Row]) -> None:
    """Keep the trainings as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(Row._fields)
    writer.writerows(rows)
    write_atomic(path, out.getvalue())


def read(path: Path) -> list[Row]:
    """The trainings that `write` kept."""
    with path.open(newline="") as file:
        _, *lines = csv.reader(file)
    return [Row(a, float(s), int(seed), float(loss), key) for a, s, seed, loss, key in lines]


def losses_of(rows: Sequence[Row]) -> Losses:
    """By arm and sparsity, and by seed."""
    found: dict[Place, dict[int, float]] = {}
    for row in rows:
        found.setdefault((row.arm, row.sparsity), {})[row.seed] = row.val_loss
    return found


def outcomes(losses: Losses) -> dict[Place, Outcome]:
    """Each arm but magnitude against magnitude at its sparsity, corrected for all together."""
    places = [place for place in losses if place[0] not in (DENSE, MAGNITUDE)]
    found = [
        compare(losses[MAGNITUDE, sparsity], losses[arm, sparsity]) for arm, sparsity in places
    ]
    corrected = holm([outcome.p for outcome in found])
    return {
        place: replace(outcome, p_holm=p, significant=p < ALPHA)
        for place, outcome, p in zip(places, found, corrected, strict=True)
    }


def tables(losses: Losses) -> dict[str, list[str]]:
    """Title → a table in Markdown, with a column for each sparsity."""
    sparsities = sorted({sparsity for _, sparsity in losses} - {0.0})
    arms = list(dict.fromkeys(arm for arm, _ in losses if arm != DENSE))
    found = outcomes(losses)
    heads = [f"{100 * s:g} %" for s in sparsities]

    def table(first: str, rows: Mapping[str, str], cell: Callable[[str, float], str]) -> list[str]:
        body = [(rows[arm], *(cell(arm, s) for s in sparsities)) for arm in rows]
        return markdown([first, *heads], body)

    def loss(arm: str, sparsity: float) -> str:
        values = [*losses[arm, 0.0 if arm == DENSE else sparsity].values()]
        return f"{mean(values):.4f} ± {std(values):.4f}"

    def above_dense(arm: str, sparsity: float) -> str:
        return str(round(1000 * _paired(losses[DENSE, 0.0], losses[arm, sparsity])))

    def difference(arm: str, sparsity: float) -> str:
        outcome = found[arm, sparsity]
        low, high = outcome.interval(1 - ALPHA)
        star = " *" if outcome.significant else ""
        return f"{outcome.difference:+.4f} ± {(high - low) / 2:.4f}{star}"

    def p(arm: str, sparsity: float) -> str:
        outcome = found[arm, sparsity]
        return f"{_p(outcome.p)} → {_p(outcome.p_holm)}"

    named, others = {arm: arm for arm in arms}, {arm: arm for arm in arms if arm != MAGNITUDE}
    return {
        "validation loss, mean ± standard deviation": table("arm", {DENSE: DENSE} | named, loss),
        "thousandths of a nat above dense, by p": table("p", POWERS, above_dense),
        "difference from magnitude, ± 95 % interval": table("arm", others, difference),
        "p of the paired t-test → corrected": table("arm", others, p),
    }


def _paired(first: Mapping[int, float], other: Mapping[int, float]) -> float:
    return mean([other[seed] - first[seed] for seed in first])


def _p(p: float) -> str:
    return f"{p:.2f}" if p >= 0.1 else f"{p:.1g}"


def draw(path: Path, losses: Losses) -> None:
    """The difference from magnitude against sparsity, with its interval; SVG or PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    found = outcomes(losses)
    sparsities = sorted({sparsity for _, sparsity in found})
    arms = list(dict.fromkeys(arm for arm, _ in found))
    figure, axes = plt.subplots(figsize=(9, 4.5), layout="constrained")
    for i, arm in enumerate(arms):
        rows = [found[arm, s] for s in sparsities]
        places = [x + 0.6 * ((i + 0.5) / len(arms) - 0.5) for x in range(len(sparsities))]
        reaches = [(high - low) / 2 for low, high in (row.interval(1 - ALPHA) for row in rows)]
        axes.errorbar(places, [row.difference for row in rows], reaches, color=COLOURS[i],
                      marker=MARKERS[i], linestyle="none", capsize=3, label=arm)  # fmt: skip
    axes.set_xticks(range(len(sparsities)), [f"{100 * s:g} %" for s in sparsities])
    axes.set_xlabel("sparsity")
    axes.set_ylabel("nats")
    axes.axhline(0, color="0.4", linewidth=1)
    axes.grid(axis="y", alpha=0.3)
    axes.set_title("validation loss above that of magnitude with the same seed\n"
                   "mean and its 95 % interval")  # fmt: skip
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix[1:], dpi=110)
    write_atomic(path, picture.getvalue())


def options_of(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--collect", type=Path, metavar="DIR")
    parser.add_argument("--plot", type=Path)
    return parser.parse_args(argv)


def main() -> int:
    """The program; see the top of the file."""
    options = options_of()
    if options.collect:
        write(options.results, collect(options.collect))
    losses = losses_of(read(options.results))
    seeds = sorted(losses[DENSE, 0.0])
    if len(seeds) < 2:
        raise Failure(f"{options.results}: one seed has no spread to compare with")
    print(f"{options.results}: seeds {', '.join(map(str, seeds))}")
    for title, lines in tables(losses).items():
        print("", title, "", *lines, sep="\n")
    if options.plot:
        draw(options.plot, losses)
    found = [
        {"arm": arm, "sparsity": sparsity} | {name: getattr(outcome, name) for name in JSON}
        for (arm, sparsity), outcome in outcomes(losses).items()
    ]
    print(json.dumps({"seeds": seeds, "against_magnitude": found}))
    return 0


if __name__ == "__main__":
    run_main(main)
