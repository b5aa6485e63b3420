# SPDX-License-Identifier: MIT
"""The best configuration of a sweep as a defconfig: what differs from the defaults, and why it won.

    print(best_defconfig(board, Space(board.sweep)), end="")

Over seeds the best is the configuration with the best mean; the defconfig has the seed of its
first trial, since the seed that did best would be luck. What violates a constraint is never it.
"""

from typing import TYPE_CHECKING

from ...config import dotconfig
from ...config.assign import apply
from ...config.dotconfig import ConfigError
from ...config.tree import Tree
from ...errors import BadUse, Failure
from ...text import one_line
from ..trials import Trial
from .board import COMPLETE, Board, Configuration, said
from .tables import spread

if TYPE_CHECKING:
    from ..cells import Space

_MOST_NAMED = 20


def best_defconfig(board: Board, space: "Space", number: int | None = None) -> str:
    """The text of the defconfig of the best configuration, or of the trial `number`.

    Raises BadUse where there is none, and for two metrics without a number; Failure when the
    Kconfig files have changed since.
    """
    row = _best(board) if number is None else None
    trial = row.trials[0] if row else _trial(board, number)
    cell = space.resolve(trial.params, trial.seed)
    if cell.key != trial.key:
        raise Failure(
            f"trial {trial.number} ({said(trial.params)}) is no longer the cell {trial.key}: the "
            "Kconfig files have changed since it was trained. Go back to what they were, or take "
            f"the defconfig of its run: {trial.run}/defconfig"
        )
    text = space.retry(cell, trial.changes).config_text
    comments = _comments(board, row, trial)
    return "".join(f"# {one_line(line)}\n" for line in comments) + _minimal(text, trial)


def _best(board: Board) -> Configuration:
    """The configuration that one may call the best. Raises BadUse."""
    name = board.sweep.name
    if len(board.sweep.metrics) > 1:
        front = [row for row in board.rows if row.key in board.front]
        lines = [f"  TRIAL={row.trials[0].number}: {_value(board, row)}" for row in front]
        more = [f"  … {len(front) - _MOST_NAMED} more"] if len(front) > _MOST_NAMED else []
        what = "no trial is complete yet" if not front else "choose one of its Pareto front"
        listed = "\n".join([f"sweep {name} has two metrics; {what}", *lines[:_MOST_NAMED], *more])
        raise BadUse(listed)
    if board.best:
        return board.best
    if any(row.n for row in board.rows):
        raise BadUse(
            f"sweep {name}: every complete trial violates a constraint "
            f"({', '.join(map(str, board.sweep.constraints))}); TRIAL=number takes one all the same"
        )
    raise BadUse(f"sweep {name}: no trial is complete yet: make sweep SWEEP={name}")


def _trial(board: Board, number: int) -> Trial:
    found = next((trial for trial in board.trials if trial.number == number), None)
    if found is None:
        last = max((trial.number for trial in board.trials), default=None)
        there = "has no trials" if last is None else f"has the trials 0 to {last}"
        raise BadUse(f"TRIAL={number}: sweep {board.sweep.name} {there}")
    if found.state != COMPLETE:
        raise BadUse(f"TRIAL={number} is {found.state}, and not complete")
    return found


def _comments(board: Board, row: Configuration | None, trial: Trial) -> list[str]:
    """Where it comes from: sweep, trial, value, seeds."""
    metrics = board.sweep.metrics
    if row:
        seeds = " ".join(map(str, row.values))
        numbers = " ".join(str(t.number) for t in row.trials)
        many = row.n > 1
        lines = [f"Best of sweep {board.sweep.name}: {row.label}"]
        over = f"mean ± standard deviation over the seeds {seeds}" if many else f"seed {seeds}"
        lines.append(f"{_value(board, row)}, {over}; trial{'s' * many} {numbers}")
        if row.missing:
            lines.append(f"{row.n} of {row.seeds} seeds are complete")
    else:
        lines = [f"Trial {trial.number} of sweep {board.sweep.name}: {said(trial.params)}"]
        values = zip(metrics, trial.values, strict=True)
        lines.append(", ".join(f"{m.name} {v:.6g}" for m, v in values) + f", seed {trial.seed}")
    if not trial.feasible:
        lines.append(f"violates a constraint: {', '.join(map(str, board.sweep.constraints))}")
    if trial.changes:
        changes = " ".join(f"{name}={text}" for name, text in trial.changes.items())
        lines.append(f"as trial {trial.number} was trained after a failure: {changes}")
    return lines


def _value(board: Board, row: Configuration) -> str:
    metrics = enumerate(board.sweep.metrics)
    return ", ".join(f"{m.name} {spread(m.name, row.mean(i), row.std(i))}" for i, m in metrics)


def _minimal(config_text: str, trial: Trial) -> str:
    assignments, problems = dotconfig.parse(config_text, f"cell {trial.key}")
    if problems:
        raise ConfigError(problems)
    tree = Tree()
    apply(tree, [assignments])
    tree.follow_defaults()
    return tree.defconfig_text()
