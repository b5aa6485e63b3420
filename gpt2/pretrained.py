# SPDX-License-Identifier: MIT
"""GPT-2 weights as Hugging Face publishes them: a directory, a file, or a model on the hub.

    load_pretrained(model, "openai-community/gpt2")
    load_pretrained(model, "outputs/training/my-run/hf")

There the matrices of the four projections are (inputs, outputs); here, as everywhere in PyTorch,
they are (outputs, inputs). gpt2/export.py writes this form.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gpt2.model import GPT, SIZES, GPTConfig
from lib.errors import Failure
from lib.huggingface.weights import read

PROJECTIONS = re.compile(r"h\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight")
_NORMS = re.compile(r"(h\.\d+\.ln_[12]|ln_f)\.weight")
_BUFFERS = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")  # causal masks, in older files
_LAYER = re.compile(r"h\.(\d+)\.")
_SETTING = "GPT2_PRETRAINED"
_VOCABULARIES = {257: "bytes", 50257: "gpt2"}

# What a config.json may say of the network; other values are variants that are not offered here.
_ONLY = {
    "model_type": ("gpt2",),
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
    "tie_word_embeddings": (True,),
}


class Shape(NamedTuple):
    """What the weights of a GPT-2, and config.json beside them, say of it; 0 if nobody says."""

    layers: int
    heads: int
    width: int
    context: int
    vocabulary: int
    biases: bool

    def __str__(self) -> str:
        heads = f"{self.heads} heads, " if self.heads else ""
        return (
            f"a GPT-2 of {self.layers} layers, {heads}width {self.width}, {self.context} positions "
            f"and {self.vocabulary} tokens, with{'' if self.biases else 'out'} biases"
        )


def load_pretrained(model: GPT, source: str) -> None:
    """Copy the weights of `source` into `model`.

    The rows that pad the vocabulary stay as they are; position embeddings are cut to the block
    size. Into a model without biases go weights whose biases are zero. Raises Failure naming the
    settings, or the tensors, that differ, and then leaves `model` as it was.
    """
    weights, config = read_weights(source)
    _require_known(source, config)
    theirs, ours = _shape(source, weights, config), _shape_of(model.config)
    if theirs.biases and not ours.biases:
        weights = _without_zero_biases(weights)
        theirs = _shape(source, weights, config)
    if wrong := list(_differences(theirs, ours)):
        raise Failure(f"{_SETTING}: {source} is {theirs}; this model is {ours}: {', '.join(wrong)}")
    own, block, vocab = model.state_dict(), ours.context, ours.vocabulary
    if problems := sorted(own.keys() ^ weights.keys()):
        raise Failure(f"{_SETTING}: {source} is not quite a GPT-2: {_few(problems)} do not match")
    weights["wpe.weight"] = weights["wpe.weight"][:block]
    targets = {name: own[name][:vocab] if name == "wte.weight" else own[name] for name in weights}
    for name, weight in weights.items():
        if targets[name].shape != weight.shape:
            raise Failure(_wrong_shape(source, name, weight.shape, targets[name].shape))
    for name, weight in weights.items():
        targets[name].copy_(weight)


def read_weights(source: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(name → float32 tensor, named and laid out as in gpt2/model.py; config.json). Raises Failure.

    The configuration is empty if there is none beside the weights.
    """
    found, config = read(source, _SETTING)
    weights = {}
    for full_name, weight in found.items():
        name = full_name.removeprefix("transformer.")
        if name == "lm_head.weight" or _BUFFERS.fullmatch(name):
            continue  # tied to wte.weight; no weight of its own
        if not weight.is_floating_point():
            raise Failure(f"{_SETTING}: {source}: {name} is of {weight.dtype}, not a weight")
        matrix = weight.t() if PROJECTIONS.fullmatch(name) and weight.ndim == 2 else weight
        weights[name] = matrix.to(torch.float32)
    return weights, config


def published_form(weights: Mapping[str, Tensor], vocab_size: int) -> dict[str, Tensor]:
    """The reverse: weights of gpt2/model.py, named and laid out as the published ones.

    The projections become (inputs, outputs), and the token embedding loses its padding: it has
    `vocab_size` rows. The output projection is tied to it and is left out.
    """
    published = {}
    for name, weight in weights.items():
        matrix = weight.t() if PROJECTIONS.fullmatch(name) else weight
        published[name] = matrix[:vocab_size] if name == "wte.weight" else matrix
    return published


