# SPDX-License-Identifier: MIT
"""Where the time and the memory of a training go: some of its real steps under torch.profiler.

    profiler = StepProfiler(steps=5, trace=folder / "trace.json")
    with profiler.watching():
        program.train(settings)          # raises Profiled when the last step is done
    profiler.operators, profiler.categories, profiler.memory

After WARM_UP steps come `steps` that are timed, as many under the profiler, and one more in which
autograd's tensors are counted. Names of operators and of GPU kernels are sorted into CATEGORIES.
"""

import re
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .batch_finding import BatchPlan
from .learner import Learner
from .loop import Loop
from .micro_batches import WAITING
from .ranks import local_part
from .runtime import Runtime

WARM_UP = 3
# The first whose pattern is found in the name, in lower case, of an operator or of a kernel.
CATEGORIES = {
    "data": re.escape(WAITING),
    "optimizer": r"optimizer\.|adam|_fused_sgd|_foreach_|multi_tensor|clip_grad|amp_",
    "attention": r"attention|attn|fmha|flash|writtenout|softmax",
    "matrix products, convolutions": r"gemm|conv(?!ert)|matmul|::mm|::bmm|addmm|baddbmm|cutlass"
    r"|xmma|linear|cudnn|mkldnn|onednn",
    "copies and casts": r"copy|_to\b|clone|contiguous|memcpy|memset|cast|convert|::cat|fill_"
    r"|zero",
}
ELEMENTWISE = "elementwise and other"


class Profiled(Exception):
    """The last step is done: there is nothing left to train for."""


class Row(NamedTuple):
    """`seconds` a step, in `calls` calls, of an operator or a category."""

    name: str
    seconds: float
    calls: float


class _Kept:
    """A tensor that autograd keeps; the counter hears when it comes and goes."""

    __slots__ = ("_counter", "tensor")

    def __init__(self, counter: "Activations", tensor: Tensor) -> None:
        self._counter, self.tensor = counter, tensor
        counter.add(tensor, 1)

    def __del__(self) -> None:
        self._counter.add(self.tensor, -1)


class Activations:
    """Counts the bytes that autograd keeps for the backward pass, each piece of memory once."""

    def __init__(self, model: nn.Module) -> None:
        own = (local_part(p.detach()) for p in model.parameters())
        self._own = {p.untyped_storage().data_ptr() for p in own}
        self._uses: dict[int, int] = {}
        self._now = self.peak = 0

    def add(self, tensor: Tensor, uses: int) -> None:
        """One more or one less use of the memory of `tensor`."""
        memory = local_part(tensor).untyped_storage()
        if memory.data_ptr() in self._own:
            return
        before = self._uses.get(memory.data_ptr(), 0)
        self._uses[memory.data_ptr()] = before + uses
        if before == 0:
            self._now += memory.nbytes()
            self.peak = max(self.peak, self._now)
        elif before + uses == 0:
            self._now -= memory.nbytes()

    def hooks(self) -> torch.autograd.graph.saved_tensors_hooks:
        """The context in which a forward pass is counted."""
        return torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: _Kept(self, tensor), lambda kept: kept.tensor
        )


