# SPDX-License-Identifier: MIT
"""Workers of a sweep on a Slurm cluster, through submitit.

cluster = cluster_from(os.environ)              # NODES, PARTITION, TIME, CPUS, SBATCH
job = WorkerJob(command, environment, storage)  # what each machine runs
print(script(cluster, "lr-grid", folder))       # as it would be submitted; needs no Slurm
submit(cluster, "lr-grid", folder, job)         # ["1234_0", "1234_1"]

One job of an array is one machine with one worker. Slurm sends SIGUSR2 before the time is up, and
on some clusters before it preempts a job: the worker is ended, so that its trainings save, and the
job is queued again until the sweep is done. A STORAGE with a password in it reaches the job in its
environment alone: it is in no script, no pickled job and no command line.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.dotconfig import shorten
from ..errors import BadUse, Failure
from ..files import ROOT
from ..runs.directory import make_private
from ..runs.redact import redact
from ..signals import blocked

if TYPE_CHECKING:
    from submitit import SlurmExecutor

_MOST_NODES = 1000
_SAVE_S = 120  # from the signal to the end of the job: for trainings to save
_REQUEUES = 10_000  # as often as it takes
_TIME = re.compile(r"(?:(\d{1,3})-)?(\d{1,4})(?::(\d{1,2}))?(?::(\d{1,2}))?")
_OPTION = re.compile(r"--([a-z][a-z-]*)(?:=(.+))?")
# What WorkerJob depends on, or what has a variable of its own.
_TAKEN = {
    "nodes": "NODES",
    "time": "TIME",
    "partition": "PARTITION",
    "cpus-per-task": "CPUS",
    "array": "NODES",
    "ntasks": "JOBS",
    "ntasks-per-node": "JOBS",
    "requeue": "",
    "no-requeue": "",
    "open-mode": "",
    "output": "",
    "error": "",
    "job-name": "",
}


@dataclass(frozen=True)
class Cluster:
    """What to ask Slurm for: `nodes` machines, each for `minutes`, with `cpus` cores (0: as the
    cluster has it); `options` are further ones of sbatch, True for those without a value.
    """

    nodes: int = 1
    minutes: int = 60
    partition: str = ""
    cpus: int = 0
    options: Mapping[str, str | bool] = field(default_factory=dict)


@dataclass
class WorkerJob:
    """What a Slurm job runs: the worker `command` with `environment`, as a process of its own.

    It is pickled, so a STORAGE with a password is not part of `environment`; then `storage` says
    that the worker needs it from the environment of the job.
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    storage: bool
    _worker: "subprocess.Popen[bytes] | None" = field(default=None, init=False, repr=False)

    def __call__(self) -> None:
        """Run the worker to its end. Raises Failure when it fails."""
        if self.storage and not os.environ.get("STORAGE"):
            raise Failure(
                "STORAGE did not reach the job: this cluster does not pass the environment on. Put "
                "the password into ~/.pgpass, and give STORAGE without it"
            )
        # Slurm may signal all processes of the job: the signal waits until `_worker` is known.
        with blocked(signal.SIGUSR2):
            self._worker = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env={**os.environ, **self.environment},
                preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR2}),
            )
        code = self._worker.wait()
        if code != 0:
            raise Failure(f"the worker ended with exit code {code}; what it said is above")

    def checkpoint(self) -> Any:
        """End the worker, which has its trainings save first; returns what to queue again.

        submitit calls this in its handler of SIGUSR2, in the middle of `wait`.
        """
        from submitit.helpers import DelayedSubmission

        if self._worker is not None and self._worker.returncode is None:
            # Not Popen.wait, whose lock the interrupted call holds.
            with suppress(ProcessLookupError, ChildProcessError):  # it has just ended
                os.kill(self._worker.pid, signal.SIGTERM)
                os.waitid(os.P_PID, self._worker.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(WorkerJob(self.command, self.environment, self.storage))


def cluster_from(given: Mapping[str, str]) -> Cluster:
    """What NODES, PARTITION, TIME, CPUS and SBATCH ask for. Raises BadUse."""
    return Cluster(
        nodes=_number("NODES", given.get("NODES", "") or "1", "machines", _MOST_NODES),
        minutes=_minutes(given.get("TIME", "") or "60"),
        partition=_word("PARTITION", given.get("PARTITION", "")),
        cpus=_number("CPUS", given["CPUS"], "cores of a machine", 4096) if given.get("CPUS") else 0,
        options=_options(given.get("SBATCH", "")),
    )


def _number(name: str, text: str, what: str, most: int) -> int:
    if not re.fullmatch("[0-9]{1,6}", text) or not 1 <= int(text) <= most:
        raise BadUse(f"{name}={shorten(text)}: a number of {what}, from 1 to {most}")
    return int(text)


def _word(name: str, text: str) -> str:
    if not re.fullmatch(r"[\w.,:-]*", text):
        raise BadUse(f"{name}={shorten(text)}: letters, digits and . , : _ - as Slurm names it")
    return text


def _minutes(text: str) -> int:
    """TIME as sbatch takes it: minutes, minutes:seconds, hours:minutes:seconds, days-hours …"""
    match = _TIME.fullmatch(text)
    if match:
        days, first, second, third = (int(part) if part else None for part in match.groups())
        if days is not None:
            parts = (days, first or 0, second or 0, third or 0)
        elif third is not None:
            parts = (0, first or 0, second or 0, third)
        else:
            parts = (0, 0, first or 0, second or 0)
        minutes = parts[0] * 1440 + parts[1] * 60 + parts[2] + (parts[3] > 0)
        if minutes * 60 > _SAVE_S:
            return minutes
    raise BadUse(
        f"TIME={shorten(text)}: how long a machine is kept, at least 3 minutes: 90 (minutes), "
        "02:30:00 or 1-12 (days-hours)"
    )


def _options(text: str) -> dict[str, str | bool]:
    """SBATCH: further options, as sbatch has them on its command line."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise BadUse(f"SBATCH={shorten(text)}: {error}") from None
    found: dict[str, str | bool] = {}
    for word in words:
        match = _OPTION.fullmatch(word)
        if match is None or not word.isprintable():
            raise BadUse(f"SBATCH: {shorten(word)}: write options of sbatch as --name=value")
        name = match[1]
        if name in _TAKEN:
            instead = f": use {_TAKEN[name]}" if _TAKEN[name] else ", it is set by the sweep"
            raise BadUse(f"SBATCH: --{name} cannot be given here{instead}")
        found[name] = match[2] or True
    return found


def script(cluster: Cluster, name: str, folder: Path) -> str:
    """The script that `submit` hands to sbatch."""
    executor = _executor(cluster, name, folder)
    if cluster.nodes > 1:
        executor.parameters["map_count"] = cluster.nodes
    return executor._make_submission_file_text(executor._submitit_command_str, "")


def submit(cluster: Cluster, name: str, folder: Path, job: WorkerJob) -> list[str]:
    """Submit the job once for each machine; returns their ids. Raises Failure.

    `folder`, for scripts and logs, must be on a disk that the machines share.
    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    for program in ("sbatch", "srun", "scontrol"):
        if shutil.which(program) is None:
            raise Failure(
                f"this machine has no {program}: submit where Slurm is; DRY=1 prints the script"
            )
    make_private(folder)
    before = os.umask(0o077)
    try:
        jobs = _executor(cluster, name, folder).submit_array([job] * cluster.nodes)
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        raise Failure(f"sbatch refused: {redact(str(error)).strip()}") from None
    finally:
        os.umask(before)
    return [submitted.job_id for submitted in jobs]


def _executor(cluster: Cluster, name: str, folder: Path) -> "SlurmExecutor":
    from submitit import SlurmExecutor  # takes a while

    class Executor(SlurmExecutor):
        """Also where there is no Slurm, to see the script."""

        @classmethod
        def affinity(cls) -> int:
            return 2

    executor = Executor(folder.absolute(), max_num_timeout=_REQUEUES)
    optional: dict[str, Any] = {"partition": cluster.partition}
    optional["cpus_per_task"] = cluster.cpus
    # Slurm does not hand the number of cores on to srun by itself.
    optional["srun_args"] = [f"--cpus-per-task={cluster.cpus}"] if cluster.cpus else None
    executor.update_parameters(
        job_name=f"sweep-{name}",
        time=cluster.minutes,
        signal_delay_s=_SAVE_S,
        array_parallelism=cluster.nodes,
        stderr_to_stdout=True,
        setup=[f"cd {shlex.quote(str(ROOT))}"],
        additional_parameters={"requeue": True, "export": "ALL", **cluster.options},
        **{key: value for key, value in optional.items() if value},
    )
    return executor
