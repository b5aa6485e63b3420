# SPDX-License-Identifier: MIT
"""What a sweep will train, and what that will take: python -m scripts.sweep.show SWEEP

    make sweep-show SWEEP=name [JOBS=n] [GPUS=…] [TRIAL=y] [STORAGE=URL]

SWEEP is the name of a file in sweeps/, its path, or a sweep that was begun. Every cell is checked;
a row is one configuration, with its seeds. What was left out of some cells, and which are the same,
is said below.

The time is estimated from completed runs of the same shape: model, data, device and batch. TRIAL=y
trains one cell of each shape for some seconds instead, and keeps nothing of it. Time is that of one
training after another, divided by JOBS.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import math
import random
from collections.abc import Sequence

from lib import text
from lib.sweep.cells import Cell, Space
from lib.sweep.description import Sweep
from lib.sweep.distributions import Range
from lib.sweep.estimate import Estimate, Shapes, estimate, past_runs, shapes_of
from lib.sweep.rehearsal import rehearse
from scripts.common import output_dir
from scripts.sweep.common import chosen_sweep, slots_of, sweep_parser, yes

_REHEARSALS = 4
_REHEARSAL_S = 15.0


def heading(sweep: Sweep, space: Space, cells: Sequence[Cell]) -> list[str]:
    """What the sweep is, in a few lines."""
    seeds = f"{len(space.seeds)} seed{'' if len(space.seeds) == 1 else 's'}"
    labels = len({cell.label for cell in cells})
    if sweep.enumerated:
        cell_word = f"{len(cells)} cells: {labels} configurations × {seeds}"
    else:
        budget = [f"{sweep.trials} trials"] if sweep.trials else []
        budget += [f"{sweep.hours:g} hours"] if sweep.hours else []
        cell_word = f"at most {' or '.join(budget)}, seed {space.seeds[0]}"
    lines = [f"{sweep.name}: {sweep.description}" if sweep.description else sweep.name]
    lines.append(f"{sweep.method}, {cell_word}")
    lines += [f"metric: {m.name} ({m.goal}), {m.at} value" for m in sweep.metrics]
    if sweep.fixed:
        lines.append("set: " + " ".join(f"{n}={v}" for n, v in sweep.fixed.items()))
    if sweep.pruner:
        options = " ".join(f"{n}={v}" for n, v in sweep.pruner.options.items())
        lines.append(f"pruner: {sweep.pruner.name} {options}".rstrip())
    if sweep.constraints:
        lines.append("constraints: " + "; ".join(map(str, sweep.constraints)))
    return lines


def cell_table(cells: Sequence[Cell]) -> list[str]:
    """A row for each configuration, with its seeds and the keys of its cells."""
    rows: dict[str, list[Cell]] = {}
    for cell in cells:
        rows.setdefault(cell.label, []).append(cell)
    table = [("", "configuration", "seeds", "keys")]
    for number, (label, of) in enumerate(rows.items(), 1):
        keys = [cell.key for cell in of]
        shown = " ".join(keys[:2]) + (f" … {len(keys) - 2} more" if len(keys) > 2 else "")
        table.append((str(number), label, " ".join(str(cell.seed) for cell in of), shown))
    return text.columns(table, right=[0])


def axes_table(space: Space) -> list[str]:
    """What a search ranges over."""
    rows = [("axis", "range")]
    for name, axis in space.axes.items():
        if isinstance(axis, Range):
            how = ", logarithmic" if axis.log else ""
            how += f", steps of {axis.step}" if axis.step else ""
            rows.append((name, f"{axis.low} … {axis.high}{how}"))
        else:
            rows.append((name, " ".join(axis.values)))
    return text.columns(rows)


def sample(space: Space, count: int = 20) -> list[Cell]:
    """Cells that a search might try."""
    generator = random.Random(space.sweep.name)
    points = [
        {name: axis.draw(generator) for name, axis in space.axes.items()} for _ in range(count)
    ]
    return [space.resolve(point, space.seeds[0]) for point in points]


def measured(cells: Sequence[Cell], shapes: Shapes, options: argparse.Namespace) -> Estimate:
    """What the cells will take, from past runs or from a short training of each shape."""
    of_cells = shapes_of(cells, shapes)
    if not options.trial:
        return estimate(of_cells, past_runs(output_dir(options.output_dir), shapes))
    firsts: dict[object, Cell] = {}
    for cell, shape in zip(cells, of_cells, strict=True):
        firsts.setdefault((shape.shape, shape.unit), cell)
    if len(firsts) > _REHEARSALS:
        print(f"TRIAL=y: {len(firsts)} different shapes, of which {_REHEARSALS} are tried")
    past, slot = [], slots_of(options)[0]
    for cell in list(firsts.values())[:_REHEARSALS]:
        print(f"trying {cell.label} for {_REHEARSAL_S:g} s of steps …", flush=True)
        past.append(rehearse(cell, shapes, slot, _REHEARSAL_S))
    return estimate(of_cells, past)


def said(found: Estimate, total: float, jobs: int, trial: bool) -> list[str]:
    """The estimate for `total` cells, of which those in `found` are all or a sample."""
    if not found.known:
        return ["time and disk: not known, no run of the same shape was completed (TRIAL=y tries)"]
    share = total / found.known if found.known == found.cells else total / found.cells
    hours = found.seconds * share / jobs
    runs = f"{found.runs} run{'' if found.runs == 1 else 's'}"
    source = "a short training" if trial else f"{runs} of the same shape"
    if not trial and found.equal == found.cells:
        source = f"{runs} of the same settings"
    at_once = f", {jobs} at a time" if jobs > 1 else ", one at a time"
    lines = [f"time: about {text.duration(hours)}{at_once}, by {source}"]
    lines.append(f"disk: about {text.size(round(found.size * share))}")
    if found.known < found.cells:
        lines.append(
            f"of {found.cells} cells only {found.known} have run in this shape: the others are "
            "not in these numbers (TRIAL=y tries)"
        )
    return lines


def main() -> int:
    flags = sweep_parser(__doc__)
    flags.add_argument("--trial", action="store_true", default=yes("TRIAL"))
    options = flags.parse_args()
    jobs = len(slots_of(options))
    sweep = chosen_sweep(options.sweep, output_dir(options.output_dir), options.storage)
    space = Space(sweep)
    cells = space.cells()
    print(*heading(sweep, space, cells), sep="\n")
    print("", *(cell_table(cells) if sweep.enumerated else axes_table(space)), sep="\n")
    if space.remarks:
        print("", *(f"note: {remark}" for remark in space.remarks), sep="\n")
    tried = cells if sweep.enumerated else sample(space)
    total = len(cells) if sweep.enumerated else sweep.trials or math.nan
    print()
    found = measured(tried, Shapes(), options)
    if math.isnan(total):
        print(f"time: {sweep.hours:g} hours, and what is running then")
    else:
        print(*said(found, total, jobs, options.trial), sep="\n")
    print(f"next: make sweep SWEEP={options.sweep}")
    return 0


if __name__ == "__main__":
    run_main(main)
