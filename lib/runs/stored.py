# SPDX-License-Identifier: MIT
"""The runs in an output directory: listing, finding by name, the size and the true status of each.

    for run in find_runs("outputs/training"):     # oldest first
        print(run.name, run.status, run.metadata["final_metrics"])
    run = load_run(resolve("outputs/training", name))

The status is true also of a run that was killed (lib/runs/status.py). A run whose metadata.yaml is
damaged is listed as unreadable, with the reason.
"""

import contextlib
import os
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib import lock
from lib.errors import BadUse, near
from lib.runs import status
from lib.runs.best import Evaluation, epoch_of, with_best
from lib.runs.journal import current_rows
from lib.runs.safe_yaml import load_mapping
from lib.runs.series import (
    Numbers,
    Series,
    Summary,
    ignore,
    read_columns,
    read_numbers,
    read_series,
)
from lib.runs.status import UnreadableRun
from lib.text import one_line

if TYPE_CHECKING:
    import pandas

HOW = ("last", "min", "max", "mean")  # what name:HOW may ask for

# Not in the table of runs; without parsing these, 500 runs take 0.2 s.
_DETAILS = [
    "description",
    "hypothesis",
    "tags",
    "group",
    "job_type",
    "version",
    "git",
    "science_hash",
]
_DETAILS += ["command", "seed", "environment", "dataset", "results", "error", "resumes", "parent"]
_DETAILS += ["tag_changes", "notes", "conclusion", "earlier_conclusions"]


