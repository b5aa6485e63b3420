# SPDX-License-Identifier: MIT
"""A Slurm of one machine for tests: sbatch, srun and scontrol, which really run the scripts.

    slurm = install(folder)                 # the three programs, and what they keep
    monkeypatch.setenv("PATH", …)           # slurm.path
    slurm.wait("1_0", restarts=1)           # until a task has run so often and ended

It takes of Slurm what submitit and docs/examples/train.sbatch use: arrays, --output, --export,
requeueing, and --nodes, all of which are this machine. A requeued job starts again once its
processes are gone, with SLURM_RESTART_COUNT.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("sbatch", "srun", "scontrol")


@dataclass
class Slurm:
    """The folder with the programs (bin) and the state of the tasks."""

    folder: Path

    @property
    def path(self) -> str:
        """PATH with the programs."""
        return f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"

    def signal(self, task: str, number: int = signal.SIGUSR2) -> None:
        """Send a signal to what srun started, once it is there, and all that this has started."""
        import psutil  # not for the programs

        while not (pid := self.folder / f"{task}.pid").exists():
            time.sleep(0.02)
        step = psutil.Process(int(pid.read_text()))
        for process in (step, *step.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def wait(self, task: str, restarts: int = 0, seconds: float = 180) -> int:
        """The exit code of a task that has been started again `restarts` times."""
        deadline = time.monotonic() + seconds
        while not (done := self.folder / f"{task}.{restarts}.code").exists():
            assert time.monotonic() < deadline, f"{task} has not ended"
            time.sleep(0.05)
        return int(done.read_text())


def install(folder: Path) -> Slurm:
    """Make the programs in `folder`/bin."""
    (folder / "bin").mkdir(parents=True)
    for name in PROGRAMS:
        program = folder / "bin" / name
        program.write_text(f"#!{sys.executable}\n{Path(__file__).read_text()}")
        program.chmod(0o700)
    return Slurm(folder)


def sbatch(home: Path, arguments: list[str]) -> None:
    """Queue a script: copy it, start its tasks, say its number."""
    text = Path(arguments[-1]).read_text() + "".join(f"#SBATCH {a}\n" for a in arguments[:-1])
    number = len(list(home.glob("*.sh"))) + 1
    (home / f"{number}.sh").write_text(text)
    array = re.search(r"^#SBATCH --array=0-(\d+)", text, re.MULTILINE)
    tasks = [f"{number}_{task}" for task in range(int(array[1]) + 1)] if array else [str(number)]
    for task in tasks:
        start(home, task, 0)
    print(f"Submitted batch job {number}")


def start(home: Path, task: str, restarts: int) -> None:
    """Run a task in the background, as the scheduler does."""
    number, _, index = task.partition("_")
    script = home / f"{number}.sh"
    kept = {**os.environ}
    if re.search("^#SBATCH --export=NONE", script.read_text(), re.MULTILINE):
        kept = {name: os.environ[name] for name in ("PATH", "HOME")}
    kept |= {"SLURM_JOB_ID": number, "SLURM_RESTART_COUNT": str(restarts), "SLURM_NTASKS": "1"}
    nodes = re.findall(r"^#SBATCH --nodes=(\d+)", script.read_text(), re.MULTILINE) or ["1"]
    names = ",".join(["localhost"] * int(nodes[-1]))
    kept |= {"SLURM_NNODES": nodes[-1], "SLURM_JOB_NODELIST": names, "SLURM_NODEID": "0"}
    if index:
        kept |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": index}
    watch = [sys.executable, __file__, "--task", str(home), task, str(restarts)]
    with (home / f"{task}.log").open("ab") as log:
        subprocess.Popen(watch, env=kept, start_new_session=True, stdout=log, stderr=log)


def run_task(home: Path, task: str, restarts: int) -> None:
    """Run the script of a task to its end, and again if it asked for that meanwhile."""
    code = subprocess.run(["bash", home / f"{task.partition('_')[0]}.sh"]).returncode
    (home / f"{task}.pid").unlink(missing_ok=True)
    again = home / f"{task}.requeue"
    (home / f"{task}.{restarts}.code").write_text(str(code))
    if again.exists():
        again.unlink()
        start(home, task, restarts + 1)


def srun(home: Path, arguments: list[str]) -> None:
    """Become the command, with its output where --output says."""
    task = "_".join(filter(None, map(os.environ.get, ("SLURM_JOB_ID", "SLURM_ARRAY_TASK_ID"))))
    while arguments[0].startswith("--"):
        option = arguments.pop(0)
        if option in ("--output", "--error"):
            path = arguments.pop(0)
            for pattern in ("%A_%a", "%j"):
                path = path.replace(pattern, task)
            descriptor = os.open(path.replace("%t", "0"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for output in (1, 2) if option == "--output" else (2,):
                os.dup2(descriptor, output)
    if (nodes := int(os.environ["SLURM_NNODES"])) > 1:
        node = ({"SLURM_NODEID": str(n), "SLURM_PROCID": str(n)} for n in range(nodes))
        tasks = [subprocess.Popen(arguments, env={**os.environ, **about}) for about in node]
        sys.exit(max(process.wait() for process in tasks))
    (home / f"{task}.new").write_text(str(os.getpid()))
    (home / f"{task}.new").rename(home / f"{task}.pid")
    os.environ["SLURM_PROCID"] = "0"
    os.execvp(arguments[0], arguments)


def scontrol(home: Path, arguments: list[str]) -> None:
    """scontrol requeue TASK, scontrol show hostnames LIST"""
    if arguments[:2] == ["show", "hostnames"]:
        print(arguments[2].replace(",", "\n"))
        return
    assert arguments[0] == "requeue", json.dumps(arguments)
    (home / f"{arguments[1]}.requeue").touch()


def main() -> None:
    program, home = Path(sys.argv[0]).name, Path(__file__).resolve().parent.parent
    if sys.argv[1:2] == ["--task"]:
        run_task(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
    else:
        {"sbatch": sbatch, "srun": srun, "scontrol": scontrol}[program](home, sys.argv[1:])


if __name__ == "__main__":
    main()
