# SPDX-License-Identifier: MIT
"""A model spread over several processes, the ranks of a group (lib/train/group.py).

    trained = replicate(model, runtime)          # or shard(model, model.h, runtime)
    with reduce_gradients(trained, is_last_micro_step):
        loss.backward()

For a single process everything here does nothing, so that a training loop needs no `if`. The ranks'
CPUs agree on stopping and on running out of memory by gloo, which takes a fraction of a
millisecond and never waits for a GPU.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.nn.parallel import DistributedDataParallel

from .runtime import Runtime


def replicate(model: nn.Module, runtime: Runtime) -> nn.Module:
    """`model` on every rank; gradients are averaged while the backward pass runs."""
    if runtime.world_size == 1:
        return model
    # PyTorch warns of weights with a dimension of size 1, whose strides are ambiguous.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    devices = [runtime.device.index] if runtime.device.type == "cuda" else None
    # Running statistics are averaged after each update (`average_buffers`). Broadcast in each
    # forward pass, they would be those of rank 0's share alone.
    return DistributedDataParallel(
        model, device_ids=devices, gradient_as_bucket_view=True, forward_sync_buffers=False
    )


def shard(
    model: nn.Module, blocks: Iterable[nn.Module], runtime: Runtime, methods: Iterable[str] = ()
) -> nn.Module:
    """Spread parameters, gradients and optimizer state over the ranks (FSDP2), in place.

    Each of `blocks` is gathered while it computes; the remaining parameters form a block of their
    own. `methods` of the model gather parameters as its forward does. Weights are communicated in
    the precision of the run, gradients in float32. Needs a process group. Create the optimizer
    afterwards, from the sharded parameters.
    """
    policy = MixedPrecisionPolicy(
        param_dtype=getattr(torch, runtime.precision), reduce_dtype=torch.float32
    )
    mesh = dist.device_mesh.init_device_mesh(runtime.device.type, (runtime.world_size,))
    for block in blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    for method in methods:
        register_fsdp_forward_method(model, method)
    return model


def reduce_gradients(model: nn.Module, enabled: bool) -> AbstractContextManager:
    """Within it a backward pass averages the gradients over the ranks only if `enabled`.

    Gradient accumulation sums on each rank and reduces once, at the last micro-step.
    """
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(enabled)
    elif isinstance(model, DistributedDataParallel) and not enabled:
        return model.no_sync()
    return nullcontext()


def any_rank(flag: int) -> int:
    """The largest `flag` of all ranks, so true if that of any rank is; all ranks must call."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return flag
    votes = torch.tensor([int(flag)])
    dist.all_reduce(votes, op=dist.ReduceOp.MAX)
    return int(votes.item())


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean of each rank's `value`; all ranks must call."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return value
    return sum_over_ranks(value) / dist.get_world_size()


def sum_over_ranks(value: Tensor) -> Tensor:
    """The sum of each rank's `value`; all ranks must call."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return value
    value = value.clone()
    dist.all_reduce(value)
    return value


@torch.no_grad()
def average_buffers(model: nn.Module) -> None:
    """Give the floating-point buffers of `model` their mean over the ranks; all ranks must call.

    Called after each update, so that running statistics come from the examples of all ranks and
    depend on nothing but the steps made, whenever they are evaluated or saved. Buffers that are
    equal on all ranks stay as they are to the last bit: the mean is taken in float64.
    """
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return
    buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    if not buffers:
        return
    means = torch.cat([buffer.flatten() for buffer in buffers]).double()
    dist.all_reduce(means)
    parts = (means / dist.get_world_size()).split([buffer.numel() for buffer in buffers])
    shaped = [part.view_as(buffer) for part, buffer in zip(parts, buffers, strict=True)]
    torch._foreach_copy_(buffers, shaped)


def whole(value: Tensor) -> Tensor:
    """A plain tensor from one that may be sharded, as a gradient norm is; all ranks must call."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def local_part(value: Tensor) -> Tensor:
    """What this rank holds of a tensor that may be sharded."""
    return value.to_local() if hasattr(value, "to_local") else value


def is_sharded(model: nn.Module) -> bool:
    """Whether `shard` has spread it over the ranks."""
    return isinstance(model, FSDPModule)


def full_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """State dicts of an optimizer and its model, which may be replicated and is not sharded."""
    bare = model.module if isinstance(model, DistributedDataParallel) else model
    return {
        "model_state_dict": bare.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
    }


def load_full_state(
    model: nn.Module, optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]
) -> None:
    """Load what `full_state` returned.

    Raises ValueError, KeyError or RuntimeError when the state is of another model or optimizer.
    """
    bare = model.module if isinstance(model, DistributedDataParallel) else model
    bare.load_state_dict(saved["model_state_dict"])
    optimizer.load_state_dict(saved["optimizer_state_dict"])


@contextmanager
def own_options(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Within it a state is loaded; weight decay and kernels stay as they are configured here."""
    own = [{k: group[k] for k in _CONFIGURED if k in group} for group in optimizer.param_groups]
    yield
    for group, options in zip(optimizer.param_groups, own, strict=True):
        group.update(options)


_CONFIGURED = ("weight_decay", "fused", "foreach")
