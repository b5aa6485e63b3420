# SPDX-License-Identifier: MIT
"""The processes that torchrun started, as one group for the duration of a training.

    with process_group(runtime, timeout=600, agree_on=settings.as_dict()):
        …

Ranks with different settings are refused. A rank that stops responding does not hang the others:
after `timeout` seconds they fail and name it. Ranks end with their launcher.
"""

import ctypes
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from ..errors import BadUse, Failure
from ..launch_env import launch_env
from .runtime import Runtime

# What may differ between machines, and what rank 0 alone reads.
_MAY_DIFFER = re.compile(
    "DATA_DIR|DATA_FILES|OUTPUT_DIR|NUM_WORKERS|NUM_THREADS|"
    "(TRACKER|WANDB|MLFLOW|TRACKIO|TENSORBOARD)_.*"
)
_EXPLAINING_S = 5.0  # by then every rank that is alive has noticed that something is wrong


_SAME_REASON_S = 2.0  # within which all ranks notice what they all notice


class RanksLost(Failure):
    """Other ranks do not respond or have ended."""


class _RollCall:
    """What each rank says about itself, in the store through which the ranks rendezvous."""

    def __init__(self, store: dist.Store, runtime: Runtime, timeout: float) -> None:
        self._store = dist.PrefixStore("roll call", store)
        self._rank, self._others = runtime.rank, set(range(runtime.world_size)) - {runtime.rank}
        self._timeout = timeout
        self._names = {rank: f"rank {rank}" for rank in self._others}

    def meet(self) -> None:
        """Sign in and wait for all others. Raises RanksLost when one is missing."""
        self._say("name", f"rank {self._rank} ({socket.gethostname()}, process {os.getpid()})")
        deadline = time.monotonic() + self._timeout
        while missing := [
            rank for rank in sorted(self._others) if not self._has_said("name", rank)
        ]:
            if time.monotonic() > deadline:
                names = ", ".join(self._names[rank] for rank in missing)
                raise RanksLost(f"{names} did not start within RANK_TIMEOUT={self._timeout:g} s")
            time.sleep(0.02)
        self._names = {rank: self._said("name", rank) for rank in self._others}

    def leave(self, error: BaseException) -> None:
        """Tell the others why this rank ends."""
        with suppress(RuntimeError):
            self._say("ended", _in_words(error))

    def main_rank_says(self, error: BaseException) -> bool:
        """Whether rank 0 ends for the same reason, and so prints it."""
        deadline = time.monotonic() + _SAME_REASON_S
        with suppress(RuntimeError):
            while self._rank != 0 and time.monotonic() < deadline:
                if self._has_said("ended", 0):
                    return self._said("ended", 0) == _in_words(error)
                time.sleep(0.02)
        return False

    def explain(self, error: RuntimeError) -> RanksLost | None:
        """Why a collective operation failed; None when `error` has another cause."""
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            return None
        try:
            self._store.set_timeout(timedelta(seconds=_EXPLAINING_S))
            self._say("waiting", "")
            reasons = self._ask_others("Timed out" in str(error))
        except RuntimeError:
            reasons = ["the store through which the ranks met does not respond: its host is gone"]
        if not reasons:
            reasons = [f"the connection to the other ranks broke: {error}".partition("\n")[0]]
        return RanksLost("; ".join(reasons))

    def _ask_others(self, timed_out: bool) -> list[str]:
        """What is wrong with each rank that is not waiting for the others, as this one is."""
        silent = f"did not respond for RANK_TIMEOUT={self._timeout:g} s: it hangs or is stopped"
        if not timed_out:
            silent = "is gone: it was killed, or its machine or network is down"
        deadline = time.monotonic() + _EXPLAINING_S
        reasons, unheard = [], set(self._others)
        while unheard and time.monotonic() < deadline:
            for rank in sorted(unheard):
                if self._has_said("ended", rank):
                    reasons.append(f"{self._names[rank]} ended: {self._said('ended', rank)}")
                elif not self._has_said("waiting", rank):
                    continue
                unheard.discard(rank)
            time.sleep(0.05)
        return reasons + [f"{self._names[rank]} {silent}" for rank in sorted(unheard)]

    def _say(self, word: str, text: str) -> None:
        self._store.set(f"{word}/{self._rank}", text)

    def _has_said(self, word: str, rank: int) -> bool:
        return self._store.check([f"{word}/{rank}"])

    def _said(self, word: str, rank: int) -> str:
        return self._store.get(f"{word}/{rank}").decode()


