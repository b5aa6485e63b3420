# SPDX-License-Identifier: MIT
"""What the programs that read a sweep share: which one, and where it is stored."""

import argparse
import os
from pathlib import Path

from lib.errors import BadUse
from lib.sweep.report.board import Board, board_of
from scripts.common import output_dir


def add_storage(flags: argparse.ArgumentParser) -> None:
    """--storage, by default STORAGE; see `storage_of`."""
    flags.add_argument(
        "--storage",
        metavar="URL",
        default=os.environ.get("STORAGE", ""),
        help="the database of sweeps (default: studies.sqlite in OUTPUT_DIR/.sweeps)",
    )


def add_sweep(flags: argparse.ArgumentParser) -> None:
    """The name of a sweep, by default SWEEP, and --storage; see `opened`."""
    add_storage(flags)
    default = os.environ.get("SWEEP", "")
    flags.add_argument("sweep", metavar="SWEEP", nargs="?", default=default, help="its name")


def storage_of(given: argparse.Namespace) -> str:
    """The URL of the database that the options name."""
    from lib.sweep.storage import default_storage

    return given.storage or default_storage(output_dir(given.output_dir))


def opened(given: argparse.Namespace) -> Board:
    """What there is of the sweep that the options of `add_sweep` name. Raises BadUse, Failure."""
    from lib.sweep.study import list_studies, open_study

    url = storage_of(given)
    name = Path(given.sweep).name.removesuffix(".yaml")
    if not name:
        there = ", ".join(list_studies(url)) or "none"
        raise BadUse(f"which sweep? give SWEEP=; there are: {there}")
    study = open_study(name, url, create=False)
    return board_of(study.sweep, study.trials())
