# SPDX-License-Identifier: MIT
"""One stored run: its metadata, settings and metrics.

    run = load_run("outputs/training/name")
    run.status, run.settings["LEARNING_RATE"], run.value("val/loss")
    run.metric("train/loss").values

The status is true also of a run that was killed (lib/runs/status.py). Of a run that is kept
elsewhere (`make keep`) only NAME.summary.yaml is here: its status is kept, and its numbers are
those of that file.
"""

import contextlib
import os
import re
import stat
import sys
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import lock
from ..config import config_yaml
from ..errors import BadUse
from ..safe_yaml import load_mapping, settings_in
from . import status
from .best import Evaluation, epoch_of, with_best
from .journal import current_rows
from .query.fields import FIELDS
from .series import (
    Numbers,
    Series,
    Summary,
    ignore,
    read_columns,
    read_numbers,
    read_series,
)
from .status import UnreadableRun

if TYPE_CHECKING:
    import pandas

HOW = ("last", "min", "max", "mean")  # what name:HOW may ask for
KEPT = ".summary.yaml"


@dataclass(frozen=True)
class StoredRun:
    """A run directory and what its metadata.yaml says."""

    dir: Path
    metadata: dict[str, Any]

    def __repr__(self) -> str:
        return f"<StoredRun {self.name} {self.status}>"  # the metadata fill a screen

    @property
    def name(self) -> str:
        """The name of the directory, which is right even after a rename."""
        return self.dir.name

    @property
    def status(self) -> str:
        """running, completed, failed, interrupted, kept (elsewhere), or unreadable (`error`)."""
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
    def of_script(self) -> bool:
        """Whether a script of its own began it (lib/api/run.py), without a .config."""
        return bool(self.part("tracking"))

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
        return read_settings(self.dir / "config.yaml")

    def setting(self, symbol: str) -> Any:
        """One of its settings; None if it has none of this name."""
        return self.settings.get(symbol)

    @cached_property
    def changed_settings(self) -> dict[str, Any]:
        """symbol → value of every setting that was not left at its Kconfig default."""
        entries = _rendered(self.dir / "origins.yaml").items()
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
        base, _, how = name.rpartition(":")
        found = self._logged(name, "")
        return self._logged(base, how) if found is None and how in HOW else found

    def _logged(self, name: str, how: str) -> float | None:
        """One of HOW, or without it the value at the best evaluation or the last one."""
        tally = self.numbers.tallies.get(name)
        if tally is None:
            return None
        at_best = self.best.metrics.get(name) if self.best and not how else None
        return getattr(tally.summary(), how or "last") if at_best is None else float(at_best)

    def field(self, name: str) -> Any:
        """One of FIELDS (lib/runs/query/fields.py); None when it is missing."""
        return FIELDS[name].of(self)

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
    """The run in `directory`, or what is kept here of it. Raises UnreadableRun if it is not one."""
    directory = Path(directory)
    try:
        fields = status.read(directory)
    except UnreadableRun:
        if directory.is_dir():
            raise
        return _load_kept(directory)
    if fields.get("status") == "running":
        run = StoredRun(directory, fields)
        in_progress = not lock.is_free(directory / ".lock")
        fields = with_best(run.journal, fields) if in_progress else status.settle(directory)
    return StoredRun(directory, fields)


def _load_kept(directory: Path) -> StoredRun:
    try:
        return StoredRun(directory, kept_fields(load_mapping(summary_file(directory))))
    except OSError:
        raise UnreadableRun(f"{directory}/metadata.yaml: No such file or directory") from None
    except ValueError as error:
        raise UnreadableRun(str(error)) from error


def summary_file(directory: Path) -> Path:
    """NAME.summary.yaml of the run that would be in `directory`."""
    return directory.with_name(directory.name + KEPT)


def kept_fields(summary: dict[str, Any]) -> dict[str, Any]:
    """The metadata of a run of which only the summary is here; `kept_status` is how it ended."""
    model = summary.get("model")
    return {
        **summary,
        "status": "kept",
        "kept_status": summary.get("status"),
        "model": model if isinstance(model, dict) else {"name": model},
    }


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


def read_settings(path: Path) -> dict[str, Any]:
    """What config.yaml says, in one level (safe_yaml); empty if missing or damaged."""
    try:
        simple = _simple_settings(path.read_bytes().decode("ascii"))
    except (OSError, ValueError):
        simple = None
    if simple is not None:
        return simple
    return settings_in(_rendered(path))


_LINE = re.compile(
    r"  ([A-Z][A-Z0-9_]*): (?:(0|-?[1-9][0-9]{0,17})|(-?[0-9]+\.[0-9]+(?:e[-+][0-9]+)?)"
    r"|(true|false)"
    r"|([A-Za-z](?:[A-Za-z0-9_./-]|:(?! |$)| (?! |$))*)|'([^'\n]*)')"
)
_MENU = re.compile(r"[A-Z][A-Za-z0-9 ]*:")
_WORDS = {"y", "n", "yes", "no", "on", "off", "null", "true", "false"}  # that YAML takes for others


def _simple_settings(text: str) -> dict[str, Any] | None:
    """What a config.yaml says whose values are all plain; None of any other, which YAML must read.

    A fifth of the time that YAML takes, and the index reads one for every run.
    """
    found: dict[str, Any] = {}
    if "${" in text or "???" in text:  # what stands before them is not part of the text
        return None
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            if _MENU.fullmatch(line):
                continue
            return None
        name, whole, real, flag, word, quoted = match.groups()
        if name in found:
            return None
        if word is not None and word.lower() in _WORDS:
            return None
        if whole is not None:
            found[name] = int(whole)
        elif real is not None:
            found[name] = float(real)
        elif flag is not None:
            found[name] = flag == "true"
        else:
            found[name] = quoted if word is None else word
    return found


def _rendered(path: Path) -> dict[str, Any]:
    """config.yaml or origins.yaml; empty if it is missing or damaged."""
    try:
        return config_yaml.load(path)
    except (OSError, ValueError):
        return {}


def run_names(output_dir: Path) -> set[str]:
    """The names of all folders, which may be runs, and of runs of which only a summary is here."""
    try:
        entries = list(os.scandir(output_dir))
    except (FileNotFoundError, NotADirectoryError):
        return set()
    visible = [entry for entry in entries if not entry.name.startswith(".")]
    summaries = {e.name.removesuffix(KEPT) for e in visible if e.name.endswith(KEPT)}
    return summaries | {entry.name for entry in visible if entry.is_dir()}
