# SPDX-License-Identifier: MIT
"""What must hold of a sweep of the tiny model when it has ended, whatever happened meanwhile.

end = look(tree, "grid", url)
end.findings        # what is lost, doubled, torn or different; empty if nothing is
end.runs, end.resumed, end.begun_anew, end.trials
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.sweep_tree import Tree
from benchmarks.tiny.model import expected_loss
from lib.runs import open_runs
from lib.runs.journal import current_rows
from lib.runs.stored import StoredRun

METRIC = "val/loss"


@dataclass
class End:
    """`values`: the key of a cell → what its completed run ended with.

    `resumed` counts runs that went on from a checkpoint, `begun_anew` those that were killed before
    their first one, and `trials` the trials by state.
    """

    values: dict[str, float] = field(default_factory=dict)
    resumed: int = 0
    begun_anew: int = 0
    trials: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)


def look(tree: Tree, sweep: str, storage: str, cells: int) -> End:
    """Compare runs, trials and processes with what a sweep of so many cells ends with."""
    end = End()
    runs = [run for run in open_runs(tree.output_dir) if run.field("group") == sweep]
    completed = [run for run in runs if run.status == "completed"]
    for run in completed:
        end.values[str(run.field("science_hash"))] = _value(run, end.findings)
    end.resumed = sum(bool(run.metadata.get("resumes")) for run in completed)
    end.begun_anew = len(runs) - len(completed)
    end.findings += _doubled("completed runs", [str(r.field("science_hash")) for r in completed])
    if len(end.values) != cells:
        end.findings.append(f"{len(end.values)} cells have a completed run, of {cells}")
    _look_at_trials(end, sweep, storage, cells, {run.name: run for run in completed})
    end.findings += [f"left over: {each.role}, process {each.pid}" for each in processes(tree)]
    return end


def _value(run: StoredRun, findings: list[str]) -> float:
    """What the run ended with, by its journal, which has each evaluation once."""
    rows = [row for row, _ in current_rows(run.dir / "logs" / "metrics.jsonl")]
    evaluated = [row["step"] for row in rows if METRIC in row.get("metrics", {})]
    steps, every = int(run.settings["MAX_STEPS"]), int(run.settings["EVAL_INTERVAL"])
    if evaluated != list(range(every, steps + 1, every)):
        findings.append(f"{run.name}: evaluated at the steps {evaluated}")
    values = [row["metrics"][METRIC] for row in rows if METRIC in row.get("metrics", {})]
    lr, seed = float(run.settings["LEARNING_RATE"]), int(run.settings["SEED"])
    if values[-1:] != [expected_loss(seed, lr, steps)]:
        findings.append(f"{run.name}: ended with {values[-1:]}, not as an undisturbed training")
    return values[-1] if values else float("nan")


def _look_at_trials(
    end: End, sweep: str, storage: str, cells: int, completed: dict[str, StoredRun]
) -> None:
    for trial in trials_of(sweep, storage):
        end.trials[trial.state.name] += 1
        if trial.state.name in ("RUNNING", "WAITING"):
            end.findings.append(f"trial {trial.number} is {trial.state.name}")
        if trial.state.name != "COMPLETE":
            continue
        run = completed.get(trial.user_attrs.get("run", ""))
        if run is None:
            end.findings.append(f"trial {trial.number}: its run is not among the completed ones")
        elif trial.value != end.values[str(run.field("science_hash"))]:
            end.findings.append(f"trial {trial.number}: {trial.value} is not what its run has")
        elif run.field("science_hash") != trial.user_attrs["key"]:
            end.findings.append(f"trial {trial.number}: its run is of another cell")
    keys = [t.user_attrs["key"] for t in trials_of(sweep, storage) if t.state.name == "COMPLETE"]
    end.findings += _doubled("complete trials", keys)
    if len(set(keys)) != cells:
        end.findings.append(f"{len(set(keys))} cells have a complete trial, of {cells}")


def trials_of(sweep: str, storage: str) -> list[Any]:
    """Optuna's own trials of the sweep, oldest first."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.load_study(study_name=sweep, storage=storage).get_trials(deepcopy=False)


def _doubled(what: str, keys: list[str]) -> list[str]:
    return [f"{n} {what} of the cell {key}" for key, n in Counter(keys).items() if n > 1]


class Process(NamedTuple):
    """A process of the tree: sweep (`make sweep`), worker (`make sweep-worker`) or training."""

    role: str
    pid: int


_ROLES = {"scripts.sweep.run": "sweep", "scripts.sweep.worker": "worker", "/train.py": "training"}


def processes(tree: Tree) -> list[Process]:
    """The processes that work in the tree now."""
    return list(_processes(tree.root.resolve()))


def _processes(root: Path) -> Iterator[Process]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if Path(os.readlink(entry / "cwd")) != root:  # noqa: PTH115
                continue
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended, or is somebody else's
            continue
        found = [role for word in words for end, role in _ROLES.items() if word.endswith(end)]
        if found:
            yield Process(found[0], int(entry.name))
