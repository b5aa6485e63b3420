# SPDX-License-Identifier: MIT
"""What two processes of a gloo group find, for tests of what crosses between ranks."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def found_by_two_ranks(work: Callable[[int], dict], folder: Path) -> list[dict]:
    """`work(rank)` of two processes with one thread each; a function of a module, of tensors."""
    mp.spawn(_run, (work, str(folder)), nprocs=2)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


def _run(rank: int, work: Callable[[int], Any], folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{folder}/store", rank=rank, world_size=2, timeout=timedelta(seconds=60)
    )
    torch.save(work(rank), f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()
