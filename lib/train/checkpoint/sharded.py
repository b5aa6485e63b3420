# SPDX-License-Identifier: MIT
"""Checkpoints of a sharded training: a directory into which each rank writes its part.

    save(run.dir / "checkpoints" / "step_00000120", model, optimizer, {"step": 120, …})
    plain = load(folder, model, optimizer)      # on any number of ranks, also one
    state = load_whole(folder)                  # whole tensors, as in the file of other trainings

`step_00000120/` consists of shard-….safetensors, one a rank, with the tensors of model and
optimizer in the sharded format of torch.distributed.checkpoint; state.pt with all else (file.py);
and manifest.json with the SHA-256 of each of these. Loading them cannot run code: the pickles in
which torch.distributed.checkpoint keeps metadata otherwise are neither written nor read.
"""

import math
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import checkpoint as dcp
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.tensor import DTensor

from . import file, manifest
from .digest import CheckpointError
from .folder import new_temporary, put_in_place
from .hashed_files import HashedFiles
from .together import on_all_ranks, on_rank_0

_STATE = "state.pt"
_LAYOUT = "layout"  # in state.pt: what puts the tensors in their places


def save(
    folder: str | Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    plain: Mapping[str, Any],
    *,
    metrics: Mapping[str, float] | None = None,
    best: bool = False,
) -> None:
    """Write the states of both, and the `plain` values of rank 0, as the directory `folder`.

    `metrics` and `best` are for the manifest. All ranks must call. Whenever processes or machines
    stop, `folder` is whole or does not exist. A rank needs CPU memory for twice its part. Raises
    CheckpointError on all ranks, with the checkpoints as they were, when one of them cannot write.
    """
    folder, failed = Path(folder), f"cannot write {folder}"
    temporary = on_rank_0(failed, lambda: new_temporary(folder))
    try:
        tensors, layout = _split(model, optimizer)
        writer = HuggingFaceStorageWriter(str(temporary), save_distributed=True)
        writer.fs = HashedFiles()
        with _of_any_rank(failed):
            dcp.save(tensors, storage_writer=writer)
        files = {}
        for of_rank in on_all_ranks(failed, lambda: writer.fs.written):
            files |= of_rank
        state = {**plain, _LAYOUT: layout}
        contents = manifest.Manifest(files, metrics or {}, best)
        on_rank_0(failed, lambda: _complete(temporary, folder, state, contents))
    except BaseException:
        if dist.get_rank() == 0:
            shutil.rmtree(temporary, ignore_errors=True)
        raise


