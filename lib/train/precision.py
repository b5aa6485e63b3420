# SPDX-License-Identifier: MIT
"""The fastest precision and implementations on this CPU, found by trial; compiling on GPUs.

    trial = Trial(step, about={"width": 384, "batch": 8})      # step("bfloat16", {}): a trial step
    runtime = choose_precision(settings, start, trial)
    compile_on_gpu(settings, runtime, [model])

From which width on steps in bfloat16 are faster depends on the processor, and so does which
implementation (kernel) of an operation is the fastest. What was found is remembered on this machine
(lib/train/remembered.py), so that the same seed gives the same bits; a run keeps what it began
with.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from ..errors import BadUse, did_you_mean
from ..runs.metadata import cpu_model
from .ranks import any_rank
from .remembered import recall, remember
from .runtime import Runtime
from .start import Start

Kernels = Mapping[str, str]  # operation → the name of its implementation

_REPEATS = 3  # of a comparison of precisions
_MARGIN = 0.97  # a kernel takes the place of the default if it needs at most this share of the time
_ROUNDS, _ROUND_S = (2, 8), 2.0  # of a comparison of kernels: at least, at most; seconds aimed at


@dataclass(frozen=True)
class Trial:
    """What a model tries on a CPU.

    step: a forward and backward pass in this precision, with these kernels. table: the operations
    that can be computed in several ways, and their names, the default first. default: what is used
    in bfloat16 before any trial, where that is something else. part: a part of a step in bfloat16
    that has all these operations. about: what the times depend on, apart from the machine. Each
    must leave everything as it was (lib/train/batch_finding.py, `try_step`).
    """

    step: Callable[[str, Kernels], None]
    about: Mapping[str, Any]
    table: Mapping[str, Sequence[str]] = field(default_factory=dict)
    default: Kernels = field(default_factory=dict)
    part: Callable[[Kernels], None] = lambda kernels: None

    def kernels(self, given: Kernels) -> dict[str, str]:
        """`given`, and the default of each operation that it does not name."""
        return {op: given.get(op, names[0]) for op, names in self.table.items()}


def choose_precision(settings: Any, start: Start, trial: Trial) -> Runtime:
    """The runtime of `start`, from now on with the precision and the kernels to train with.

    What PRECISION and KERNELS leave open is found by trial on CPUs with bfloat16 units; all ranks
    must call, and get the same. A run that goes on keeps its own. On other devices there is nothing
    to choose. Raises BadUse when KERNELS names what is not there.
    """
    runtime = start.runtime
    if runtime.device.type == "cpu":
        asked = parse_kernels(settings.KERNELS, trial.table) if trial.table else {}
        if start.resumes:
            kernels = trial.kernels(runtime.kernels if asked is None else asked)
            start.runtime = replace(runtime, kernels=kernels)
        else:
            start.runtime = _of_new_run(settings, runtime, trial, asked)
    return start.runtime


def parse_kernels(text: str, table: Mapping[str, Sequence[str]]) -> dict[str, str] | None:
    """{"attention": "whole"} from "attention=whole"; None from "auto". Raises BadUse."""
    if text == "auto":
        return None
    found = {}
    for word in text.split():
        operation, equals, name = word.partition("=")
        if operation not in table:
            known = ", ".join(table)
            raise BadUse(
                f"KERNELS: {word!r} names no operation; want auto, or OPERATION=NAME with one of "
                f"{known}{did_you_mean(operation, table)}"
            )
        if not equals or name not in table[operation]:
            raise BadUse(
                f"KERNELS: {operation} has no implementation {name!r}; it has "
                f"{', '.join(table[operation])}{did_you_mean(name, table[operation])}"
            )
        if operation in found:
            raise BadUse(f"KERNELS names {operation} twice")
        found[operation] = name
    return found


def _of_new_run(settings: Any, runtime: Runtime, trial: Trial, asked: Kernels | None) -> Runtime:
    tries_precision = settings.PRECISION == "auto"
    if tries_precision and any_rank(runtime.precision != "bfloat16"):
        runtime = replace(runtime, precision="float32")  # of some rank without units for bfloat16
    if runtime.precision != "bfloat16" or not (tries_precision or asked is None):
        return replace(runtime, kernels=trial.kernels(asked or {}))
    key = _key(settings, runtime, trial)
    found = _from_main_rank(runtime, recall(key) if runtime.is_main else None)
    if found is None:
        kernels = trial.kernels(asked if asked is not None else fastest_kernels(trial))
        kernels = _from_main_rank(runtime, kernels)
        precision = "bfloat16"
        if tries_precision:
            is_slower = faster_precision(trial, kernels, asked) == "float32"
            precision = "float32" if any_rank(is_slower) else "bfloat16"
        if precision == "float32":
            kernels = trial.kernels(asked or {})
        found = {"precision": precision, "kernels": kernels}
        found = _from_main_rank(runtime, remember(key, found) if runtime.is_main else None)
    return replace(runtime, precision=found["precision"], kernels=found["kernels"])


def _key(settings: Any, runtime: Runtime, trial: Trial) -> dict[str, Any]:
    """What the outcome of a trial depends on."""
    return {
        "cpu": cpu_model(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "matrix_units": has_matrix_units(),
        "threads": torch.get_num_threads(),
        "ranks": runtime.world_size,
        "torch": str(torch.__version__),
        "PRECISION": settings.PRECISION,
        "KERNELS": settings.KERNELS if trial.table else "",
        "table": {operation: list(names) for operation, names in trial.table.items()},
        "about": dict(trial.about),
    }


def has_matrix_units() -> bool:
    """Whether this CPU has matrix units for bfloat16 (AMX)."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def _from_main_rank(runtime: Runtime, value: Any) -> Any:
    """The `value` of rank 0; all ranks must call."""
    if runtime.world_size == 1:
        return value
    told = [value]
    dist.broadcast_object_list(told, src=0, device=torch.device("cpu"))
    return told[0]


