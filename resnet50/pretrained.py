# SPDX-License-Identifier: MIT
"""ResNet weights from a local file or an exported run, named as torchvision names them.

    remark = load_pretrained(model, "~/resnet50-11ad3fa6.pth")

Published weights are .pth files of torch.save; .safetensors files hold the same tensors. Those of a
training program lie under "state_dict", and their names may begin with "module.".
"""

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lib.errors import Failure
from resnet50.model import STAGES

_UNREADABLE = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    SafetensorError,
)


class Network(NamedTuple):
    """What the names and shapes of its weights say about a residual network."""

    depth: int
    width: int
    stem: str
    classes: int

    def __str__(self) -> str:
        return f"a ResNet-{self.depth} of width {self.width} with the {self.stem} stem"


def load_pretrained(model: nn.Module, source: str) -> str:
    """Copy the weights in the file `source` into `model`, a ResNet on any device.

    If it has another number of classes, the last layer of `model` stays new. Returns what was done,
    for the run's log. Raises Failure when the weights cannot be read or are those of another
    network, and then leaves `model` as it was.
    """
    own = _without_counters(model.state_dict())
    weights = _without_counters(read_weights(source))
    theirs, ours = recognise(weights), recognise(own)
    if theirs is None or ours is None:
        raise Failure(
            f"RESNET_PRETRAINED: {source} has no weights of a ResNet under torchvision's names; "
            f"its tensors are {_few(sorted(weights))}"
        )
    if wrong := _differences(theirs, ours):
        raise Failure(
            f"RESNET_PRETRAINED: {source} is {theirs}, this model is {ours}: set {wrong}, or "
            "choose another file"
        )
    if theirs.classes != ours.classes:
        for name in ("fc.weight", "fc.bias"):
            del own[name]
            weights.pop(name, None)
    _require_same_tensors(source, weights, own)
    for name, weight in weights.items():
        own[name].copy_(weight)
    done = f"pretrained weights from {source}: {theirs}"
    if theirs.classes != ours.classes:
        done += (
            f". Its last layer is for {theirs.classes} classes, the data have {ours.classes}: that "
            "layer starts from random weights"
        )
    return done


def read_weights(source: str) -> dict[str, Tensor]:
    """Name → tensor of a .pth or .safetensors file, or of an exported run. Raises Failure."""
    path = Path(source).expanduser()
    if path.is_dir():
        path /= "model.safetensors"  # of a run: what `make export` writes there
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Failure(
            f"RESNET_PRETRAINED: cannot read {source} as a .pth file of weights or a .safetensors "
            f"file: {reason}"
        ) from error
    if isinstance(found, Mapping):
        found = found.get("state_dict", found)
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) for v in found.values()):
        raise Failure(
            f"RESNET_PRETRAINED: {source} is no table of weights. To start from a run or a "
            "checkpoint of one, set INIT_FROM instead"
        )
    return {str(name).removeprefix("module."): tensor for name, tensor in found.items()}


def recognise(weights: Mapping[str, Tensor]) -> Network | None:
    """The network that has these weights; None if it is not a residual one."""
    first, last = weights.get("conv1.weight"), weights.get("fc.weight")
    blocks: dict[str, set[str]] = {}
    for name in weights:
        if match := re.match(r"(layer\d)\.(\d+)\.conv\d\.weight$", name):
            blocks.setdefault(match[1], set()).add(match[2])
    if first is None or last is None or first.ndim != 4 or last.ndim != 2 or not blocks:
        return None
    convolutions = 3 if "layer1.0.conv3.weight" in weights else 2
    depth = 2 + convolutions * sum(map(len, blocks.values()))  # and the first and last layer
    stem = {3: "cifar", 7: "imagenet"}.get(first.shape[2], f"{first.shape[2]} × {first.shape[2]}")
    return Network(depth, first.shape[0], stem, last.shape[0])


def _differences(theirs: Network, ours: Network) -> str:
    """The assignments that would give our model their form; "" if it has that."""
    if theirs.depth not in STAGES:
        depths = ", ".join(map(str, STAGES))
        return f"RESNET_DEPTH to one of {depths} and take weights of that depth"
    wrong = []
    for field in ("depth", "width", "stem"):
        theirs_is, ours_is = getattr(theirs, field), getattr(ours, field)
        if theirs_is != ours_is:
            wrong.append(f"RESNET_{field.upper()}={theirs_is}")
    return " ".join(wrong)


def _require_same_tensors(
    source: str, weights: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> None:
    if odd := sorted(own.keys() ^ weights.keys()):
        raise Failure(
            f"RESNET_PRETRAINED: {source} is not quite this network: {_few(odd)} do not match"
        )
    for name, weight in weights.items():
        if not weight.is_floating_point():
            raise Failure(f"RESNET_PRETRAINED: {source}: {name} is of {weight.dtype}, no weight")
        if weight.shape != own[name].shape:
            raise Failure(
                f"RESNET_PRETRAINED: {source} is a variant that is not offered here: {name} is "
                f"{tuple(weight.shape)}, this model's is {tuple(own[name].shape)}"
            )


def _without_counters(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Older files lack the number of batches that a norm has seen, and nothing depends on it."""
    return {k: v for k, v in weights.items() if not k.endswith(".num_batches_tracked")}


def _few(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
