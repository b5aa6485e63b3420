# SPDX-License-Identifier: MIT
"""What the launcher says about this process, read from the environment and checked in one place.

    launch = launch_env()
    launch.rank, launch.world_size, launch.local_rank, launch.is_main

torchrun, which `make` uses for several processes, sets RANK, WORLD_SIZE, LOCAL_RANK,
LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT. Without RANK, WORLD_SIZE and LOCAL_RANK a process is
alone; an empty variable counts as not set. LAUNCH_ID, which `make` sets, names the launch:
processes that are started again go on with its run.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from .advice import typed
from .errors import BadUse

_CURE = (
    f"start ranks with {typed('make NPROC=… or torchrun', 'torchrun')}; for a single process: "
    "unset RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE"
)


@dataclass(frozen=True)
class LaunchEnv:
    """This process among the ranks of one training; `local_rank` counts on its own machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    by_torchrun: bool = False
    launch_id: str = ""  # the same for all processes of a launch, also for restarted ones
    local_size: int = 1  # ranks on this machine

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0


def launch_env(environ: Mapping[str, str] | None = None) -> LaunchEnv:
    """Read the launch environment, that of this process unless another one is given.

    Raises BadUse, naming the variable, where it makes no sense.
    """
    environ = os.environ if environ is None else environ
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    present = [name for name in names if environ.get(name)]
    launch_id = environ.get("LAUNCH_ID") or environ.get("TORCHELASTIC_RUN_ID", "")
    launch_id = "" if launch_id == "none" else launch_id  # torchrun's name for a nameless launch
    if not present:
        return LaunchEnv(launch_id=launch_id)
    for needed in ("RANK", "WORLD_SIZE"):
        if needed not in present:
            _refuse(environ, present[0], f"but {needed} is not set")
    world_size = _number(environ, "WORLD_SIZE", least=1)
    rank = _number(environ, "RANK", below=world_size, of=f"WORLD_SIZE={world_size}")
    if world_size > 1:
        for needed in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
            if not environ.get(needed):
                _refuse(environ, "WORLD_SIZE", f"but {needed} is not set")
        _number(environ, "MASTER_PORT", least=1, below=65536)
    local_size = world_size
    if environ.get("LOCAL_WORLD_SIZE"):
        local_size = _number(environ, "LOCAL_WORLD_SIZE", least=1, below=world_size + 1)
    local_rank = 0
    if "LOCAL_RANK" in present:
        local_rank = _number(environ, "LOCAL_RANK", below=local_size)
    by_torchrun = bool(environ.get("TORCHELASTIC_RUN_ID"))
    return LaunchEnv(rank, world_size, local_rank, by_torchrun, launch_id, local_size)


def _number(
    environ: Mapping[str, str], name: str, least: int = 0, below: int | None = None, of: str = ""
) -> int:
    value = environ[name]
    number = int(value) if re.fullmatch("[0-9]{1,9}", value) else -1
    if number < least or (below is not None and number >= below):
        end = "up" if below is None else f"to {below - 1}"
        _refuse(environ, name, f"allowed is a whole number from {least} {end}{of and f' ({of})'}")
    return number


def _refuse(environ: Mapping[str, str], name: str, problem: str) -> None:
    raise BadUse(f"{name}={environ[name]} in the environment, {problem}: {_CURE}")
