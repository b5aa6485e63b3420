# SPDX-License-Identifier: MIT
"""Hooks of an optimizer: gradients just before they are used, and copies that keep their hooks."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import Tensor

KINDS = (
    "step_pre",
    "step_post",
    "state_dict_pre",
    "state_dict_post",
    "load_state_dict_pre",
    "load_state_dict_post",
)


class _Hook:
    """A bound method as a hook that can be copied and pickled, and that torch.compile leaves out.

    Traced, what a hook changes on each step (step counts, learning rates) would become constants of
    the compiled graph.
    """

    def __init__(self, method: MethodType):
        self.method = method
        self.untraced = torch.compiler.disable(method)

    def __call__(self, *args: Any) -> Any:
        return self.untraced(*args)

    def __reduce__(self) -> tuple:
        return _Hook, (self.method,)


def attach_hooks(optimizer: torch.optim.Optimizer, **hooks: MethodType) -> None:
    """Register hooks by their kind, one of KINDS, so that copies and pickles have them as well.

    PyTorch drops all hooks there, and the copy would train on without pruning and without a word.
    """
    for kind, method in hooks.items():
        getattr(optimizer, f"register_{kind}_hook")(_Hook(method))
    # copy and pickle look for it on the object first: this also serves classes that are not ours.
    optimizer.__getstate__ = partial(_state_with_hooks, optimizer)


def attached(optimizer: torch.optim.Optimizer, owner: type) -> bool:
    """Whether an object of type `owner` has attached its hooks to the optimizer."""
    return any(
        isinstance(hook.method.__self__, owner) for kind in KINDS for hook in _ours(optimizer, kind)
    )


def _ours(optimizer: torch.optim.Optimizer, kind: str) -> Iterator[_Hook]:
    hooks = getattr(optimizer, f"_optimizer_{kind}_hooks").values()
    return (hook for hook in hooks if isinstance(hook, _Hook))


def _state_with_hooks(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    state = type(optimizer).__getstate__(optimizer)
    for kind in KINDS:
        # PyTorch's keys are numbers, counted anew in each process: a name is in nobody's way.
        named = {f"kept {i}": hook for i, hook in enumerate(_ours(optimizer, kind))}
        state[f"_optimizer_{kind}_hooks"] = OrderedDict(named)
    state["__getstate__"] = partial(_state_with_hooks, optimizer)
    return state


def on_gradients(work: Callable[[], None], args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """For a step pre-hook of torch.optim: run `work` on the gradients that the step will see.

    Without a closure that is now. With one, which computes the gradients within the step, it is
    after the closure. `args`, `kwargs`: as the hook got them; returns what the hook returns.
    `work` finds gradients that are unscaled and laid out as their parameters are. It does not run
    where a GradScaler makes the step a void one.
    """
    optimizer, *rest = args
    if is_void(optimizer):
        return args, kwargs
    closure = rest[0] if rest else kwargs.get("closure")
    if closure is None:
        _settle(optimizer)
        work()
        return args, kwargs

    def closure_then_work():
        loss = closure()
        with torch.no_grad():
            _settle(optimizer)
            work()
        return loss

    return (optimizer,), {"closure": closure_then_work}


def is_void(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a GradScaler found gradients that are not finite, so that the step will do nothing.

    It calls fused optimizers all the same. Waits for the device, only under a GradScaler.
    """
    found_inf = getattr(optimizer, "found_inf", None)
    return found_inf is not None and bool(found_inf)


@torch.no_grad()
def _settle(optimizer: torch.optim.Optimizer) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    parameters = [p for p in parameters if p.grad is not None]
    _unscale(optimizer, [p.grad for p in parameters])
    for p in parameters:
        if p.grad.layout == torch.strided:
            _lay_out_alike(p, optimizer.state.get(p, {}))


def _unscale(optimizer: torch.optim.Optimizer, gradients: list[Tensor]) -> None:
    """Divide the gradients, dense or sparse, by the scale that a GradScaler left to the kernel.

    It does that with fused optimizers unless `unscale_` was called. Spikes and movement are about
    true gradients, so the division comes here, before the kernel. Raises ValueError for float16
    gradients, as `GradScaler.unscale_` does.
    """
    scale = getattr(optimizer, "grad_scale", None)
    if scale is None:
        return
    if any(gradient.dtype == torch.float16 for gradient in gradients):
        raise ValueError(
            "float16 gradients become zero when they are unscaled: keep the parameters in "
            "float32 and compute in float16 under torch.autocast"
        )
    for gradient in gradients:
        gradient.div_(scale.to(gradient.device))
    optimizer.grad_scale = None


def _lay_out_alike(p: torch.nn.Parameter, state: dict) -> None:
    """Give gradient and state the memory format of their parameter.

    Fused kernels walk through memory without a look at strides, so that after a change of the
    model's memory format, or with the state of a run in another one, they would update each weight
    by the gradient and the moments of others.
    """
    if p.grad.stride() != p.stride():
        p.grad = torch.empty_like(p).copy_(p.grad)
    for key, t in state.items():
        if torch.is_tensor(t) and t.shape == p.shape and t.stride() != p.stride():
            state[key] = torch.empty_like(p, dtype=t.dtype).copy_(t)