@dataclass(frozen=True)
class StoredRun:
    """A run directory and what its metadata.yaml says."""

    dir: Path
    metadata: dict[str, Any]

    @property
    def name(self) -> str:
        """The name of the directory, which is right even after a rename."""
        return self.dir.name

    @property
    def status(self) -> str:
        """running, completed, failed, interrupted, or unreadable, with the reason in `error`."""
        return str(self.metadata.get("status"))

    @property
    def journal(self) -> Path:
        """Where its metrics are."""
        return self.dir / "logs" / "metrics.jsonl"

    @property
    def model(self) -> str:
        """The name of the model; empty if it is missing."""
        name = self.part("model").get("name")
        return name if isinstance(name, str) else ""

    @property
    def best_step(self) -> int | None:
        """How many updates precede its best evaluation; None before the first."""
        return self.best.step if self.best else None

    @property
    def best_epoch(self) -> float | None:
        """The same in epochs; None of a run that does not say how long an epoch is."""
        return epoch_of(self.best_step, self.metadata)

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return disk_usage(self.dir)

    @property
    def kept(self) -> bool:
        """Whether `make keep` or `dvc add` put it under DVC: there is a .dvc file beside it."""
        return self.dir.with_name(f"{self.name}.dvc").is_file()

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Its own configuration, resolved: symbol → value; empty without config.yaml."""
        found: dict[str, Any] = {}
        for menu in _mapping(self.dir / "config.yaml").values():
            found |= menu if isinstance(menu, dict) else {}
        return found

    @cached_property
    def changed_settings(self) -> dict[str, Any]:
        """symbol → value of every setting that was not left at its Kconfig default."""
        entries = _mapping(self.dir / "origins.yaml").items()
        return {name: e["value"] for name, e in entries if isinstance(e, dict) and "value" in e}

    @cached_property
    def numbers(self) -> Numbers:
        """What it has logged: a tally of each metric, and its best evaluation."""
        return read_numbers(self.journal, self.metadata)

    @property
    def metric_names(self) -> list[str]:
        """What it has logged, in the order of the first values."""
        return list(self.summary)

    @cached_property
    def summary(self) -> dict[str, Summary]:
        """Each metric in numbers: last, min, max, mean, count and steps."""
        return self.numbers.summary()

    @property
    def best(self) -> Evaluation | None:
        """Its best evaluation (lib/runs/best.py); None before the first."""
        return self.numbers.best.found

    def metric(self, name: str) -> Series:
        """The values of a metric that count, with their steps and times; may be empty."""
        return read_series(self.journal, name)

    def value(self, name: str) -> float | None:
        """The number that stands for a metric of this run; None if it was never logged.

        That is its value at the best evaluation, if the metric was logged there, else the last one;
        `final/…` as the run ended with it. `name:last`, `name:min`, `name:max` and `name:mean` say
        which one explicitly.
        """
        if name.startswith("final/"):
            found = self.part("final_metrics").get(name)
            if type(found) in (int, float):
                return float(found)
        if name in self.summary:
            best = self.best
            at_best = best.metrics.get(name) if best else None
            return self.summary[name].last if at_best is None else float(at_best)
        base, _, how = name.rpartition(":")
        if how in HOW:
            return getattr(self.summary[base], how) if base in self.summary else None
        found = self.part("final_metrics").get(f"final/best_{name.replace('/', '_')}")
        return float(found) if type(found) in (int, float) else None

    def frame(self) -> "pandas.DataFrame":
        """Every metric as a column, with the step as index; NaN where it was not logged.

        Of two values at the same step the later one counts. Raises BadUse without pandas.
        """
        try:
            import pandas
        except ModuleNotFoundError:
            raise BadUse(
                f"pandas is not installed: {sys.executable} -m pip install pandas -c "
                "constraints.txt, or take NumPy arrays: run.metric(name)"
            ) from None
        columns = {name: pandas.Series(of) for name, of in read_columns(self.journal).items()}
        return pandas.DataFrame(columns).sort_index().rename_axis("step")

    def part(self, name: str) -> dict[str, Any]:
        """A mapping in the metadata, empty when it is missing or something else."""
        found = self.metadata.get(name)
        return found if isinstance(found, dict) else {}

    def started(self) -> datetime | None:
        """The start time; None if it is missing or invalid."""
        return status.instant(self.metadata.get("start_time"))

    def ended(self) -> datetime | None:
        """The end time; None if it is missing or invalid."""
        return status.instant(self.metadata.get("end_time"))


def load_run(directory: str | Path) -> StoredRun:
    """The run in `directory`. Raises UnreadableRun if it is not one."""
    return _load(Path(directory))


def find_runs(output_dir: str | Path, details: bool = False) -> list[StoredRun]:
    """The runs in `output_dir`, oldest first, with or without the details of their metadata.

    A folder with neither metadata.yaml nor a journal is not a run; a missing `output_dir` has none.
    """
    runs = []
    for directory in _run_directories(Path(output_dir)):
        try:
            runs.append(_load(directory, without=() if details else _DETAILS))
        except UnreadableRun as error:
            if _is_run(directory):
                runs.append(StoredRun(directory, {"status": "unreadable", "error": str(error)}))
    never = datetime.fromtimestamp(0).astimezone()
    return sorted(runs, key=lambda run: (run.started() or never, run.name))


def _is_run(directory: Path) -> bool:
    for name in ("metadata.yaml", "logs/metrics.jsonl"):
        try:
            (directory / name).lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:  # most likely of another user
            return True
        return True
    return False


def resolve(output_dir: str | Path, given: str = "") -> Path:
    """The directory of the run that `given` names: a name, its unique beginning, or a path.

    Without it, the latest run. Raises BadUse, with similar names, when there is no such run.
    """
    output_dir = Path(output_dir)
    if not given:
        runs = find_runs(output_dir)
        if not runs:
            raise BadUse(f"no runs in {output_dir}: train one with `make`")
        return runs[-1].dir
    if ".." in Path(given).parts:
        raise BadUse(f"RUN={given}: '..' is not allowed, give the name of a run or its full path")
    if "/" in given:
        if not (Path(given) / "metadata.yaml").is_file():
            raise BadUse(f"RUN={given}: there is no run, {given}/metadata.yaml is missing")
        return Path(given)
    names = sorted(path.name for path in _run_directories(output_dir))
    matches = [given] if given in names else [n for n in names if n.startswith(given)]
    if len(matches) == 1:
        return output_dir / matches[0]
    if matches:
        raise BadUse(f"RUN={given} fits {len(matches)} runs: {_few(matches)}")
    meant = near(given, names, n=5)
    hint = f"did you mean {_few(meant)}?" if meant else "`make runs` lists them"
    raise BadUse(f"RUN={given}: no such run in {output_dir}; {hint}")


def latest_interrupted(output_dir: str | Path) -> Path | None:
    """The directory of the interrupted run in `output_dir` that ended last; None without one."""
    runs = [run for run in find_runs(output_dir) if run.status == "interrupted"]
    never = datetime.fromtimestamp(0).astimezone()
    last = max(runs, key=lambda run: run.ended() or run.started() or never, default=None)
    return last and last.dir


def run_of_launch(output_dir: str | Path, launch_id: str) -> Path | None:
    """The directory of the latest run that the launch `launch_id` was training when it ended.

    None without one; of a completed run and one in progress there is nothing to resume.
    """
    runs = [
        run
        for run in find_runs(output_dir)
        if run.metadata.get("launch") == launch_id and run.status in ("interrupted", "failed")
    ]
    return runs[-1].dir if runs and launch_id else None


def disk_usage(directory: str | Path) -> int:
    """Bytes of all files under `directory`; a file with several links counts once."""
    total = 0
    linked: set[int] = set()
    folders = [os.fspath(directory)]
    while folders:
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
                continue
            try:
                info = entry.stat(follow_symlinks=False)
            except OSError:  # gone meanwhile, like a temporary file
                continue
            if stat.S_ISREG(info.st_mode) and info.st_ino not in linked:
                total += info.st_size
                if info.st_nlink > 1:
                    linked.add(info.st_ino)
    return total


def last_metrics(journal: str | Path, tail: int = 2**16) -> dict[str, Any]:
    """The latest value of each metric in the last `tail` bytes of a journal that count."""
    latest: dict[str, Any] = {}
    with contextlib.suppress(OSError):
        for row, _ in current_rows(journal, tail=tail, on_damage=ignore):
            if "step" in row:
                latest.update(row.get("metrics", {}))
    return latest


def _mapping(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; empty if it is missing or damaged."""
    try:
        return load_mapping(path)
    except (OSError, ValueError):
        return {}


def _run_directories(output_dir: Path) -> Iterable[Path]:
    try:
        entries = list(os.scandir(output_dir))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [Path(entry.path) for entry in entries if not entry.name.startswith(".")]


def _load(directory: Path, without: Iterable[str] = ()) -> StoredRun:
    fields = status.read(directory, without)
    if fields.get("status") == "running":
        journal = directory / "logs" / "metrics.jsonl"
        in_progress = not lock.is_free(directory / ".lock")
        fields = with_best(journal, fields) if in_progress else status.settle(directory)
    return StoredRun(directory, fields)


def _few(names: list[str]) -> str:
    return ", ".join(map(one_line, names[-5:])) + (" …" if len(names) > 5 else "")
