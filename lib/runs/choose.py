# SPDX-License-Identifier: MIT
"""Choosing several runs: RUNS="a b* c" and WHERE="val/loss<3".

for run in chosen_runs("outputs/training", "baseline_* colder", where="val/loss<3"):
    print(run.name, run.value("val/loss"))
"""

import fnmatch
from pathlib import Path

from ..errors import BadUse, near
from .open import open_runs
from .stored import run_named
from .stored_run import StoredRun, load_run

_WILD = frozenset("*?[")


def chosen_runs(output_dir: str | Path, runs: str = "", where: str = "") -> list[StoredRun]:
    """The runs that both `runs` and `where` choose, each once; at least one.

    `runs` are names, unique beginnings of names, paths, or patterns with *, ? and […], separated by
    white space or commas. The order is that of `runs`, within a pattern the oldest first; without
    `runs`, all that `where` chooses, the oldest first. Raises BadUse, with near matches, when a
    part of `runs` chooses nothing, or `where` is wrong or leaves nothing.
    """
    words = runs.replace(",", " ").split()
    if not words and not where.strip():
        raise BadUse('which runs? RUNS="name other*", or WHERE="model=…" (docs/runs.md)')
    left = {run.name: run for run in open_runs(output_dir, where)}
    if not words:
        if not left:
            raise BadUse(f"no run in {output_dir} fits WHERE={where}: `make runs` lists them")
        return list(left.values())
    found: dict[Path, StoredRun] = {}
    everything = left
    if where.strip():
        everything = {run.name: run for run in open_runs(output_dir)}
    for word in words:
        for run in _named(word, everything, Path(output_dir)):
            if run.dir not in found and (not where.strip() or run.name in left):
                found[run.dir] = run
    if not found:
        raise BadUse(f"none of RUNS={runs} fits WHERE={where}")
    return list(found.values())


def _named(word: str, runs: dict[str, StoredRun], output_dir: Path) -> list[StoredRun]:
    """The runs that one word of RUNS chooses. Raises BadUse when it chooses none."""
    if word in runs:
        return [runs[word]]
    if _WILD.isdisjoint(word) or "/" in word:
        directory = run_named(output_dir, word)
        return [load_run(directory) if "/" in word else runs[directory.name]]
    names = [name for name in runs if fnmatch.fnmatchcase(name, word)]
    if not names:
        meant = near(word.strip("*"), runs)
        hint = f"did you mean {', '.join(meant)}?" if meant else "`make runs` lists them"
        raise BadUse(f"RUNS={word}: no run in {output_dir} fits this pattern; {hint}")
    return [runs[name] for name in names]
