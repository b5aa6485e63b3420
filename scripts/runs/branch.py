# SPDX-License-Identifier: MIT
"""Branch a run: make a new one that continues from a checkpoint of it with other settings.

    make branch STEP=120 [RUN=name] [NAME=new]
    python -m scripts.runs.branch [--output-dir DIR] --step 120 [--name NEW] [RUN]

RUN is the name of a run, its unique beginning, or a path; without it, the latest run. STEP is the
step of one of its checkpoints (`make checkpoints` lists them), NAME that of the new run, by default
RUN_step120. The new run has the configuration of RUN, its journal up to that step and a hard link
to the checkpoint, which takes no space. RUN itself is not changed, and may be in progress.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib import text
from lib.errors import BadUse
from lib.files import link_or_copy
from lib.runs.branch import branch
from lib.runs.status import seconds
from lib.runs.stored import StoredRun, load_run
from lib.train.checkpoint.digest import CheckpointError, verify
from lib.train.checkpoint.find import BEST, LAST, listed, steps_on_disk
from lib.train.checkpoint.index import write_index
from lib.train.checkpoint.peek import peek
from scripts.common import chosen_run, output_dir, run_parser

_STATE = "state.pt"  # in a sharded checkpoint: all but the tensors


def checkpoint_of(run: Path, given: str) -> tuple[int, Path]:
    """(STEP, its checkpoint). Raises BadUse, with the steps there are."""
    found = steps_on_disk(run / "checkpoints")
    step = int(given) if re.fullmatch("[0-9]{1,18}", given) else -1
    if step in found:
        return step, found[step]
    steps = ", ".join(map(str, found))
    there = f"checkpoints of the steps {steps}" if found else "no checkpoints"
    wrong = f"STEP={given}: no checkpoint of that step" if given else "which step? Add STEP=…"
    raise BadUse(f"{wrong}; {run.name} has {there}")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Its plain values, after a comparison with its digest. Raises CheckpointError."""
    try:
        file = path / _STATE if path.is_dir() else path
        verify(file)
        found = peek(file)
        if type(found["journal"]["offset"]) is int:
            return found
    except OSError as error:
        raise CheckpointError(f"cannot read checkpoint {path}: {error.strerror}") from error
    except (KeyError, TypeError):
        pass
    raise CheckpointError(f"checkpoint {path} does not say where in the journal it belongs")


def link_checkpoints(source: Path, target: Path, step: int, best_step: int) -> None:
    """Link the checkpoint of `step`, and that of the best step until then if it is still there."""
    entries = [entry for entry in listed(source) if entry.step in (step, best_step)]
    entries = [replace(entry, best=entry.step == best_step) for entry in entries]
    for entry in entries:
        _link(source / entry.file, target / entry.file)
        for name, is_so in ((LAST, entry.step == step), (BEST, entry.best)):
            if is_so and (source / entry.file).is_file():
                link_or_copy(target / entry.file, target / name)
    write_index(target, entries)


def _link(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, copy_function=lambda a, b: link_or_copy(Path(a), Path(b)))
    else:
        link_or_copy(source, target)


def changed_since(run: StoredRun, branched: StoredRun) -> dict[str, list[Any]]:
    """The settings that `run` changed when it went on after the step where `branched` begins."""
    attempts = [run.metadata.get("resumes"), branched.metadata.get("resumes")]
    later, before = (found if isinstance(found, list) else [] for found in attempts)
    return {name: both for each in later[len(before) :] for name, both in each["changed"].items()}


def main() -> int:
    flags = run_parser(__doc__)
    flags.add_argument("--step", metavar="STEP", default=os.environ.get("STEP", ""))
    flags.add_argument("--name", metavar="NEW", default=os.environ.get("NAME", ""))
    options = flags.parse_args()
    run = load_run(chosen_run(options))
    step, path = checkpoint_of(run.dir, options.step)
    saved = read_checkpoint(path)
    state = saved.get("training_state")
    state = state if isinstance(state, dict) else {}
    made = branch(
        run,
        options.name or f"{run.name}_step{step}",
        step=step,
        offset=saved["journal"]["offset"],
        duration_s=seconds(state.get("elapsed_s")),
        fill=lambda folder: link_checkpoints(path.parent, folder, step, state.get("best_step", -1)),
    )
    usual = Path(output_dir(options.output_dir)).resolve()
    shown = made.name if made.parent.resolve() == usual else made
    print(f"{text.one_line(made)}: {text.one_line(run.name)} up to step {step}")
    for name, (old, new) in changed_since(run, load_run(made)).items():
        print(f"note: {name} was changed after step {step}, from {old} to {new}, as it is here")
    print(text.one_line(f"go on with it: make resume RUN={shown} SET='…'"))
    return 0


if __name__ == "__main__":
    run_main(main)
