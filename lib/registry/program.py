# SPDX-License-Identifier: MIT
"""A trained network as a program for others: plain inputs in, logits out, nothing of ours needed.

<model>/export.py has a function `program` (settings, run, weights) → Program, by `of_images` or
`of_tokens`. lib/registry/package.py stores it as an MLflow model. Imports torch.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data.images.from_settings import SOURCES
from ..data.images.normalization import Normalization
from ..data.images.small_sets import InOneFile
from ..errors import Failure
from ..runs.stored import StoredRun
from ..train.classification import CLASSES

ANY = -1  # a dimension whose size is left open


@dataclass(frozen=True)
class Program:
    """`module` maps one tensor to logits; `example` is an input of two rows.

    `inputs` and `outputs` are shapes, with ANY. `about` is what one needs to use it, as plain
    values: what goes in and comes out, and the names of the classes or of the tokenizer.
    """

    module: nn.Module
    example: np.ndarray
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    about: dict[str, Any]


class Pixels(nn.Module):
    """A network behind its normalisation: images with values in [0, 1] to logits."""

    def __init__(self, network: nn.Module, normalize: Normalization) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(normalize.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(normalize.std).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images - self.mean) / self.std)


def of_images(
    build: Callable[[int], nn.Module],
    weights: Mapping[str, Tensor],
    settings: Any,
    run: StoredRun,
    channels: int,
) -> Program:
    """Images, float32 [n, channels, size, size] with values in [0, 1], to logits [n, classes].

    `build` makes the network for a number of classes. Raises Failure when the run does not say what
    is needed, or `weights` are of another network.
    """
    classes, size = count_in(run, "classes"), settings.IMAGE_SIZE
    network = Pixels(_with_weights(build(classes), weights, run), _normalization(run, channels))
    shape = (2, channels, size, size)
    pixels = np.arange(math.prod(shape), dtype=np.float32).reshape(shape) % 17 / 16
    source = SOURCES[settings.DATASET]
    about = {
        "kind": "images",
        "input": f"{'grey' if channels == 1 else 'RGB'} images, values from 0 to 1",
        "output": "logits: their softmax are the probabilities of the classes",
        "classes": _class_names(run, classes),
        # How evaluation brought an image to this size: border added, or middle cut out.
        "border": source.of.pad if isinstance(source, InOneFile) else None,
    }
    inputs = (ANY, channels, size, size)
    return Program(_still(network), pixels, inputs, (ANY, classes), about)


def of_tokens(
    network: nn.Module,
    weights: Mapping[str, Tensor],
    run: StoredRun,
    longest: int,
    tokenizer: str,
) -> Program:
    """Token ids, int64 [n, length ≤ longest], to logits [n, length, vocabulary]; errors as above.

    Computes in float32, whatever the precision of the training.
    """
    vocab_size = count_in(run, "vocab_size")
    example = np.arange(2 * min(8, longest), dtype=np.int64).reshape(2, -1) % vocab_size
    about = {
        "kind": "tokens",
        "input": f"token ids of up to {longest} tokens",
        "output": "logits of the token that follows each one",
        "tokenizer": tokenizer,
        "longest": longest,
    }
    module = _still(_with_weights(network, weights, run))
    return Program(module, example, (ANY, ANY), (ANY, ANY, vocab_size), about)


def count_in(run: StoredRun, name: str) -> int:
    """A number that the `model` part of metadata.yaml has. Raises Failure without it."""
    count = run.part("model").get(name)
    if type(count) is not int or count < 1:
        raise Failure(f"{run.dir}/metadata.yaml does not say its model.{name}")
    return count


def _with_weights(network: nn.Module, weights: Mapping[str, Tensor], run: StoredRun) -> nn.Module:
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise Failure(
            f"the checkpoint is not of the network that {run.dir}/.config describes: "
            f"{str(error).splitlines()[-1].strip()}"
        ) from error
    return network


def _still(module: nn.Module) -> nn.Module:
    """In evaluation mode, and without gradients."""
    return module.eval().requires_grad_(False)


def _normalization(run: StoredRun, channels: int) -> Normalization:
    found = run.part("dataset").get("normalization")
    try:
        normalize = Normalization(tuple(found["mean"]), tuple(found["std"]))
    except (TypeError, KeyError) as error:
        raise Failure(f"{run.dir}/metadata.yaml lacks dataset.normalization") from error
    if len(normalize.mean) != channels or len(normalize.std) != channels:
        raise Failure(f"{run.dir}/metadata.yaml: dataset.normalization is not of {channels} values")
    return normalize


def _class_names(run: StoredRun, count: int) -> list[str]:
    """Numbers when the run has no names."""
    try:
        names = json.loads((run.dir / CLASSES).read_bytes())
    except (OSError, ValueError):
        names = None
    if not isinstance(names, list) or len(names) != count:
        return [str(number) for number in range(count)]
    return [str(name) for name in names]
