# SPDX-License-Identifier: MIT
"""The slots of a worker: a GPU, or a share of the cores, for one training at a time.

gpus = chosen_gpus("all", present=4)        # ["0", "1", "2", "3"]
for slot in make_slots(jobs=0, gpus=gpus):  # one a GPU
    subprocess.Popen(…, env={**os.environ, **slot.environment()})
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import BadUse

_MOST_JOBS = 1024


@dataclass(frozen=True)
class Slot:
    """Room for one training: `threads` cores, and the GPU `gpu` unless that is empty."""

    number: int
    threads: int
    gpu: str = ""

    def environment(self) -> dict[str, str]:
        """What tells a training to keep to this slot; it holds where NUM_THREADS is 0."""
        gpu = {"CUDA_VISIBLE_DEVICES": self.gpu} if self.gpu else {}
        return {"OMP_NUM_THREADS": str(self.threads), **gpu}


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parse_jobs(given: str) -> int:
    """JOBS; 0 if it is not given. Raises BadUse."""
    if not given:
        return 0
    if not re.fullmatch("[0-9]{1,4}", given) or not 1 <= int(given) <= _MOST_JOBS:
        raise BadUse(f"JOBS={given}: how many trainings at a time, a number from 1 to {_MOST_JOBS}")
    return int(given)


def chosen_gpus(given: str, present: int, environ: Mapping[str, str] | None = None) -> list[str]:
    """The GPUs that GPUS names: all, none, or numbers such as 0,2; without it all that there are.

    `present` is how many the machine has. Where CUDA_VISIBLE_DEVICES is set, these are the GPUs
    that there are, and the numbers count among them. Raises BadUse.
    """
    visible = (os.environ if environ is None else environ).get("CUDA_VISIBLE_DEVICES")
    there = [str(number) for number in range(present)]
    if visible is not None:
        there = [name for name in visible.replace(" ", "").split(",") if name][:present]
    if given in ("", "all"):
        if given and not there:
            raise BadUse("GPUS=all: this machine has no GPU; leave GPUS out to train on the CPU")
        return there
    if given == "none":
        return []
    words = given.replace(",", " ").split()
    for word in words:
        if not re.fullmatch("[0-9]{1,4}", word) or int(word) >= len(there):
            allowed = f"0 to {len(there) - 1}" if there else "none"
            raise BadUse(f"GPUS={given}: {word} is not a GPU here; there are {allowed}")
    if len(set(words)) < len(words):
        raise BadUse(f"GPUS={given}: a GPU is named twice; for two trainings on each give JOBS")
    return [there[int(word)] for word in words]


def make_slots(
    jobs: int, gpus: Sequence[str], environ: Mapping[str, str] | None = None
) -> list[Slot]:
    """`jobs` slots on `gpus`; 0 jobs are one a GPU, or a single one without a GPU.

    More jobs than GPUs share them evenly. The cores are divided by the slots; fewer threads are
    used where OMP_NUM_THREADS in the environment says so.
    """
    jobs = jobs or len(gpus) or 1
    threads = max(1, cores() // jobs)
    limit = (os.environ if environ is None else environ).get("OMP_NUM_THREADS", "")
    if re.fullmatch("[1-9][0-9]{0,5}", limit):
        threads = min(threads, int(limit))
    return [Slot(n, threads, gpus[n % len(gpus)] if gpus else "") for n in range(jobs)]
