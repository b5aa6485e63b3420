# SPDX-License-Identifier: MIT
"""What `make sweep LAUNCHER=slurm` does: submit workers of a sweep as jobs (lib/sweep/slurm.py)."""

import argparse
import os
import re
import sys
from pathlib import Path

from lib.errors import BadUse
from lib.runs.redact import redact
from lib.sweep import slurm
from lib.sweep.description import Sweep
from lib.sweep.orders import sweep_folder
from lib.sweep.slots import parse_jobs
from lib.sweep.storage import default_storage, normalised, redacted
from lib.sweep.study import open_study
from scripts.common import output_dir


def has_password(url: str) -> bool:
    """Whether `url` holds more of a secret than the name of a user."""
    url = re.sub(r"://[^:@/]*@", "://", url)
    return redact(url) != url


def launch(sweep: Sweep, options: argparse.Namespace) -> int:
    """Submit one worker for each of NODES machines, or print the script; returns the exit code."""
    cluster = slurm.cluster_from(os.environ)
    parse_jobs(options.jobs)
    runs = Path(output_dir(options.output_dir)).absolute()
    folder = sweep_folder(runs, sweep.name) / "slurm"
    if options.dry:
        print(slurm.script(cluster, sweep.name, folder), end="")
        return 0
    storage = options.storage or default_storage(runs)
    if cluster.nodes > 1 and normalised(storage).startswith("sqlite"):
        raise BadUse(
            f"NODES={cluster.nodes} needs a database that several machines can use: "
            "STORAGE=postgresql://USER@HOST/DATABASE (docs/sweeps.md#several-machines)"
        )
    if open_study(sweep, storage, create=True, extend=options.extend).progress().done:
        print(f"{sweep.name}: all trials are done; next: make sweep-report SWEEP={sweep.name}")
        return 0
    secret = has_password(storage)
    if secret:
        os.environ["STORAGE"] = storage  # sbatch passes it on
    job = slurm.WorkerJob(
        command=[sys.executable, "-m", "scripts.sweep.worker", "--output-dir", str(runs)],
        environment={
            "SWEEP": sweep.name,
            "JOBS": options.jobs,
            "GPUS": options.gpus,
            "REUSE": "y" if options.reuse else "",
            **({} if secret else {"STORAGE": storage}),
        },
        storage=secret,
    )
    jobs = slurm.submit(cluster, sweep.name, folder, job)
    print(f"submitted {', '.join(jobs)}; the trials are kept in {redacted(storage)}")
    print(f"what they say: tail -f {folder}/{jobs[0]}_0_log.out")
    return 0