def fastest_kernels(trial: Trial) -> dict[str, str]:
    """Operation by operation, the kernel with which `trial.part` is the fastest.

    One that is not faster than the default by a margin, in its fastest and in its median turn, does
    not take its place.
    """
    chosen = trial.kernels(trial.default)
    for operation in trial.table:
        times = kernel_seconds(trial, chosen, operation)
        best, default = min(times, key=lambda name: min(times[name])), chosen[operation]
        if all(of(times[best]) < _MARGIN * of(times[default]) for of in (min, median)):
            chosen[operation] = best
    return chosen


def kernel_seconds(trial: Trial, chosen: Kernels, operation: str) -> dict[str, list[float]]:
    """Seconds of `trial.part` with each kernel for `operation`, the others as `chosen`.

    They take turns, so that other load on the machine affects all of them.
    """
    candidates = {name: {**chosen, operation: name} for name in trial.table[operation]}
    # The first turn sets up the libraries, and says how many there is time for.
    slowest = max(_seconds(lambda k=k: trial.part(k)) for k in candidates.values())
    rounds = min(max(int(_ROUND_S / len(candidates) / slowest), _ROUNDS[0]), _ROUNDS[1])
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, kernels in candidates.items():
            times[name].append(_seconds(lambda k=kernels: trial.part(k)))
    return times


def faster_precision(trial: Trial, kernels: Kernels, asked: Kernels | None = None) -> str:
    """ "float32" or "bfloat16", whichever is faster for `trial.step` on this CPU.

    `kernels` are those for bfloat16; float32 has the default ones, unless they were asked for. Both
    take turns, so that other load on the machine affects both.
    """
    candidates = {"bfloat16": kernels, "float32": trial.kernels(asked or {})}
    for precision, its in candidates.items():
        trial.step(precision, its)  # the first one sets up the libraries
    seconds = dict.fromkeys(candidates, math.inf)
    for _ in range(_REPEATS):
        for precision, its in candidates.items():
            taken = _seconds(lambda p=precision, k=its: trial.step(p, k))
            seconds[precision] = min(seconds[precision], taken)
    return min(seconds, key=seconds.__getitem__)


def _seconds(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def compile_on_gpu(settings: Any, runtime: Runtime, modules: Iterable[nn.Module]) -> None:
    """Compile each of `modules` in place on a GPU, if COMPILE asks for it."""
    if settings.COMPILE and runtime.device.type == "cuda":
        for module in modules:
            module.compile()