def _in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


_roll_call: _RollCall | None = None  # of the group, which PyTorch also keeps in a global


@contextmanager
def process_group(
    runtime: Runtime,
    *,
    timeout: float = 600.0,
    agree_on: Mapping[str, Any] | None = None,
    always: bool = False,
) -> Iterator[None]:
    """Join the group of the processes that torchrun started, and leave it at the end.

    timeout: seconds that a rank waits for another. agree_on: settings, by symbol, that must be
    equal on all ranks. always: create a group for a single process too, which `shard` needs.
    Raises RanksLost when a rank is missing, at the start or later, and BadUse when the settings
    of the ranks differ. A Failure that all ranks have in common is raised on rank 0 alone; the
    others exit with its code.
    """
    global _roll_call
    if runtime.world_size == 1 and not always:
        yield
        return
    where: dict[str, Any] = {"timeout": timedelta(seconds=timeout)}
    if runtime.device.type == "cuda":
        where["device_id"] = runtime.device
    backend = "cpu:gloo,cuda:nccl" if runtime.device.type == "cuda" else "gloo"
    store = _meet(runtime, timeout)
    lost = False
    try:
        with naming_lost_ranks():
            dist.init_process_group(
                backend, store=store, rank=runtime.rank, world_size=runtime.world_size, **where
            )
            if runtime.world_size > 1:
                _agree(runtime, agree_on or {})
            yield
    except RanksLost:
        lost = True
        raise
    except BaseException as error:
        if _roll_call is not None:
            _roll_call.leave(error)
            if isinstance(error, Failure) and _roll_call.main_rank_says(error):
                sys.exit(error.exit_code)
        raise
    finally:
        _roll_call = None
        # Destroying the group would wait for the ranks that are lost.
        if dist.is_initialized() and not lost:
            # The group's destructor holds the GIL while it waits for PyTorch's thread, which may
            # need the GIL to release the tensors of the last collective operation: a deadlock that
            # was seen. Let the thread run first.
            time.sleep(0.1)
            dist.destroy_process_group()


@contextmanager
def naming_lost_ranks() -> Iterator[None]:
    """Within the block the failure of a collective operation becomes RanksLost."""
    try:
        yield
    except RuntimeError as error:
        lost = _roll_call and _roll_call.explain(error)
        if lost is None:
            raise
        raise lost from error


def _meet(runtime: Runtime, timeout: float) -> dist.Store:
    """Wait for all ranks; returns the store of the group."""
    global _roll_call
    if runtime.world_size == 1:
        return dist.HashStore()
    _end_with_launcher()
    try:
        store, _, _ = next(
            dist.rendezvous(
                "env://",
                runtime.rank,
                runtime.world_size,
                timeout=timedelta(seconds=timeout),
            )
        )
    except RuntimeError as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        reason = str(error).partition("\n")[0]
        raise RanksLost(f"the ranks did not meet at {where}: {reason}") from error
    _roll_call = _RollCall(store, runtime, timeout)
    _roll_call.meet()
    return dist.PrefixStore("process group", store)


def _agree(runtime: Runtime, settings: Mapping[str, Any]) -> None:
    """Raise BadUse on rank 0, and end the others, unless all ranks have equal settings."""
    mine = {name: value for name, value in settings.items() if not _MAY_DIFFER.fullmatch(name)}
    of_rank: list[Any] = [None] * runtime.world_size
    dist.all_gather_object(of_rank, mine)
    differences = [
        f"{name} is {of_rank[0].get(name)!r} on rank 0 and {theirs.get(name)!r} on rank {rank}"
        for rank, theirs in enumerate(of_rank)
        for name in sorted(of_rank[0].keys() | theirs.keys())
        if of_rank[0].get(name) != theirs.get(name)
    ]
    if not differences:
        return
    if not runtime.is_main:
        sys.exit(BadUse.exit_code)
    more = f"\n  … {len(differences) - 10} more" if len(differences) > 10 else ""
    raise BadUse(
        "the ranks have different settings; start all machines with the same configuration\n  "
        + "\n  ".join(differences[:10])
        + more
    )


def _end_with_launcher() -> None:
    """Have Linux send this process SIGTERM when torchrun dies: it then saves and ends."""
    if launch_env().by_torchrun and sys.platform == "linux":
        pr_set_pdeathsig = 1  # linux/prctl.h
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, int(signal.SIGTERM))
