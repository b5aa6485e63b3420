# SPDX-License-Identifier: MIT
"""What the programs behind make share: flags, and the run or checkpoint that they select.

A run is given in the same way everywhere, as an argument or as RUN in the environment: its name,
the unique beginning of its name, or its path; the default is the latest run. Several runs are given
as arguments or as RUNS, by names and patterns, and by WHERE.
"""

import argparse
import os
from pathlib import Path

from lib.errors import BadUse
from lib.runs import choose
from lib.runs.stored import StoredRun, load_run, resolve
from lib.train.checkpoint.find import named

CHECKPOINTS = ("last", "best")
UNCONFIGURED_OUTPUT_DIR = "outputs/training"


def parser(doc: str) -> argparse.ArgumentParser:
    """The flags that all programs about runs share, under `doc` as their help."""
    made = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--output-dir",
        metavar="DIR",
        default=None,
        help="where the runs are (default: OUTPUT_DIR of the configuration)",
    )
    return made


def given_run() -> str:
    """RUN in the environment, where make puts it; empty if it is not given."""
    return os.environ.get("RUN", "")


def run_parser(doc: str) -> argparse.ArgumentParser:
    """`parser` for a program about one run; see `chosen_run`."""
    made = parser(doc)
    made.add_argument(
        "run",
        metavar="RUN",
        nargs="?",
        default=given_run(),
        help="name of the run, its unique beginning, or a path (default: the latest run)",
    )
    return made


def runs_parser(doc: str) -> argparse.ArgumentParser:
    """`parser` for a program about several runs; see `chosen_runs`."""
    made = parser(doc)
    made.add_argument(
        "runs",
        metavar="RUN",
        nargs="*",
        default=os.environ.get("RUNS", "").split(),
        help="names of runs, unique beginnings, patterns with * and ?, or paths (RUNS)",
    )
    made.add_argument(
        "--where",
        metavar="WHERE",
        default=os.environ.get("WHERE", ""),
        help="only runs for which this holds: 'optimizer=adamw and val/loss<3' (docs/runs.md)",
    )
    return made


def checkpoint_parser(doc: str) -> argparse.ArgumentParser:
    """`run_parser` for a program about one checkpoint of a run; see `chosen_checkpoint`."""
    made = run_parser(doc)
    made.add_argument(
        "--checkpoint",
        choices=CHECKPOINTS,
        default=os.environ.get("CHECKPOINT") or CHECKPOINTS[0],
        help="the one at the end, or the best on the validation set (CHECKPOINT; default: last)",
    )
    return made


def output_dir(given: str | None) -> str:
    """`given`, else OUTPUT_DIR of config.py, else its default."""
    if given is not None:
        return given
    try:
        from config import config
    except ModuleNotFoundError:
        return UNCONFIGURED_OUTPUT_DIR
    return config.OUTPUT_DIR


def chosen_run(options: argparse.Namespace) -> Path:
    """The directory of the run that the options of `run_parser` name. Raises BadUse."""
    return resolve(output_dir(options.output_dir), options.run)


def chosen_runs(options: argparse.Namespace) -> list[StoredRun]:
    """The runs that the options of `runs_parser` name, at least one. Raises BadUse."""
    names = " ".join(options.runs)
    return choose.chosen_runs(output_dir(options.output_dir), names, options.where)


def named_run(options: argparse.Namespace, command: str) -> StoredRun:
    """The run that the options of `run_parser` name, for a `command` that changes or publishes it.

    Here the latest run is no default. Raises BadUse, and Failure when it is unreadable.
    """
    if not options.run:
        latest = resolve(output_dir(options.output_dir)).name
        raise BadUse(f"which run? {command} needs RUN=; the latest is {latest}")
    return load_run(chosen_run(options))


def chosen_checkpoint(options: argparse.Namespace) -> Path:
    """The file, or the directory of a sharded run, that the options of `checkpoint_parser` name.

    It may lack. Raises BadUse.
    """
    if options.checkpoint not in CHECKPOINTS:  # in the environment: argparse checks flags only
        raise BadUse(f"CHECKPOINT={options.checkpoint}: want {' or '.join(CHECKPOINTS)}")
    return named(chosen_run(options) / "checkpoints", options.checkpoint)
