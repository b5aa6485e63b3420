# SPDX-License-Identifier: MIT
"""What the ranks do with files together: it fails on all of them, or on none.

written = on_all_ranks("cannot write step_00000120", write_part)
folder = on_rank_0("cannot write step_00000120", create)
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist

from .digest import CheckpointError

_T = TypeVar("_T")


def on_all_ranks(what: str, work: Callable[[], _T]) -> list[_T]:
    """What `work` returned on each rank; all ranks must call.

    When it raised OSError or CheckpointError on one of them, CheckpointError is raised on all: that
    of the rank, or `what`, the rank and the reason.
    """
    try:
        outcome = work(), ""
    except OSError as error:
        outcome = None, f"{what}: rank {dist.get_rank()}: {error.strerror}"
    except CheckpointError as error:
        outcome = None, str(error)
    outcomes: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(outcomes, outcome)
    for _, failure in outcomes:
        if failure:
            raise CheckpointError(failure)
    return [result for result, _ in outcomes]


def on_rank_0(what: str, work: Callable[[], _T]) -> _T:
    """What `work` returned on rank 0, which alone executes it; raises as `on_all_ranks` does."""
    return on_all_ranks(what, work if dist.get_rank() == 0 else lambda: None)[0]
