# SPDX-License-Identifier: MIT
"""How long `make defconfig` takes, from make to the last file written.

    make bench-config
    python -m benchmarks.config [--runs N]

Works on a copy of the tree in a temporary directory, so that your configuration is untouched. Times
in turn: `make defconfig`, `make config.py` with nothing to do (what a plain `make` adds before
training), and the start of the Python interpreter alone. The last line is JSON.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lib.files import ROOT

TARGET_S = 0.35
NEEDED = ("Makefile", "Kconfig", "lib", "scripts", "defconfigs", "*/Kconfig*", "*/*.mk")


def measure(commands: dict[str, list[str]], folder: Path, runs: int) -> dict[str, list[float]]:
    """Seconds of each run of each command, in turn, after one run to warm the caches."""
    environment = {key: value for key, value in os.environ.items() if key != "MAKEFLAGS"}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for run in range(runs + 1):
        for name, command in commands.items():
            begin = time.perf_counter()
            subprocess.run(
                command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL
            )
            if run:
                times[name].append(time.perf_counter() - begin)
    return times


def copy_tree(target: Path) -> None:
    """Copy what the configuration targets read."""
    skip = shutil.ignore_patterns("__pycache__")
    for source in (path for pattern in NEEDED for path in ROOT.glob(pattern)):
        copy = target / source.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=skip)
        elif not copy.exists():
            shutil.copy2(source, copy)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=15, help="runs of each (%(default)s)")
    arguments = parser.parse_args()
    make = ["make", "VENV=system", f"PYTHON3={sys.executable}", "KCONFIG_CONFIG=.config"]
    commands = {
        "make defconfig": [*make, "defconfig", "DEFCONFIG=lenet5-digits"],
        "make config.py, nothing to do": [*make, "config.py"],
        "python -c pass": [sys.executable, "-c", "pass"],
    }
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        copy_tree(tree)
        report(measure(commands, tree, arguments.runs))


def report(times: dict[str, list[float]]) -> None:
    """The table and the line of JSON."""
    table = Table("", "median ms", "min ms", "max ms", box=None)
    result: dict[str, object] = {"bench": "config", "target_s": TARGET_S}
    for name, values in times.items():
        median, low, high = statistics.median(values), min(values), max(values)
        table.add_row(name, *(f"{value * 1e3:.1f}" for value in (median, low, high)))
        result[name] = {"median_s": round(median, 4), "runs": len(values)}
    Console().print(table)
    print(json.dumps(result))


if __name__ == "__main__":
    run_main(main)