class StepProfiler:
    """`operators` and `categories` are sorted by time, largest first; `memory` is {what: bytes}.

    `step_s` is the median of the timed steps, `profiled_s` the mean of those under the profiler.
    The trace of all profiled steps is written to the file `trace`.
    """

    def __init__(self, steps: int, trace: Path) -> None:
        self._steps, self._trace = steps, trace
        self._count, self._times = 0, []
        self._watches = ExitStack()  # the profiler, then the hooks: PyTorch crashes with one left
        self.operators: list[Row] = []
        self.categories: list[Row] = []
        self.memory: dict[str, int] = {}
        self.about = ""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within it a training is profiled, until it raises Profiled, which ends here."""
        before = Loop.before_step
        Loop.before_step = staticmethod(self._begin_step)
        try:
            with suppress(Profiled):
                yield
        finally:
            Loop.before_step = staticmethod(before)
            self._watches.close()

    @property
    def is_done(self) -> bool:
        """Whether the training was long enough."""
        return bool(self.memory)

    @property
    def steps_needed(self) -> int:
        """So many steps are made before the training ends."""
        return WARM_UP + 2 * self._steps + 1

    @property
    def step_s(self) -> float:
        """Seconds of a step that nothing watches: the median."""
        return sorted(self._times)[len(self._times) // 2]

    # ------------------------------------------------------------------ between two steps

    def _begin_step(self, learner: Learner, runtime: Runtime, plan: BatchPlan) -> None:
        device, count = runtime.device, self._count
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        now = time.perf_counter()
        self._count += 1
        if WARM_UP < count <= WARM_UP + self._steps:
            self._times.append(now - self._since)
        if count == WARM_UP + self._steps:
            self._start_profile(device)
        elif count == WARM_UP + 2 * self._steps:
            self.profiled_s = (now - self._since) / self._steps
            self._watches.close()
            self._profile.export_chrome_trace(str(self._trace))
            self._sort(self._profile.key_averages(), device.type == "cuda")
            self._begin_counting(learner, device)
        elif count == self.steps_needed:
            self._watches.close()
            self._end_counting(learner, device)
            self.about = f"{plan}, in {runtime.precision} on {_named(device)}"
            raise Profiled
        if count <= WARM_UP + self._steps:
            self._since = time.perf_counter()

    def _start_profile(self, device: torch.device) -> None:
        kinds = [torch.profiler.ProfilerActivity.CPU]
        if device.type == "cuda":
            kinds.append(torch.profiler.ProfilerActivity.CUDA)
        self._profile = self._watches.enter_context(torch.profiler.profile(activities=kinds))

    def _sort(self, events: Any, on_gpu: bool) -> None:
        rows = []
        for event in events:
            is_kernel = event.device_type.name == "CUDA" and not event.is_user_annotation
            if is_kernel or not on_gpu or event.key == WAITING:
                own = event.self_device_time_total if is_kernel else event.self_cpu_time_total
                rows.append(Row(event.key, own / 1e6 / self._steps, event.count / self._steps))
        self.operators = sorted((r for r in rows if r.seconds), key=lambda r: -r.seconds)
        sums: dict[str, list[float]] = {}
        for row in self.operators:
            total = sums.setdefault(category_of(row.name), [0.0, 0.0])
            total[0] += row.seconds
            total[1] += row.calls
        self.categories = sorted((Row(n, *t) for n, t in sums.items()), key=lambda r: -r.seconds)

    def _begin_counting(self, learner: Learner, device: torch.device) -> None:
        self._activations, self._gradients = Activations(learner.model), 0
        learner.optimizer.register_step_pre_hook(self._note_gradients)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self._watches.enter_context(self._activations.hooks())

    def _note_gradients(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        parameters = (p for group in optimizer.param_groups for p in group["params"])
        self._gradients = sum(_bytes(p.grad) for p in parameters if p.grad is not None)

    def _end_counting(self, learner: Learner, device: torch.device) -> None:
        model, state = learner.model, learner.optimizer.state.values()
        tensors = [t for of in state for t in of.values() if isinstance(t, Tensor)]
        memory = {
            "weights": sum(map(_bytes, [*model.parameters(), *model.buffers()])),
            "gradients": self._gradients,
            "optimizer state": sum(map(_bytes, tensors)),
            "activations kept for the backward pass": self._activations.peak,
        }
        if device.type == "cuda":
            whole, name = torch.cuda.max_memory_reserved(device), "reserved on the GPU, at most"
        else:
            whole, name = _peak_rss(), "of the process, at most (RSS)"
        memory["other (the program, its libraries, data, moments)"] = whole - sum(memory.values())
        self.memory = {**memory, name: whole}


def category_of(name: str) -> str:
    """The category of an operator or of a GPU kernel."""
    found = (c for c, pattern in CATEGORIES.items() if re.search(pattern, name.lower()))
    return next(found, ELEMENTWISE)


def _bytes(tensor: Tensor) -> int:
    tensor = local_part(tensor.detach())
    return tensor.numel() * tensor.element_size()


def _peak_rss() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _named(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
