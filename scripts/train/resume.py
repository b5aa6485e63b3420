# SPDX-License-Identifier: MIT
"""Go on with a run that ended early: python -m scripts.train.resume (which `make resume` calls)

$RUN is its name, the unique beginning of its name, or its path; by default the run that was
interrupted last. It goes on in its own directory, with its own configuration, from its newest
checkpoint that can be loaded. $FRAGMENTS, $SET and $TRACKER change that configuration, for instance
SET="NUM_EPOCHS=40" for a longer training; what would leave the saved state without meaning is
refused. How many processes train it, and where, is given as for scripts/train/launch.py; on one
machine the default is as many as before.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os
from collections.abc import Mapping

from lib.config import dotconfig, store
from lib.config.assign import apply
from lib.config.changes import checked_changes
from lib.config.dotconfig import ConfigError
from lib.config.resume import load_run
from lib.config.tree import Tree, Value
from lib.errors import BadUse, Failure
from lib.runs import stored
from lib.runs.keep.partial import missing
from lib.runs.stored import StoredRun, UnreadableRun
from scripts.common import given_run, output_dir
from scripts.config.change import overrides, print_notes
from scripts.train.launch import Layout, default_nproc, layout_from, start


def chosen(folder: str, given: str) -> StoredRun:
    """The run to go on with. Raises Failure where there is none, or it cannot go on."""
    directory = stored.resolve(folder, given) if given else stored.latest_interrupted(folder)
    if directory is None:
        raise BadUse(f"no run in {folder} was interrupted{_failed(folder)}")
    try:
        run = stored.load_run(directory)
    except UnreadableRun as error:
        raise Failure(f"{error}: `make verify RUN={directory}` says what can be used") from None
    if said := missing(run.dir):
        raise BadUse(said)
    if run.status == "running":
        raise BadUse(f"{run.dir} is running: `make show RUN={run.name}` says how far it is")
    checkpoints = run.dir / "checkpoints"
    if not any(checkpoints.glob("step_*")) and not any(checkpoints.glob("*.pt")):
        raise BadUse(
            f"{run.dir} ended before its first checkpoint; to train it from the start: "
            f"make KCONFIG_CONFIG={run.dir}/.config"
        )
    return run


def _failed(folder: str) -> str:
    """What there is instead of an interrupted run."""
    failed = [run.name for run in stored.find_runs(folder) if run.status == "failed"]
    if failed:
        return f"; {failed[-1]} failed, and goes on only by name: make resume RUN={failed[-1]}"
    return "; `make` trains a new one, `make runs` lists what there is"


def check_steps_left(run: StoredRun, changed: Mapping[str, list[Value]]) -> None:
    """Raise BadUse for a completed run, unless `changed` makes the training longer."""
    if run.status != "completed" or any(_is_longer(name, *changed[name]) for name in changed):
        return
    raise BadUse(
        f"{run.dir} is completed. For a longer training: make resume RUN={run.name} "
        f'SET="NUM_EPOCHS=…" (or MAX_STEPS, which limits it); for a new run from its weights: '
        f'make SET="INIT_FROM={run.name}"'
    )


def _is_longer(name: str, old: Value, new: Value) -> bool:
    if name == "NUM_EPOCHS":
        return new > old
    limits = ("MAX_STEPS", "MAX_TIME", "EARLY_STOP")
    return name in limits and old != 0 and (new == 0 or new > old)


def with_its_processes(layout: Layout, run: StoredRun, device: str) -> Layout:
    """`layout` with as many processes as the run had, if nothing else is asked for.

    With another number its last bits would differ.
    """
    had = run.part("batch").get("world_size")
    if layout.nproc or layout.nnodes != "1" or type(had) is not int or had < 2:
        return layout
    on_cpu = run.metadata.get("device") == "cpu"
    room = (os.cpu_count() or 1) if on_cpu else default_nproc(device)
    if had <= room:
        return layout._replace(nproc=had)
    print(f"note: {run.dir} had {had} processes, for which this machine is too small (NPROC)")
    return layout


def present() -> dict[str, Value]:
    """The values in the present .config; none if there is none. Secrets of the run may be there."""
    try:
        assignments, _ = dotconfig.read(store.config_path())
    except ConfigError:
        return {}
    return {assignment.name: assignment.value for assignment in assignments}


def main() -> int:
    layout = layout_from(os.environ)
    layers = overrides()
    run = chosen(output_dir(None), given_run())
    tree = Tree()
    notes = load_run(tree, run.dir, present())
    print_notes(notes + apply(tree, layers))
    changed = checked_changes(tree, run.dir)
    check_steps_left(run, changed)
    print(f"{run.dir}: {run.status}, goes on")  # the training itself says what changes
    layout = with_its_processes(layout, run, str(tree.values()["DEVICE"]))
    return start(tree, layout, f"{run.dir}/.config", resume=str(run.dir))


if __name__ == "__main__":
    run_main(main)