def nbytes(model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """The size of all tensors that `save` writes, on all ranks together."""
    states = [model.state_dict(), *optimizer.state.values()]
    tensors = [value for state in states for value in state.values() if torch.is_tensor(value)]
    return sum(tensor.numel() * tensor.itemsize for tensor in tensors)


def load(folder: str | Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Put the saved states into `model` and `optimizer`; returns the `plain` values.

    All ranks must call, if there are several; each reads what it needs. Raises CheckpointError on
    all of them, with nothing changed, when the checkpoint is damaged or of another model.
    """
    folder = Path(folder)
    state = _verified_state(folder, alone=False)
    layout = state.pop(_LAYOUT)
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    parameters = _parameters(model, optimizer)
    stored = _stored_tensors(folder)
    _check_same_model(folder, weights, stored, list(parameters), layout["parameters"])
    targets = dict(weights)
    for full_key in stored.keys() - weights.keys():
        parameter = parameters[full_key.split(".", 2)[2]]
        entry, is_sharded = stored[full_key], full_key in layout["sharded"]
        targets[full_key] = (
            torch.zeros_like(parameter, dtype=entry.properties.dtype)
            if is_sharded
            else torch.zeros(entry.size, dtype=entry.properties.dtype)
        )
    _read(folder, targets, alone=not dist.is_initialized())
    optimizer.load_state_dict(_optimizer_state(layout, targets))
    return state


def load_whole(folder: str | Path, map_location: str | torch.device = "cpu") -> dict[str, Any]:
    """The plain values, "model_state_dict" and "optimizer_state_dict", as one file holds them.

    The optimizer's state is by index. For a single process, which needs no group. Raises
    CheckpointError when the checkpoint is damaged.
    """
    folder = Path(folder)
    state = _verified_state(folder, alone=True)
    layout = state.pop(_LAYOUT)
    targets = {
        key: torch.zeros(entry.size, dtype=entry.properties.dtype, device=map_location)
        for key, entry in _stored_tensors(folder).items()
    }
    _read(folder, targets, alone=True)
    return {
        **state,
        "model_state_dict": {name: targets[f"model.{name}"] for name in layout["weights"]},
        "optimizer_state_dict": _optimizer_state(layout, targets),
    }


def load_plain(folder: str | Path) -> dict[str, Any]:
    """The plain values alone; the tensors are not looked at. Raises CheckpointError."""
    state = _state(Path(folder))
    del state[_LAYOUT]
    return state


def _verified_state(folder: Path, *, alone: bool) -> dict[str, Any]:
    """What is not a tensor, after a check of all files, which the ranks share unless `alone`."""
    shared = dist.is_initialized() and not alone
    part, parts = (dist.get_rank(), dist.get_world_size()) if shared else (0, 1)

    def verify() -> None:
        try:
            manifest.verify(folder, part, parts)
        except OSError as error:
            raise CheckpointError(f"cannot read checkpoint {folder}: {error.strerror}") from error

    if shared:
        on_all_ranks("", verify)
    else:
        verify()
    return _state(folder)


def _state(folder: Path) -> dict[str, Any]:
    state = file.load(folder / _STATE)
    if _LAYOUT not in state:
        raise CheckpointError(f"checkpoint {folder} cannot be loaded: {_STATE} lacks {_LAYOUT}")
    return state


# ---------------------------------------------------------------- the states as named tensors


def _split(
    model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, layout). Their keys: model.NAME, and optimizer.KEY.NAME for KEY of a parameter."""
    weights = model.state_dict()  # shards again what the last forward pass has gathered
    names = list(_parameters(model, optimizer))
    saved = optimizer.state_dict()
    tensors = {f"model.{name}": weight for name, weight in weights.items()}
    values: dict[int, dict[str, Any]] = {}
    for i, of_parameter in saved["state"].items():
        values[i] = {key: v for key, v in of_parameter.items() if not torch.is_tensor(v)}
        tensors |= {
            f"optimizer.{key}.{names[i]}": v
            for key, v in of_parameter.items()
            if torch.is_tensor(v)
        }
    return tensors, {
        "weights": list(weights),
        "parameters": names,
        "sharded": [key for key, tensor in tensors.items() if isinstance(tensor, DTensor)],
        "values": values,
        "rest": {key: value for key, value in saved.items() if key != "state"},
    }


def _optimizer_state(layout: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What the optimizer's state_dict() returned, with `tensors` in it."""
    indices = {name: i for i, name in enumerate(layout["parameters"])}
    state = {i: dict(values) for i, values in layout["values"].items()}
    for full_key, tensor in tensors.items():
        if full_key.startswith("optimizer."):
            _, key, name = full_key.split(".", 2)
            state[indices[name]][key] = tensor
    return {"state": state, **layout["rest"]}


def _parameters(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, nn.Parameter]:
    """The parameters of the optimizer by name, in the order of their indices in its state."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[p]: p for group in optimizer.param_groups for p in group["params"]}


# ---------------------------------------------------------------- files


def _complete(
    temporary: Path, folder: Path, state: Mapping[str, Any], contents: manifest.Manifest
) -> None:
    """Add what rank 0 writes to what the ranks have written, and give it its name."""
    file.save(temporary / _STATE, state)
    files = {**contents.files, _STATE: manifest.describe(temporary / _STATE)}
    manifest.write(temporary, replace(contents, files=files))
    put_in_place(temporary, folder)


def _stored_tensors(folder: Path) -> dict[str, TensorStorageMetadata]:
    """Shape, dtype and parts of each tensor. Raises CheckpointError when a part lacks."""
    try:
        stored = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    except Exception as error:  # as many kinds as there are ways of not being such a file
        raise CheckpointError(f"checkpoint {folder} cannot be loaded: {error!r}") from error
    for key, entry in stored.items():
        if sum(math.prod(chunk.sizes) for chunk in entry.chunks) != math.prod(entry.size):
            raise CheckpointError(f"checkpoint {folder} is damaged: it lacks a part of {key}")
    return stored


def _read(folder: Path, targets: dict[str, Tensor], *, alone: bool) -> None:
    """Fill `targets`. All ranks must call unless `alone`."""
    reader = HuggingFaceStorageReader(str(folder))
    with _of_any_rank(f"cannot read checkpoint {folder}"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        dcp.load(targets, storage_reader=reader, no_dist=alone)


def _check_same_model(
    folder: Path,
    weights: Mapping[str, Tensor],
    stored: Mapping[str, TensorStorageMetadata],
    parameters: list[str],
    stored_parameters: list[str],
) -> None:
    theirs = {
        key: (tuple(entry.size), entry.properties.dtype)
        for key, entry in stored.items()
        if key.startswith("model.")
    }
    ours = {key: (tuple(tensor.shape), tensor.dtype) for key, tensor in weights.items()}
    if ours == theirs and parameters == stored_parameters:
        return
    differ = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
    what = differ[0].removeprefix("model.") if differ else "the order of the parameters"
    raise CheckpointError(
        f"checkpoint {folder} is of another model: {what} differs"
        + (f", and {len(differ) - 1} more" if len(differ) > 1 else "")
    )


@contextmanager
def _of_any_rank(what: str) -> Iterator[None]:
    """Within it the failure of a rank, which PyTorch tells all of them, becomes CheckpointError."""
    try:
        yield
    except CheckpointException as failed:
        rank, (error, _) = min(failed.failures.items())
        if not isinstance(error, Exception):
            raise
        reason = error.strerror if isinstance(error, OSError) else repr(error)
        raise CheckpointError(f"{what}: rank {rank}: {reason}") from failed
