# SPDX-License-Identifier: MIT
"""Optimizer hooks that see the gradients just before they are used, and survive copies."""

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
    """A bound method as a hook that can be copied and pickled, and that torch.compile skips.

    If it were traced, what a hook changes at each step (step counts, learning rates) would become
    constants in the compiled graph.
    """

    def __init__(self, method: MethodType):
        self.method = method
        self.untraced = torch.compiler.disable(method)

    def __call__(self, *args: Any) -> Any:
        return self.untraced(*args)

    def __reduce__(self) -> tuple:
        return _Hook, (self.method,)


def attach_hooks(optimizer: torch.optim.Optimizer, **hooks: MethodType) -> None:
    """Register hooks by kind, one of KINDS, in such a way that copies and pickles keep them.

    PyTorch drops hooks from both, and a copy would silently train on without pruning.
    """
    for kind, method in hooks.items():
        getattr(optimizer, f"register_{kind}_hook")(_Hook(method))
    # copy and pickle look on the object first, so this works for any optimizer class.
    optimizer.__getstate__ = partial(_state_with_hooks, optimizer)


def attached(optimizer: torch.optim.Optimizer, owner: type) -> bool:
    """Whether an object of type `owner` has hooks on the optimizer."""
    return any(
        isinstance(hook.method.__self__, owner) for kind in KINDS for hook in _ours(optimizer, kind)
    )


def _ours(optimizer: torch.optim.Optimizer, kind: str) -> Iterator[_Hook]:
    hooks = getattr(optimizer, f"_optimizer_{kind}_hooks").values()
    return (hook for hook in hooks if isinstance(hook, _Hook))


def _state_with_hooks(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    state = type(optimizer).__getstate__(optimizer)
    for kind in KINDS:
        # PyTorch's keys are numbers that start over in each process, so a number could be replaced
        # by a later hook.
        named = {f"kept {i}": hook for i, hook in enumerate(_ours(optimizer, kind))}
        state[f"_optimizer_{kind}_hooks"] = OrderedDict(named)
    state["__getstate__"] = partial(_state_with_hooks, optimizer)
    return state


def on_gradients(work: Callable[[], None], args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Run `work` on the gradients that a step will use; to be called in a step pre-hook.

    `work` runs at once or, when the step has a closure, after it. The gradients are then unscaled
    and in the memory format of their parameters. `work` does not run in a step that a GradScaler
    voids. args, kwargs: as the hook got them; the result is what the hook has to return.
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
    """Whether a GradScaler found gradients that are not finite, so that the step does nothing.

    It calls fused optimizers even then. Waits for the device, under a GradScaler only.
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

    Unless `unscale_` was called, it leaves the division to the kernel of a fused optimizer. Spikes
    and movement are judged on unscaled gradients, so the division has to come before. Raises
    ValueError for float16 gradients, as `GradScaler.unscale_` does.
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

    Fused kernels ignore strides: after a change of the model's memory format, or with state that
    was saved in another one, they would update a weight with the gradient and moments of others.
    """
    if p.grad.stride() != p.stride():
        p.grad = torch.empty_like(p).copy_(p.grad)
    for key, t in state.items():
        if torch.is_tensor(t) and t.shape == p.shape and t.stride() != p.stride():
            state[key] = torch.empty_like(p, dtype=t.dtype).copy_(t)
