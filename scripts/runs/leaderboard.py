# SPDX-License-Identifier: MIT
"""Which settings are the best: runs that differ in the seed alone are one row, the best row first.

    make leaderboard [BY=val/loss] [GROUP=OPTIMIZER,LEARNING_RATE] [WHERE="model=…"] [LIMIT=20]
                     [FORMAT=table|json|csv] [MODE=min|max] [STATUS=completed,…|all] [ALPHA=0.05]
    python -m scripts.runs.leaderboard [--by …] [--group …] … [RUN …]

BY is a metric: its value at the best evaluation of each run, or val/loss:last, :min, :max, :mean.
MODE says whether a low or a high value is better, where the name of the metric does not. Runs with
the same settings, apart from the seed and from what changes no numbers, are a row; GROUP makes rows
of what is equal in these settings and fields instead. RUNS and WHERE choose runs as in `make
compare`; STATUS which of them count, by default those that are completed.

A row shows the mean over seeds ± the sample standard deviation, and the confidence interval of the
mean at 1 - ALPHA (Student's t). Each row is tested against the first: by a paired t-test where both
have the same seeds, else by Welch's t-test, two-sided, corrected for all rows by Holm's method. A
difference is called significant if the corrected p is below ALPHA. One seed cannot be tested. A
seed counts once however many runs have it.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import os
import re
from collections.abc import Callable
from functools import partial

from lib import text
from lib.errors import BadUse
from lib.runs.compare.export import as_json, leaderboard_csv, leaderboard_fields
from lib.runs.compare.grid import Grid, Screen
from lib.runs.compare.leaderboard import FINISHED, Leaderboard, Row, leaderboard, said
from lib.runs.compare.metrics import shown
from lib.runs.compare.significance import PAIRED, WELCH
from lib.runs.open import open_runs
from lib.runs.stored import StoredRun
from scripts.common import chosen_runs, output_dir, runs_parser

FORMATS = ("table", "json", "csv")
_LOWER = {"": None, "min": True, "max": False}
_STATUSES = ("completed", "running", "interrupted", "failed")
_VARIABLES = ("by", "group", "limit", "format", "mode", "status", "alpha")


def show(board: Leaderboard) -> None:
    """Print the table, what was tested how, and what to beware of."""
    screen = Screen()
    for line in _heading(board):
        screen.say(line)
    level = f"{100 * (1 - board.alpha):g} % interval"
    heads = ["settings", "n", f"mean ± std\n{level}", "best\nworst", "against the first"]
    rows = [(str(i), _cells(row, board)) for i, row in enumerate(board.rows, 1)]
    screen.show(Grid("", heads, rows, corner="#", whole=True))
    if board.total > len(board.rows):
        screen.say(f"\n{_rows(board.total - len(board.rows))} more: LIMIT={board.total}")
    screen.say()
    for line in _tests(board):
        screen.say(line)
    for i, row in enumerate(board.rows, 1):
        for warning in row.warnings:
            screen.say(f"warning: row {i}: {text.one_line(warning)}")
    for warning in board.warnings:
        screen.say(f"warning: {text.one_line(warning)}")


def _heading(board: Leaderboard) -> list[str]:
    better = "low" if board.lower else "high"
    lines = [f"{board.by}: {_rows(board.total)}, {better} is better"]
    if board.group:
        lines[0] += f", a row for each {', '.join(board.group)}"
    if board.left_out:
        lines.append(f"left out: {said(board.left_out)} (STATUS=all takes in every status)")
    return lines


def _rows(count: int) -> str:
    return f"{count} row{'' if count == 1 else 's'}"


def _cells(row: Row, board: Leaderboard) -> list[str]:
    number = partial(shown, board.by)

    middle, ends = number(row.mean), ""
    if row.n > 1:
        middle += f" ± {number(row.std)}"
        ends = f"\n[{number(row.low)}, {number(row.high)}]"
    span = number(row.best) + (f"\n{number(row.worst)}" if row.n > 1 else "")
    return [row.label, str(row.n), middle + ends, span, _verdict(row, number)]


def _verdict(row: Row, number: Callable[[float], str]) -> str:
    outcome = row.outcome
    if outcome is None:
        return "first"
    difference = ("+" if outcome.difference > 0 else "") + number(outcome.difference)
    if not outcome.test:
        return f"{difference}\nnot tested: {outcome.why_not}"
    short = {PAIRED: "paired", WELCH: "Welch"}[outcome.test]
    verdict = "significant" if outcome.significant else "not significant"
    return f"{difference}, {verdict}\np = {_p(outcome.p_holm)} ({short})"


def _p(p: float) -> str:
    return f"{p:.2g}" if p >= 1e-4 else f"{p:.0e}"


def _tests(board: Leaderboard) -> list[str]:
    outcomes = [row.outcome for row in board.rows if row.outcome]
    used = {outcome.test for outcome in outcomes if outcome.test}
    if not used:
        reasons = "; ".join(dict.fromkeys(outcome.why_not for outcome in outcomes))
        more = " (train more seeds: make SET=SEED=1)" if "n = 1" in reasons else ""
        return [f"nothing is tested: {reasons}{more}"] if reasons else []
    how = {
        PAIRED: "paired: paired t-test by seed, where both rows have the same seeds",
        WELCH: "Welch: Welch's t-test, where they do not",
    }
    count = f"{board.tested} test{'' if board.tested == 1 else 's'}"
    return [
        *(line for test, line in how.items() if test in used),
        f"p: two-sided, corrected for {count} by Holm's method; significant: p < {board.alpha:g}",
    ]


def _chosen(given: argparse.Namespace) -> list[StoredRun]:
    """All runs, unless RUNS or WHERE choose."""
    if given.runs or given.where.strip():
        return chosen_runs(given)
    return open_runs(output_dir(given.output_dir))


def options() -> argparse.Namespace:
    flags = runs_parser(__doc__)
    for name in _VARIABLES:
        default = os.environ.get(name.upper(), "")
        flags.add_argument(f"--{name}", metavar=name.upper(), default=default)
    given = flags.parse_args()
    given.by, given.format = given.by or "val/loss", given.format or "table"
    if given.format not in FORMATS:
        raise BadUse(f"FORMAT={given.format}: must be one of {', '.join(FORMATS)}")
    if given.mode not in _LOWER:
        raise BadUse(f"MODE={given.mode}: must be min or max")
    if not re.fullmatch("[1-9][0-9]{0,8}|", given.limit):
        raise BadUse(f"LIMIT={given.limit}: must be a number from 1 on")
    given.limit = int(given.limit or (20 if given.format == "table" else 10**9))
    given.alpha = _alpha(given.alpha or "0.05")
    given.status = _statuses(given.status)
    return given


def _alpha(given: str) -> float:
    try:
        alpha = float(given)
    except ValueError:
        alpha = 0.0
    if not 0 < alpha < 1:
        raise BadUse(f"ALPHA={given}: must be a number between 0 and 1, such as 0.05")
    return alpha


def _statuses(given: str) -> tuple[str, ...]:
    """Empty for all."""
    words = tuple(given.replace(",", " ").split())
    if words == ("all",):
        return ()
    for word in words:
        if word not in _STATUSES:
            raise BadUse(f"STATUS={given}: must be all, or of {', '.join(_STATUSES)}")
    return words or FINISHED


def main() -> int:
    given = options()
    board = leaderboard(
        _chosen(given),
        given.by,
        group=given.group.replace(",", " ").split(),
        limit=given.limit,
        alpha=given.alpha,
        statuses=given.status,
        lower=_LOWER[given.mode],
    )
    if given.format == "json":
        print(as_json(leaderboard_fields(board)))
    elif given.format == "csv":
        print(leaderboard_csv(board), end="")
    else:
        show(board)
    return 0


if __name__ == "__main__":
    run_main(main)
