# SPDX-License-Identifier: MIT
"""The runs in an output directory: listing them, and finding one by its name.

    for run in find_runs("outputs/training"):     # oldest first
        print(run.name, run.status, run.metadata["final_metrics"])
    run = load_run(resolve("outputs/training", name))

They come from an index (lib/runs/index), which looks at every run and reads those that changed. A
run whose metadata.yaml is damaged is listed as unreadable, with the reason.
"""

from datetime import datetime
from pathlib import Path

from ..advice import typed
from ..errors import BadUse, near
from ..text import one_line
from .index.catalog import open_catalog
from .status import UnreadableRun
from .stored_run import (
    HOW,
    StoredRun,
    disk_usage,
    last_metrics,
    load_run,
    run_names,
    summary_file,
)

__all__ = [
    "HOW",
    "StoredRun",
    "UnreadableRun",
    "disk_usage",
    "find_runs",
    "last_metrics",
    "latest_interrupted",
    "load_run",
    "resolve",
    "run_named",
    "run_of_launch",
]


def find_runs(output_dir: str | Path) -> list[StoredRun]:
    """The runs in `output_dir`, oldest first; without those that are only kept elsewhere.

    A folder with neither metadata.yaml nor a journal is not a run; a missing `output_dir` has none.
    """
    return [run for run in open_catalog(output_dir).runs() if run.status != "kept"]


def resolve(output_dir: str | Path, given: str = "") -> Path:
    """The directory of the run that `given` names: a name, its unique beginning, or a path.

    Without it, the latest run. Raises BadUse, with similar names, when there is no such run, and
    when it is kept but not here.
    """
    directory = run_named(output_dir, given)
    if not directory.exists() and summary_file(directory).is_file():
        name = one_line(directory.name)
        raise BadUse(f"{name} is kept, but its files are not here: make pull RUN={name}")
    return directory


def run_named(output_dir: str | Path, given: str = "") -> Path:
    """`resolve`, also of a run of which only NAME.summary.yaml is here."""
    output_dir = Path(output_dir)
    if not given:
        runs = find_runs(output_dir)
        if not runs:
            raise BadUse(f"no runs in {output_dir}{typed(': train one with `make`', '')}")
        return runs[-1].dir
    what = typed(f"RUN={given}", f"run {given}")
    if ".." in Path(given).parts:
        raise BadUse(f"{what}: '..' is not allowed, give the name of a run or its full path")
    if "/" in given:
        if not (Path(given) / "metadata.yaml").is_file():
            raise BadUse(f"{what}: there is no run, {given}/metadata.yaml is missing")
        return Path(given)
    names = sorted(run_names(output_dir))
    matches = [given] if given in names else [n for n in names if n.startswith(given)]
    if len(matches) == 1:
        return output_dir / matches[0]
    if matches:
        raise BadUse(f"{what} fits {len(matches)} runs: {_few(matches)}")
    meant = near(given, names, n=5)
    hint = f"did you mean {_few(meant)}?" if meant else typed("`make runs` lists them", "")
    raise BadUse(f"{what}: no such run in {output_dir}; {hint}")


def latest_interrupted(output_dir: str | Path) -> Path | None:
    """The directory of the interrupted run in `output_dir` that ended last; None without one.

    Those of scripts do not count, which go on when the script is started again.
    """
    found = find_runs(output_dir)
    runs = [run for run in found if run.status == "interrupted" and not run.of_script]
    never = datetime.fromtimestamp(0).astimezone()
    last = max(runs, key=lambda run: run.ended() or run.started() or never, default=None)
    return last and last.dir


def run_of_launch(output_dir: str | Path, launch_id: str) -> Path | None:
    """The directory of the latest run that the launch `launch_id` was training when it ended.

    None without one; of a completed run and one in progress there is nothing to resume.
    """
    if not launch_id:
        return None
    runs = [
        run
        for run in find_runs(output_dir)
        if run.status in ("interrupted", "failed") and run.field("launch") == launch_id
    ]
    return runs[-1].dir if runs else None


def _few(names: list[str]) -> str:
    return ", ".join(map(one_line, names[-5:])) + (" …" if len(names) > 5 else "")
