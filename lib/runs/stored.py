# SPDX-License-Identifier: MIT
"""The runs in an output directory: listing, finding by name, the size and the true status of each.

    for run in find_runs("outputs/training"):     # oldest first
        print(run.name, run.status, run.metadata["final_metrics"])
    run = load_run(resolve("outputs/training", name))

A run that says "running" while nobody holds its lock was killed. The first program to look marks it
interrupted and records when its last row was logged and its best metrics until then. It holds
`.status.lock` meanwhile, as does Run.resume: otherwise it could mark a run that goes on again. A
run whose metadata.yaml is damaged is listed as unreadable, with the reason.
"""

import contextlib
import math
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from lib import lock
from lib.errors import BadUse, Failure, near
from lib.files import sweep
from lib.runs import metadata
from lib.runs.best import best_metrics
from lib.runs.journal import DamagedRow, current_rows, read_rows
from lib.text import one_line

RESERVE = ".reserve"  # makes room for the final status on a full disk

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
_MARKING_S = 5.0  # far longer than marking a run interrupted takes


class UnreadableRun(Failure):
    """A run directory whose metadata.yaml is missing or damaged."""


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

    def part(self, name: str) -> dict[str, Any]:
        """A mapping in the metadata, empty when it is missing or something else."""
        found = self.metadata.get(name)
        return found if isinstance(found, dict) else {}

    def started(self) -> datetime | None:
        """The start time; None if it is missing or invalid."""
        return _instant(self.metadata.get("start_time"))

    def ended(self) -> datetime | None:
        """The end time; None if it is missing or invalid."""
        return _instant(self.metadata.get("end_time"))


def load_run(directory: str | Path) -> StoredRun:
    """The run in `directory`. Raises UnreadableRun if it is not one."""
    return _load(Path(directory))


def find_runs(output_dir: str | Path) -> list[StoredRun]:
    """The runs in `output_dir`, oldest first, without the details of their metadata.

    A folder with neither metadata.yaml nor a journal is not a run; a missing `output_dir` has none.
    """
    runs = []
    for directory in _run_directories(Path(output_dir)):
        try:
            runs.append(_load(directory, without=_DETAILS))
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
        for row, _ in current_rows(journal, tail=tail, on_damage=_ignore):
            if "step" in row:
                latest.update(row.get("metrics", {}))
    return latest


def _last_rows(journal: str | Path, tail: int) -> Iterator[dict[str, Any]]:
    with contextlib.suppress(OSError):
        offset = max(0, Path(journal).stat().st_size - tail)
        # If this is within a row, what remains of it is skipped as damaged.
        for row, _ in read_rows(journal, offset, on_damage=_ignore):
            yield row


def _ignore(damage: DamagedRow) -> None:
    """A listing is not the place to report a damaged row."""


def _run_directories(output_dir: Path) -> Iterable[Path]:
    try:
        entries = list(os.scandir(output_dir))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [Path(entry.path) for entry in entries if not entry.name.startswith(".")]


def _load(directory: Path, without: Iterable[str] = ()) -> StoredRun:
    run = StoredRun(directory, _read(directory, without))
    if run.status != "running":
        return run
    if not lock.is_free(directory / ".lock"):
        return StoredRun(directory, _with_best(run))
    try:
        with status_lock(directory):
            return _settle(directory)
    except OSError:  # a read-only archive: the answer is right all the same
        return StoredRun(directory, stored_metadata(directory))


def _settle(directory: Path) -> StoredRun:
    """Mark a run interrupted if it still says running, and nobody has resumed it meanwhile."""
    was = _read(directory)
    if was.get("status") != "running" or not lock.is_free(directory / ".lock"):
        return StoredRun(directory, was)
    ended = _interrupted(StoredRun(directory, was))
    with contextlib.suppress(OSError):
        clear_up(directory)
        metadata.save(directory / "metadata.yaml", ended)
    return StoredRun(directory, ended)


def status_lock(directory: Path) -> AbstractContextManager[None]:
    """To be held while the status of a run that is not in progress is changed. Raises OSError."""
    return lock.held(directory / ".status.lock", wait=_MARKING_S, mode=0o600)


def stored_metadata(directory: Path) -> dict[str, Any]:
    """The metadata of a run of which the caller knows that it is not in progress.

    Raises UnreadableRun.
    """
    found = _read(directory)
    return _interrupted(StoredRun(directory, found)) if found.get("status") == "running" else found


def _read(directory: Path, without: Iterable[str] = ()) -> dict[str, Any]:
    try:
        return metadata.load(directory / "metadata.yaml", without=without)
    except OSError as error:
        raise UnreadableRun(f"{directory}/metadata.yaml: {error.strerror}") from error
    except ValueError as error:
        raise UnreadableRun(str(error)) from error


def clear_up(directory: Path) -> None:
    """Remove what a killed run left behind: its reserve and half-written files. Raises OSError."""
    (directory / RESERVE).unlink(missing_ok=True)
    for folder in (directory, *(path for path in directory.iterdir() if path.is_dir())):
        sweep(folder)


def seconds(value: Any) -> float:
    """A duration in metadata.yaml; 0 if it is none."""
    return value if type(value) in (int, float) and 0 <= value < math.inf else 0.0


def _interrupted(run: StoredRun) -> dict[str, Any]:
    """The metadata of a run that was killed; it ended with its last row.

    `duration_s` is the time until its last resume.
    """
    changes: dict[str, Any] = {"status": "interrupted"}
    started = _last_start(run)
    last = _last_time(run.journal)
    if started and last is not None:
        lasted = max(0.0, last - started.timestamp())
        with contextlib.suppress(OverflowError):  # not a valid time
            ended = started + timedelta(seconds=lasted)
            changes["end_time"] = ended.isoformat(timespec="milliseconds")
            changes["duration_s"] = round(seconds(run.metadata.get("duration_s")) + lasted, 3)
    return _with_best(StoredRun(run.dir, {**run.metadata, **changes}))


def _last_start(run: StoredRun) -> datetime | None:
    """When the run was started or, if it was resumed, last resumed."""
    resumes = run.metadata.get("resumes")
    last = resumes[-1] if isinstance(resumes, list) and resumes else None
    return (_instant(last.get("time")) if isinstance(last, dict) else None) or run.started()


def _instant(value: Any) -> datetime | None:
    """A time in metadata.yaml; None if it is none."""
    try:
        return datetime.fromisoformat(str(value)).astimezone()
    except (ValueError, OverflowError):
        return None


def _last_time(journal: Path) -> float | None:
    for tail in (2**16, 2**24):  # hardly any row is longer than the first
        times = [row["time"] for row in _last_rows(journal, tail) if "time" in row]
        if times:
            return times[-1]
    return None


def _with_best(run: StoredRun) -> dict[str, Any]:
    best = best_metrics(run.journal, run.metadata)
    return {**run.metadata, "final_metrics": {**best, **run.part("final_metrics")}}


def _few(names: list[str]) -> str:
    return ", ".join(map(one_line, names[-5:])) + (" …" if len(names) > 5 else "")
