# SPDX-License-Identifier: MIT
"""A run of any script: a directory, a journal, trackers, without a configuration of this project.

    with adamwprune.run("digits", config={"lr": 0.001}, trackers="trackio,mlflow") as run:
        for batch in batches:
            run.log({"train/loss": step(batch)})
        run.log_model("weights.pt")

    run = adamwprune.run("digits")      # in a notebook
    …
    run.finish()

    adamwprune.track("outputs/training/digits", "wandb")    # a tracker that was down, or forgotten

It is a run as `make` makes one: the programs of a checkout list, show and track it.
"""

import atexit
import builtins
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..config import config_yaml
from ..config.trackers import SYMBOLS, parse_trackers
from ..errors import BadUse, Failure
from ..launch_env import launch_env
from ..runs import run as recorded
from ..runs.best import with_best
from ..runs.directory import check_name
from ..runs.null_run import NullRun
from ..runs.open import OUTPUT_DIR
from ..runs.redact import redact_tree
from ..runs.stored import run_named
from ..runs.stored_run import read_settings
from ..safe_yaml import settings_in, to_plain
from ..tracking.describe import describe
from ..tracking.launch import check, environment, forwarder_command, launch, outcome
from .media import Media
from .restart import Restart, restart_of
from .script import code_folder, default_name, default_project, known_facts, plain_mapping

_STATUSES = ("completed", "failed", "interrupted")
_MLFLOW = "sqlite:///mlflow.db"  # as in lib/tracking/Kconfig


def run(
    name: str = "",
    *,
    config: Any = None,
    trackers: str | Sequence[str] = "",
    output_dir: str | Path = OUTPUT_DIR,
    project: str = "",
    description: str = "",
    tags: Sequence[str] = (),
    group: str = "",
    resume: bool = False,
    finish_timeout: float = 60.0,
    system_interval: float = 15.0,
) -> "Run":
    """Begin a run in `output_dir`/`name`; when that is taken, in `name`_2, and so on.

    name: by default that of the script and the time. config: the hyperparameters, a mapping, which
    may be nested, a dataclass or an argparse.Namespace; they go to config.yaml, without secrets,
    and to the trackers. trackers: `trackio`, `wandb`, `mlflow`, `tensorboard`, several of them with
    commas or as a list; none by default. project: where trackers file it, by default under the name
    of the working directory. resume: go on with `output_dir`/`name`, if it is there, from its
    latest checkpoint (Checkpoints). finish_timeout, system_interval: seconds to wait for the
    trackers at the end, and between measurements of the machine (0: none).

    Under torchrun, rank 0 has the run; on the other ranks it does nothing. Raises BadUse for a bad
    name, an unknown tracker or a run that is in progress, and Failure when the directory cannot be
    written.
    """
    chosen = _trackers(trackers)
    name = check_name(name or default_name())
    hyperparameters = plain_mapping(config)
    resume = resume and launch_env().is_main  # the others would meet what rank 0 is making
    restart = restart_of(Path(output_dir) / name) if resume else None
    tracking = {
        **{symbol: tracker in chosen for tracker, symbol in SYMBOLS.items()},
        "TRACKER_PROJECT": project or default_project(),
        "MLFLOW_TRACKING_URI": os.environ.get("MLFLOW_TRACKING_URI") or _MLFLOW,
    }
    info = {"description": description, "tags": list(tags), "group": group, "tracking": tracking}
    info |= known_facts(hyperparameters)
    begun = _begin(Path(output_dir), name, hyperparameters, info, restart)
    options = {"TRACKER_FINISH_TIMEOUT": finish_timeout, "SYSTEM_METRICS_INTERVAL": system_interval}
    if chosen:
        begun.track(partial(launch, trackers=chosen, settings={**tracking, **options}))
    return Run(begun, restart)


def track(run_dir: str | Path, trackers: str | Sequence[str] = "") -> bool:
    """Deliver a stored run to trackers: what they lack, and nothing twice; waits for the end.

    run_dir: a path, or the name of a run in outputs/training. trackers: as of `run`; by default
    those that it was begun with. Returns whether all of them have everything; a line is printed for
    each. Raises BadUse for an unknown run or tracker, and Failure for a damaged run.
    """
    given = run_dir.resolve() if isinstance(run_dir, Path) else run_dir
    directory = run_named(OUTPUT_DIR, str(given))
    try:
        settings = {"MLFLOW_TRACKING_URI": _MLFLOW, **describe(directory).settings}
    except (OSError, ValueError) as error:
        raise Failure(f"{directory.name}: {error}") from error
    own = [tracker for tracker, symbol in SYMBOLS.items() if settings.get(symbol)]
    chosen = _trackers(trackers) or tuple(own)
    if not chosen:
        raise BadUse(f"{directory.name}: name a tracker: {', '.join(SYMBOLS)}")
    usable = check(chosen, settings, builtins.print)
    if usable:
        defaults = {"MLFLOW_TRACKING_URI": settings["MLFLOW_TRACKING_URI"]}
        command = forwarder_command(directory, usable)
        subprocess.run(command, env=environment(defaults), stdin=subprocess.DEVNULL, check=False)
    said = [outcome(directory, tracker) for tracker in usable]
    print(*said, sep="\n")
    return usable == chosen and not any(line.startswith("warning") for line in said)


