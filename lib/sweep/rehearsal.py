# SPDX-License-Identifier: MIT
"""A short training of a cell, to learn what a whole one will take.

    past = rehearse(cell, shapes, seconds=20)

The training program starts as in a sweep, in a directory of its own without trackers, and is
stopped after so many seconds of steps; nothing of it is kept.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lib.config import dotconfig
from lib.errors import Failure
from lib.files import ROOT
from lib.runs.stored_run import StoredRun, load_run
from lib.sweep.cells import Cell
from lib.sweep.estimate import Past, Shapes

_LONGEST_START_S = 300.0  # until the first step: compiling, the first reading of the data
_LONGEST_END_S = 120.0  # saving
_LOOK_S = 0.2


def rehearse(cell: Cell, shapes: Shapes, seconds: float) -> Past:
    """Train `cell` for so many seconds of steps; what a whole training would take.

    Evaluations that fall into the time are part of it. Raises Failure when it does not train.
    """
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder:
        config = Path(folder) / "cell.config"
        config.write_text(cell.config_text, encoding="utf-8")
        runs, log = Path(folder) / "runs", Path(folder) / "log.txt"
        began = time.time()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    *(sys.executable, f"{_model(cell)}/train.py", "--config", str(config)),
                    *("--output-dir", str(runs), "--tracker", "none"),
                ],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                _watch(process, runs, seconds)
            finally:
                _end(process)
        run = next((load_run(path.parent) for path in runs.glob("*/metadata.yaml")), None)
        rows = _rows(run.journal) if run else []
        if run is None or not rows:
            last = log.read_text(errors="replace").strip().splitlines()[-3:]
            raise Failure(
                f"{cell.label} does not train: " + "\n       ".join(last or ["no output"])
            )
        return Past(shapes.of(cell.config_text), _whole(run, rows, began), run.size)


def _model(cell: Cell) -> str:
    """The folder of the training program: the model by name."""
    from lib.config.assign import apply
    from lib.config.tree import Tree

    tree = Tree()
    apply(tree, [dotconfig.parse(cell.config_text, cell.key)[0]])
    return str(tree.values()["MODEL"])


def _watch(process: subprocess.Popen[bytes], runs: Path, seconds: float) -> None:
    """Return when the training has ended or has made steps for so long."""
    started, first = time.monotonic(), None
    while process.poll() is None:
        now = time.monotonic()
        if first is None and any(_rows(path) for path in runs.glob("*/logs/metrics.jsonl")):
            first = now
        if now - (started if first is None else first) > (
            _LONGEST_START_S if first is None else seconds
        ):
            return
        time.sleep(_LOOK_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(_LONGEST_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _rows(journal: Path) -> list[dict[str, Any]]:
    """The rows with a step that are whole."""
    try:
        lines = journal.read_bytes().splitlines()
    except OSError:
        return []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def _whole(run: StoredRun, rows: list[dict[str, Any]], began: float) -> float:
    """Seconds of the whole training: what came before the first row, and all steps."""
    if run.status == "completed":
        return float(run.metadata["duration_s"])
    first, last = rows[0], rows[-1]
    steps = run.setting("MAX_STEPS")
    per_epoch = run.metadata.get("steps_per_epoch")
    if not steps and per_epoch:
        steps = (run.setting("NUM_EPOCHS") or 0) * per_epoch
    if not steps or last["step"] <= first["step"]:
        raise Failure(f"{run.name}: too few steps in the time to say how long a training takes")
    each = (last["time"] - first["time"]) / (last["step"] - first["step"])
    return (first["time"] - began) + each * steps
