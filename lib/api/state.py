# SPDX-License-Identifier: MIT
"""What a checkpoint of a loop holds: the states of its parts, and of Python's and NumPy's random
number generators, all of it loadable with weights_only=True."""

import copy
import io
import pickle
import random
from collections.abc import Mapping
from typing import Any

import numpy
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import BadUse
from ..train.runtime import Runtime


def bare(part: Any) -> Any:
    """A module without what DistributedDataParallel and torch.compile put around it."""
    while isinstance(part, nn.Module):  # in either order
        if isinstance(part, DistributedDataParallel):
            part = part.module
        elif hasattr(part, "_orig_mod"):
            part = part._orig_mod
        else:
            break
    return part


def state_of(name: str, part: Any) -> Any:
    """The state_dict of the part `name`. Raises BadUse without one, and for a sharded model."""
    if not (hasattr(part, "state_dict") and hasattr(part, "load_state_dict")):
        raise BadUse(
            f"{name} is {type(part).__name__}, without state_dict and load_state_dict: give plain "
            f"values as extra={{{name!r}: …}}"
        )
    state = bare(part).state_dict()
    if isinstance(part, nn.Module) and any(hasattr(p, "full_tensor") for p in part.parameters()):
        raise BadUse(
            f"{name} is sharded over the ranks: use torch.distributed.checkpoint, or give "
            "the state_dict that get_model_state_dict gathers"
        )
    return state


def check_loadable(contents: Mapping[str, Any]) -> None:
    """Raise BadUse naming what torch.load(weights_only=True) would refuse."""
    for name, value in contents.items():
        buffer = io.BytesIO()
        try:
            torch.save(_without_tensors(value), buffer)
            buffer.seek(0)
            torch.load(buffer, weights_only=True)
        except (pickle.PickleError, AttributeError, TypeError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise BadUse(
                f"{name} holds more than tensors and plain values and could not be loaded again: "
                f"{reason}"
            ) from None


def _without_tensors(value: Any) -> Any:
    if torch.is_tensor(value):
        return None
    if isinstance(value, dict):
        made = copy.copy(value)  # of its own type, which may be one that is refused
        for key, item in value.items():
            made[key] = _without_tensors(item)
        return made
    if type(value) in (list, tuple):
        return [_without_tensors(item) for item in value]
    return value


def generators(runtime: Runtime) -> list[dict[str, Any]]:
    """For each rank the state of the generators of Python and NumPy, as plain values."""
    kind, keys, position, has_gauss, gauss = numpy.random.get_state()
    words = torch.from_numpy(keys.astype(numpy.int64))
    own = {
        "python": random.getstate(),
        "numpy": (str(kind), words, int(position), int(has_gauss), float(gauss)),
    }
    if runtime.world_size == 1:
        return [own]
    of_ranks: list[Any] = [None] * runtime.world_size
    dist.all_gather_object(of_ranks, own)
    return of_ranks


def restore_generators(own: Mapping[str, Any]) -> None:
    """Set them to the state that `generators` found for this rank."""
    version, state, gauss = own["python"]
    random.setstate((version, tuple(state), gauss))
    kind, words, *rest = own["numpy"]
    numpy.random.set_state((kind, words.numpy().astype(numpy.uint32), *rest))