def with_biases(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`published`, with a bias of zeros wherever a projection or a norm has none."""
    weights = dict(published)
    for name, weight in published.items():
        if PROJECTIONS.fullmatch(name) or _NORMS.fullmatch(name):
            bias = f"{name.removesuffix('weight')}bias"
            weights.setdefault(bias, weight.new_zeros(weight.shape[-1]))
    return weights


def _require_known(source: str, config: Mapping[str, Any]) -> None:
    odd = [
        f"{k}={config[k]!r}"
        for k, allowed in _ONLY.items()
        if config.get(k, allowed[0]) not in allowed
    ]
    inner, width = config.get("n_inner"), config.get("n_embd")
    if inner is not None and width is not None and inner != 4 * width:
        odd.append(f"n_inner={inner}")
    if odd:
        raise Failure(
            f"{_SETTING}: config.json of {source} says {', '.join(odd)}: a variant of GPT-2 that "
            "is not offered here"
        )


def _shape(source: str, weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> Shape:
    tokens, positions = weights.get("wte.weight"), weights.get("wpe.weight")
    layers = {match[1] for name in weights if (match := _LAYER.match(name))}
    if tokens is None or positions is None or tokens.ndim != 2 or not layers:
        names = _few(sorted(weights)) or "none"
        raise Failure(f"{_SETTING}: {source} is not a GPT-2; its tensors are {names}")
    return Shape(
        len(layers),
        config["n_head"] if type(config.get("n_head")) is int else 0,
        tokens.shape[1],
        positions.shape[0],
        tokens.shape[0],
        any(name.endswith(".bias") for name in weights),
    )


def _shape_of(config: GPTConfig) -> Shape:
    return Shape(
        config.n_layer,
        config.n_head,
        config.n_embd,
        config.block_size,
        config.vocab_size,
        config.bias,
    )


def _differences(theirs: Shape, ours: Shape) -> Iterator[str]:
    """What to do so that our model has the shape of theirs; nothing if it has it.

    Our context may be shorter. Weights do not say the number of heads, which is 64 wide in all
    published models.
    """
    form = (theirs.layers, theirs.heads or ours.heads, theirs.width)
    if form != (ours.layers, ours.heads, ours.width):
        yield _size_flags(theirs.layers, theirs.heads or max(1, theirs.width // 64), theirs.width)
    if theirs.context < ours.context:
        yield f"set --gpt2-block-size {theirs.context} or less"
    if theirs.biases != ours.biases:
        yield f"set --{'' if theirs.biases else 'no-'}gpt2-bias"
    if theirs.vocabulary != ours.vocabulary:
        tokenizer = _VOCABULARIES.get(theirs.vocabulary)
        yield (
            f"set --tokenizer {tokenizer}"
            if tokenizer
            else f"no tokenizer here has {theirs.vocabulary} tokens"
        )


def _size_flags(layers: int, heads: int, width: int) -> str:
    for size, form in SIZES.items():
        if form == (layers, heads, width):
            return f"set --gpt2-size {size}"
    return (
        f"set --gpt2-size free --gpt2-n-layer {layers} --gpt2-n-head {heads} --gpt2-n-embd {width}"
    )


def _without_zero_biases(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`weights` without their biases if all of these are zero; else all of them."""
    biases = {name for name in weights if name.endswith(".bias")}
    if any(bool(weights[name].any()) for name in biases):
        return dict(weights)
    return {name: weight for name, weight in weights.items() if name not in biases}


def _wrong_shape(source: str, name: str, found: torch.Size, wanted: torch.Size) -> str:
    if PROJECTIONS.fullmatch(name) and found == wanted[::-1]:
        return (
            f"{_SETTING}: {source}: {name} is stored as (outputs, inputs). Hugging Face stores the "
            "projections of GPT-2 as (inputs, outputs), and so does `make export`: transpose them"
        )
    return f"{_SETTING}: {source}: {name} is {tuple(found)}, this model's is {tuple(wanted)}"


def _few(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
