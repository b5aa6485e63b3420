# SPDX-License-Identifier: MIT
"""Values that are each in range but do not go together, in ways that Kconfig cannot express.

Checked whenever values are assigned (lib/config/assign.py), so that a configuration that must fail
is never written. What depends on the data (how many steps an epoch has) is checked when training
begins.
"""

import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from ..files import ROOT

Values = Mapping[str, bool | int | float | str | None]
_FILE_NAME = re.compile(r"[\w.-]*\w[\w.-]*", re.ASCII)


def contradictions(values: Values, chosen: Collection[str] = ()) -> list[str]:
    """What is wrong with the values of all symbols together, a line each, naming the symbols.

    `chosen`: the symbols that do not hold their defaults. A default that does not suit a short
    trial is not an error.
    """
    problems = [problem for check in CHECKS for problem in check(values)]
    return problems + (_warmup(values) if "WARMUP_STEPS" in chosen else [])


def _directories(values: Values) -> list[str]:
    """Directories of many files are neither the root of the project nor of the file system."""
    problems = []
    for name in sorted({"OUTPUT_DIR", "DATA_DIR"} & values.keys()):
        path = (ROOT / str(values[name]).strip()).resolve()
        if path in (ROOT, Path(path.anchor)):
            problems.append(
                f'{name}="{values[name]}": its files would go into {path} itself: choose '
                "another directory, or one below it"
            )
    return problems


def _corpus_name(values: Values) -> list[str]:
    name = values.get("DATASET_NAME")
    if name and not _FILE_NAME.fullmatch(str(name)):
        return [
            f'DATASET_NAME="{name}": becomes the name of a directory: use letters, digits, dots, '
            "hyphens and underscores, and not only dots"
        ]
    if name == "" and values["DATASET"] == "custom":
        return ['DATASET_NAME="": a corpus of your own needs a name; the default is custom']
    return []


def _warmup(values: Values) -> list[str]:
    warmup, steps = values["WARMUP_STEPS"], values["MAX_STEPS"]
    if steps and warmup > steps:
        return [
            f"WARMUP_STEPS={warmup}: the training ends after MAX_STEPS={steps}, before the "
            "warm-up does: a tenth of the steps is usually enough"
        ]
    return []


def _pruning_times(values: Values) -> list[str]:
    """PRUNING_START ≤ PRUNING_END ≤ the end of training, in the unit that was chosen."""
    times = ("PRUNING_START", "PRUNING_END", "PRUNING_FREQUENCY")
    given = {name: values[name] for name in times if values.get(name) is not None}
    problems = []
    for name, value in given.items():
        if values["PRUNING_UNIT"] == "share" and value > 1.0:
            problems.append(
                f"{name}={value}: more than the whole training; steps need PRUNING_UNIT=steps"
            )
        if values["PRUNING_UNIT"] == "steps" and (value != int(value) or value < 1.0):
            problems.append(f"{name}={value}: not a whole number of steps, 1 or more")
    start, end = given.get("PRUNING_START"), given.get("PRUNING_END")
    if end is not None and start > end:
        problems.append(f"PRUNING_START={start}: later than PRUNING_END={end}")
    name, last = ("PRUNING_START", start) if end is None else ("PRUNING_END", end)
    limit = values.get("MAX_STEPS")
    if given and values["PRUNING_UNIT"] == "steps" and limit and last > limit:
        problems.append(f"{name}={last}: pruning would end after training, MAX_STEPS={limit}")
    return problems


def _pattern_limit(values: Values) -> list[str]:
    if values.get("PRUNING_PATTERN") == "2to4" and values["TARGET_SPARSITY"] > 0.5:
        return [
            f"TARGET_SPARSITY={values['TARGET_SPARSITY']}: PRUNING_PATTERN=2to4 removes two of "
            "four weights: at most 0.5"
        ]
    return []


CHECKS: tuple[Callable[[Values], list[str]], ...] = (
    _directories,
    _corpus_name,
    _pruning_times,
    _pattern_limit,
)
