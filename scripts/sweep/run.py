# SPDX-License-Identifier: MIT
"""Train what is missing of a sweep: python -m scripts.sweep.run (which `make sweep` calls)

    make sweep SWEEP=name [JOBS=n] [GPUS=0,1|all|none] [STORAGE=URL] [REUSE=y] [EXTEND=y]
    make sweep SWEEP=name LAUNCHER=slurm [NODES=n] [PARTITION=name] [TIME=90] [CPUS=n]
               [SBATCH="--…"] [DRY=1] and the variables above

SWEEP is the name of a file in sweeps/, or its path. One training runs on each GPU, or JOBS of them
side by side, between which the cores are divided. Ctrl-C lets the trainings save and stops; the
same command goes on with them, and with what is missing. It may run several times at once.

STORAGE is the database of the sweep, by default a file below OUTPUT_DIR (docs/sweeps.md); give it
in the environment if there is a password in it. REUSE=y takes completed runs with the same science
instead of training them again. EXTEND=y adds cells or trials to a sweep whose file has grown.

LAUNCHER=slurm submits a job with a worker for each of NODES machines, and ends. TIME is how long a
machine is kept, as sbatch takes it, by default an hour; a job whose time is up goes on later. CPUS
is how many of its cores, SBATCH has further options of sbatch, and DRY=1 only prints the script.

Exit codes: 0 all is done, or submitted, 1 trials failed or something went wrong, 2 bad use,
130 Ctrl-C, 143 SIGTERM.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import contextlib
import os
import sys
from pathlib import Path

from lib.errors import BadUse
from lib.sweep.description import Sweep
from lib.sweep.live import open_display
from lib.sweep.slots import Slot
from lib.sweep.storage import default_storage
from lib.sweep.study import Study, open_study
from scripts.common import output_dir
from scripts.sweep.common import chosen_sweep, slots_of, sweep_parser, yes


def train(study: Study, folder: Path, slots: list[Slot], reuse: bool) -> int:
    """Train what is missing of the sweep of `study`; returns the exit code."""
    from lib.sweep.reuse import Reusable
    from lib.sweep.worker import Worker

    reusable = Reusable(folder, study.sweep) if reuse else None
    try:
        with open_display(sys.stdout) as display:
            Worker(study, folder, slots, display, reusable).run()
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # the terminal is gone
            print(f"{study.sweep.name} was stopped; to go on, type the same command again")
        raise
    return conclude(study)


def conclude(study: Study) -> int:
    """Print what came out and what to type next; returns the exit code."""
    from lib.sweep.recorder import best_text

    progress, name = study.progress(), study.sweep.name
    failed = [t for t in study.trials() if t.state == "failed" and not (t.superseded or t.reused)]
    counts = [f"{progress.complete} completed"]
    counts += [f"{progress.pruned} pruned"] if progress.pruned else []
    counts += [f"{len(failed)} failed"] if failed else []
    if left := progress.total - progress.finished - progress.running:
        counts.append(f"{left} not begun: the hours of the sweep are over")
    print(f"{name}: {', '.join(counts)}")
    for trial in failed:
        print(f"  failed: {trial.label} seed {trial.seed}: {trial.reason}")
    if best := best_text(study):
        print(f"best: {best}")
    print(f"next: make sweep-report SWEEP={name}")
    return 1 if failed else 0


def start(sweep: Sweep, options: argparse.Namespace, extend: bool = False) -> int:
    """Create the study of `sweep`, or find it, and train; returns the exit code."""
    folder, slots = Path(output_dir(options.output_dir)), slots_of(options)
    storage = options.storage or default_storage(folder)
    study = open_study(sweep, storage, create=True, extend=extend)
    return train(study, folder, slots, options.reuse)


def main() -> int:
    flags = sweep_parser(__doc__)
    flags.add_argument("--extend", action="store_true", default=yes("EXTEND"))
    flags.add_argument("--launcher", metavar="slurm", default=os.environ.get("LAUNCHER", ""))
    flags.add_argument("--dry", action="store_true", default=yes("DRY"))
    options = flags.parse_args()
    if not options.sweep:
        raise BadUse("SWEEP= is missing: make sweep SWEEP=name; `make list-sweeps` lists them")
    if options.launcher not in ("", "slurm"):
        raise BadUse(f"LAUNCHER={options.launcher}: there is slurm; without it this machine trains")
    if options.dry and not options.launcher:
        raise BadUse("DRY=1 prints the script of a launcher: give LAUNCHER=slurm, too")
    sweep = chosen_sweep(options.sweep, output_dir(options.output_dir), options.storage)
    if options.launcher:
        from scripts.sweep.slurm import launch

        return launch(sweep, options)
    return start(sweep, options, options.extend)


if __name__ == "__main__":
    run_main(main)
