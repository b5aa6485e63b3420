# SPDX-License-Identifier: MIT
"""What the programs about sweeps share: their flags, and the sweep and the slots that they choose.

Optuna, which takes a second to import, is not needed for that.
"""

import argparse
import os
import subprocess
from pathlib import Path

from lib.errors import BadUse
from lib.files import ROOT
from lib.sweep.description import Sweep
from lib.sweep.reading import read_sweep
from lib.sweep.slots import Slot, chosen_gpus, make_slots, parse_jobs
from scripts.common import parser


def chosen_sweep(given: str, output: str, storage: str) -> Sweep:
    """The sweep of a file, or one that was begun. Raises BadUse."""
    try:
        return read_sweep(given)
    except BadUse as error:
        begun = storage or (Path(output) / ".sweeps").is_dir()
        if not begun or not given or "no such sweep" not in str(error):
            raise
        from lib.sweep.storage import default_storage
        from lib.sweep.study import list_studies, open_study

        url = storage or default_storage(output)
        if given not in list_studies(url):
            raise
        return open_study(given, url, create=False).sweep


def sweep_parser(doc: str) -> argparse.ArgumentParser:
    """`training_parser` of a program that is given a sweep."""
    made = training_parser(doc)
    made.add_argument("sweep", metavar="SWEEP", nargs="?", default=os.environ.get("SWEEP", ""))
    return made


def training_parser(doc: str) -> argparse.ArgumentParser:
    """The flags of a program that trains a sweep: each is a variable of make, too."""
    made = parser(doc)
    given = os.environ.get
    made.add_argument("--jobs", metavar="N", default=given("JOBS", ""))
    made.add_argument("--gpus", metavar="GPUS", default=given("GPUS", ""))
    made.add_argument("--storage", metavar="URL", default=given("STORAGE", ""))
    made.add_argument("--reuse", action="store_true", default=yes("REUSE"))
    return made


def yes(name: str) -> bool:
    """Whether the variable `name` of the environment is y. Raises BadUse for other words."""
    word = os.environ.get(name, "").lower()
    if word not in ("", "y", "yes", "1", "n", "no", "0"):
        raise BadUse(f"{name}={word}: must be y or n")
    return word in ("y", "yes", "1")


def gpu_count() -> int:
    """How many GPUs this machine has."""
    script = ROOT / "scripts" / "train" / "detect-gpus.sh"
    found = subprocess.run([script, "count"], stdout=subprocess.PIPE, text=True, check=True)
    return int(found.stdout)


def slots_of(options: argparse.Namespace) -> list[Slot]:
    """The slots that JOBS and GPUS ask for. Raises BadUse."""
    return make_slots(parse_jobs(options.jobs), chosen_gpus(options.gpus, gpu_count()))
