# SPDX-License-Identifier: MIT
"""Runs side by side: what differs in settings, data, environment and code, metrics, curves.

    make compare RUNS="a b*" [WHERE="optimizer=adamw"] [METRICS="val/* train/loss"]
                 [FORMAT=table|json|csv] [OUT=curves.png] [SCALE=log|linear]
    python -m scripts.runs.compare [--where …] [--metrics …] [--format …] [--out …] RUN RUN …

RUNS are names, unique beginnings, patterns and paths; WHERE chooses by what runs are
(docs/runs.md). At least two. METRICS are names and patterns; val/loss is the value at the best
evaluation of a run, val/loss:last, :min, :max and :mean are others. The best value in a row is
marked with *, where it is known whether lower or higher is better.

The curves of METRICS (val/loss and train/loss by default) are drawn into one picture, in a folder
`compare` beside the folder of the runs; OUT=file.png or OUT=file.svg names another place, OUT=none
leaves it out. SCALE is the axis of the values. With FORMAT=json or csv there is a picture only if
OUT names one. Nothing is written into a run.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import hashlib
import os
import sys
from pathlib import Path

from lib import text
from lib.errors import BadUse, Failure
from lib.runs.compare.comparison import Comparison, compare
from lib.runs.compare.differences import Differences, spelt
from lib.runs.compare.export import as_json, comparison_csv, comparison_fields
from lib.runs.compare.grid import BEST, Grid, Screen
from lib.runs.compare.metrics import Metric, known, matching, shown, split
from scripts.common import chosen_runs, output_dir, runs_parser

FORMATS = ("table", "json", "csv")
KINDS = {".png": "png", ".svg": "svg"}
_LOG = {"": False, "linear": False, "log": True}
_LONG_TEXT = 60  # characters of a setting in the table


def letters(count: int) -> list[str]:
    """A, B, … Z, AA, AB, …"""
    found = [chr(ord("A") + i) for i in range(26)]
    for first in found[:26]:
        if len(found) >= count:
            break
        found += [first + second for second in found[:26]]
    return found[:count]


def show(found: Comparison) -> None:
    """Print the tables that have anything to say."""
    screen, heads = Screen(), letters(len(found.runs))
    for grid in _about(found, heads):
        screen.show(grid)
    if not found.science and all(run.settings for run in found.runs):
        screen.say("\nThe settings that change the numbers are the same, apart from seeds.")
    screen.show(_differences("Settings that change the numbers", found.science, heads))
    screen.show(_differences("Other settings", found.others, heads))
    if found.metrics:
        rows = [(row.name, _values(row)) for row in found.metrics]
        screen.show(Grid(f"Metrics ({BEST.strip()} the best)", heads, rows, right=True))
    screen.show(_differences("Data", found.data, heads))
    screen.show(_differences("Environment", found.machine, heads))
    screen.show(_differences("Code", found.code.fields, heads))
    for line in _code(found):
        screen.say(line)
    if found.notes:
        screen.say("\n" + "\n".join(f"note: {text.one_line(note)}" for note in found.notes))


def _about(found: Comparison, heads: list[str]) -> list[Grid]:
    rows = [
        (
            letter,
            [
                run.name,
                run.status,
                spelt(seed),
                "" if run.best_step is None else str(run.best_step),
                text.duration(run.metadata.get("duration_s")),
            ],
        )
        for letter, run, seed in zip(heads, found.runs, found.seeds, strict=True)
    ]
    return [Grid("", ["run", "status", "seed", "best step", "time"], rows)]


def _differences(title: str, found: Differences, heads: list[str]) -> Grid:
    rows = [(name, [_cut(spelt(value)) for value in values]) for name, values in found.items()]
    return Grid(title, heads, rows).merged()


def _cut(value: str) -> str:
    value = text.one_line(value)
    return value if len(value) <= _LONG_TEXT else f"{value[: _LONG_TEXT - 1]}…"


def _values(row: Metric) -> list[str]:
    """The values in as many digits as it takes to tell different ones apart."""
    cells = ["" if value is None else shown(row.name, value) for value in row.values]
    given = {value for value in row.values if value is not None and value == value}
    if len(given) > len({c for c, v in zip(cells, row.values, strict=True) if v in given}):
        cells = ["" if value is None else f"{value:.8g}" for value in row.values]
    if not row.best:
        return cells
    blank = " " * len(BEST)
    return [cell + (BEST if i in row.best else blank) for i, cell in enumerate(cells)]


def _code(found: Comparison) -> list[str]:
    lines = []
    for between in found.code.between:
        counts = f"{_commits(between.ahead)} ahead, {between.behind} behind"
        lines += [f"\n  from {between.old} to {between.new}: {counts}"]
        lines += [f"    {line.strip()}" for line in between.stat]
    if found.code.not_here:
        lines.append(f"\n  not in this checkout: {', '.join(found.code.not_here)} (git fetch)")
    return lines


def _commits(count: int) -> str:
    return f"{count} commit{'' if count == 1 else 's'}"


def picture(found: Comparison, wanted: list[str], place: Path, log: bool) -> None:
    """Draw the curves into `place`. Raises BadUse, Failure."""
    from lib.files import write_atomic
    from lib.runs.compare.curves import draw

    heads = letters(len(found.runs))
    labels = [f"{a}  {label}" for a, label in zip(heads, found.labels, strict=True)]
    drawn = draw(found.runs, labels, wanted, log=log, kind=KINDS[place.suffix])
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_atomic(place, drawn)
    except OSError as error:
        raise Failure(f"{place}: {error.strerror}. OUT=file.png names another place") from error


def curves_of(found: Comparison, names: list[str]) -> list[str]:
    """The metrics to draw: those that were asked for, or the two losses, or what there is."""
    if names:
        return list(dict.fromkeys(split(name)[0] for name in matching(found.runs, names)))
    there = [name for name in known(found.runs) if any(name in r.metric_names for r in found.runs)]
    losses = [name for name in ("val/loss", "train/loss") if name in there]
    return losses or there[:1]


def place_of(options: argparse.Namespace, found: Comparison) -> Path | None:
    """Where the picture goes: the same place for the same runs. None if there is to be none."""
    if options.out:
        place = Path(options.out)
        if any(run.dir.resolve() in place.resolve().parents for run in found.runs):
            raise BadUse(f"OUT={options.out} lies in a run: choose a place outside of it")
        return None if options.out == "none" else place
    if options.format != "table":
        return None
    names = [run.name for run in found.runs]
    digest = hashlib.sha256("\0".join(names).encode()).hexdigest()[:6]
    folder = Path(output_dir(options.output_dir)).parent / "compare"
    return folder / f"{names[0][:60]}_and_{len(names) - 1}_more_{digest}.png"


def options() -> argparse.Namespace:
    flags = runs_parser(__doc__)
    for name in ("metrics", "format", "out", "scale"):
        default = os.environ.get(name.upper(), "")
        flags.add_argument(f"--{name}", metavar=name.upper(), default=default)
    given = flags.parse_args()
    given.format = given.format or "table"
    if given.format not in FORMATS:
        raise BadUse(f"FORMAT={given.format}: must be one of {', '.join(FORMATS)}")
    if given.scale not in _LOG:
        raise BadUse(f"SCALE={given.scale}: must be log or linear")
    if given.out not in ("", "none") and Path(given.out).suffix not in KINDS:
        raise BadUse(f"OUT={given.out}: must end in .png or .svg, or be none")
    return given


def main() -> int:
    given = options()
    names = given.metrics.replace(",", " ").split()
    found = compare(chosen_runs(given), names)
    place = place_of(given, found)
    if given.format == "json":
        print(as_json(comparison_fields(found)))
    elif given.format == "csv":
        print(comparison_csv(found), end="")
    else:
        show(found)
    if place is not None:
        sys.stdout.flush()  # drawing takes a second
        said = f"\ncurves: {text.one_line(place)}"
        try:
            picture(found, curves_of(found, names), place, _LOG[given.scale])
        except BadUse as error:
            if given.out:
                raise
            said = f"\nno curves: {error}"
        print(said, file=sys.stdout if given.format == "table" else sys.stderr)
    return 0


if __name__ == "__main__":
    run_main(main)