class Run(Media):
    """A run in progress, made by `run`. It ends with its `with` block, with `finish`, or with the
    program.

    `dir`, `name` and `id` identify it. A block that raises makes the run failed, Ctrl-C and SIGTERM
    interrupted; kill -9 too, which the next look at the run finds out. Without `with` a program
    that ends with an exception makes it failed, and an interactive session that ends before
    `finish` interrupted.
    """

    def __init__(self, begun: "recorded.Run | NullRun", restart: "Restart | None") -> None:
        self._run = begun
        self.dir, self.name, self.id = begun.dir, begun.name, begun.id
        self.step = restart.step if restart else 0
        self._at_end: list[Callable[[], None]] = []
        self._ended = False
        self._owner = os.getpid()
        self._error_before = getattr(sys, "last_value", None)
        atexit.register(self._at_exit)

    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Record scalars: numbers, NumPy scalars and tensors of one element, on any device.

        step: a whole number, 0 or more; by default one more than that of the call before, from 1
        on. Raises TypeError and ValueError for anything else.
        """
        self._check_open()
        self._run.log(metrics, self.step + 1 if step is None else step)
        self.step = self.step + 1 if step is None else step

    def set_info(self, **fields: Any) -> None:
        """Merge `fields` into metadata.yaml, such as dataset={"name": …, "fingerprint": …}."""
        self._check_open()
        self._run.set_info(**fields)

    def summary(
        self,
        final_metrics: Mapping[str, Any] | None = None,
        results: Mapping[str, Any] | None = None,
    ) -> None:
        """Record what came out: `final_metrics` are scalars, `results` anything worth keeping."""
        self._check_open()
        self._run.summary(final_metrics, results)

    def say(self, text: str) -> None:
        """Print a message and keep it in logs/train.log, without the secrets in it."""
        self._run.say(text)

    def plot(self) -> None:
        """Draw the curves logged so far into plots/."""
        self._run.plot()

    def flush(self) -> None:
        """Wait until all that was logged is on the disk."""
        self._run.flush()

    def position(self) -> int:
        """Where the next row of the journal will begin, in bytes."""
        return self._run.position()

    def sync(self) -> None:
        """Wait for the disk; may be called from another thread."""
        self._run.sync()

    def at_end(self, work: Callable[[], None]) -> None:
        """Have `work` called when the run ends, before its status is recorded."""
        self._at_end.append(work)

    def print_summary(self) -> None:
        """Print results and paths; for use after the end."""
        self._run.print_summary()

    def finish(self, status: str = "completed") -> None:
        """End the run as completed, failed or interrupted, and wait for the trackers, for a while.

        A second time it does nothing. Raises BadUse for any other status.
        """
        if status not in _STATUSES:
            raise BadUse(f"status {status!r} is unknown: {', '.join(_STATUSES)}")
        self._end(status)

    def __enter__(self) -> "Run":
        self._check_open()
        self._run.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: Any) -> None:
        try:
            self._end(*recorded.outcome(error))
        finally:
            self._run.leave()

    def _end(self, status: str, error: BaseException | None = None) -> None:
        if self._ended:
            return
        self._ended = True
        atexit.unregister(self._at_exit)
        try:
            for work in self._at_end:
                work()
            if isinstance(self._run, recorded.Run) and status == "completed":
                _report_best(self._run)
        finally:
            self._run.end(status, error)

    def _at_exit(self) -> None:
        if os.getpid() != self._owner:  # a forked child: the run is its parent's
            return
        error = getattr(sys, "last_value", None)
        if hasattr(sys, "ps1") or hasattr(builtins, "__IPYTHON__"):
            self._end("interrupted")
        elif error is not None and error is not self._error_before:
            self._end(*recorded.outcome(error))
        else:
            self._end("completed")

    def _check_open(self) -> None:
        if self._ended:
            raise BadUse(f"the run {self.name} has ended: begin another one with adamwprune.run(…)")


def _report_best(run: recorded.Run) -> None:
    """Record the metrics of the best evaluation, if the script recorded no result itself."""
    if not run.metadata.get("final_metrics"):
        run.flush()
        known = with_best(run.journal.path, run.metadata)
        run.set_info(**{name: known[name] for name in ("best", "final_metrics") if name in known})


def _begin(
    output_dir: Path,
    name: str,
    config: Mapping[str, Any],
    info: Mapping[str, Any],
    restart: "Restart | None",
) -> "recorded.Run | NullRun":
    files = {"config.yaml": config_yaml.render(redact_tree(config))}
    if restart is None:
        return recorded.Run.create(output_dir, name, files=files, info=info, code=code_folder())
    old = read_settings(restart.directory / "config.yaml")
    new = settings_in(to_plain(redact_tree(config)))
    names = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return recorded.Run.resume(
        restart.directory,
        step=restart.step, offset=restart.offset, checkpoint=restart.checkpoint,
        changed={key: [old.get(key), new.get(key)] for key in names}, files=files, info=info,
        code=code_folder(),
    )  # fmt: skip


def _trackers(asked: str | Sequence[str]) -> tuple[str, ...]:
    words = asked if isinstance(asked, str) else ",".join(asked)
    return parse_trackers(words, "trackers") if words.strip() else ()
