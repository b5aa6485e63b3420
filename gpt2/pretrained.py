# SPDX-License-Identifier: MIT
"""GPT-2 weights as Hugging Face publishes them: a local model.safetensors, or a model on the hub.

    load_pretrained(model, "openai-community/gpt2")
    load_pretrained(model, "/data/gpt2/model.safetensors")

There the matrices of the four projections are (inputs, outputs); here, as everywhere in PyTorch,
they are (outputs, inputs). gpt2/export.py writes this form.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from gpt2.model import GPT
from lib.errors import Failure

PROJECTIONS = re.compile(r"h\.\d+\.(attn\.c_attn|attn\.c_proj|mlp\.c_fc|mlp\.c_proj)\.weight")
_BUFFERS = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")  # causal masks, in older files


def load_pretrained(model: GPT, source: str) -> None:
    """Copy the weights of `source` into `model`.

    The vocabulary may be smaller than the padded one; position embeddings are cut to the block
    size. Raises Failure naming the tensors that are missing, left over, or of another shape, and
    then leaves `model` as it was.
    """
    weights = read_weights(source)
    own = model.state_dict()
    if problems := sorted(own.keys() ^ weights.keys()):
        raise Failure(f"{source} is not a GPT-2 of this size: {_few(problems)} do not match")
    if weights["wpe.weight"].shape[0] >= model.config.block_size:
        weights["wpe.weight"] = weights["wpe.weight"][: model.config.block_size]
    vocab = model.config.vocab_size
    targets = {name: own[name][:vocab] if name == "wte.weight" else own[name] for name in weights}
    for name, weight in weights.items():
        if targets[name].shape != weight.shape:
            raise Failure(_wrong_shape(source, name, weight.shape, targets[name].shape))
    for name, weight in weights.items():
        targets[name].copy_(weight)


def _wrong_shape(source: str, name: str, found: torch.Size, wanted: torch.Size) -> str:
    if PROJECTIONS.fullmatch(name) and found == wanted[::-1]:
        return (
            f"{source}: {name} is stored as (outputs, inputs). Hugging Face stores the projections "
            "of GPT-2 as (inputs, outputs), and so does `make export FORMAT=dense`: transpose them"
        )
    return (
        f"{source}: {name} is {tuple(found)}, this model's is {tuple(wanted)}: choose the "
        "GPT2_SIZE, GPT2_BLOCK_SIZE and TOKENIZER of the pretrained model"
    )


def read_weights(source: str) -> dict[str, Tensor]:
    """Name → float32 tensor, named and laid out as in gpt2/model.py. Raises Failure."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(_local(source))
    except (OSError, SafetensorError) as error:
        raise Failure(f"cannot read pretrained weights from {source}: {error}") from error
    weights = {}
    for full_name, weight in found.items():
        name = full_name.removeprefix("transformer.")
        if name == "lm_head.weight" or _BUFFERS.fullmatch(name):
            continue  # tied to wte.weight; no weight of its own
        matrix = weight.t() if PROJECTIONS.fullmatch(name) and weight.ndim == 2 else weight
        weights[name] = matrix.to(torch.float32)
    return weights


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


def _local(source: str) -> Path:
    path = Path(source).expanduser()
    if path.is_dir():
        path = path / "model.safetensors"
    if path.exists() or source.startswith((".", "/", "~")) or source.count("/") != 1:
        return path
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(source, "model.safetensors"))
    except Exception as error:  # its many errors, and those of the HTTP library below it
        raise Failure(
            f"cannot download {source} from the Hugging Face hub ({type(error).__name__}); bring "
            "its model.safetensors here and set GPT2_PRETRAINED to the path"
        ) from error


def _few(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
