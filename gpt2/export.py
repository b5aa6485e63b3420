# SPDX-License-Identifier: MIT
"""A GPT-2 for others: the published Hugging Face form, and a program that needs nothing of ours.

make export RUN=name FORMAT=hf && make SET="GPT2_PRETRAINED=outputs/training/<run>/hf"
make register RUN=name NAME=writer
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gpt2.model import GPT, GPTConfig
from gpt2.pretrained import published_form, with_biases
from gpt2.trained import model_config
from lib.data.text.tokenizers import load_tokenizer
from lib.errors import Failure
from lib.huggingface.directory import Release
from lib.registry.program import Program, count_in, of_tokens
from lib.runs.stored import StoredRun

_USE = """
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(".")  # this directory
model = AutoModelForCausalLM.from_pretrained(".")
# In training every document began with the end-of-text token.
tokens = torch.tensor([[tokenizer.bos_token_id, *tokenizer("Once")["input_ids"]]])
text = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=20)
print(tokenizer.decode(text[0, 1:]))
"""


def published(weights: Mapping[str, Tensor], model: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a run in the published form; `model` is that part of its metadata.yaml.

    Raises Failure when the metadata lacks the size of the vocabulary.
    """
    vocab_size = model.get("vocab_size")
    if type(vocab_size) is not int or not 0 < vocab_size <= len(weights["wte.weight"]):
        raise Failure(
            "metadata.yaml of the run does not say its model.vocab_size, which is needed to leave "
            "out the padding of the vocabulary: FORMAT=sparse keeps all rows"
        )
    return published_form(weights, vocab_size)


def huggingface(settings: Any, run: StoredRun, weights: Mapping[str, Tensor]) -> Release:
    """What `make export FORMAT=hf` writes, for GPT2LMHeadModel of transformers.

    That always has biases: a network without them gets zeros. Raises Failure when `weights` are not
    of the network and the tokenizer that the run's settings and metadata describe.
    """
    config = model_config(settings, count_in(run, "vocab_size"))
    tokenizer = load_tokenizer(settings.TOKENIZER)
    _require_same(run, config, weights, tokenizer.vocab_size)
    tensors = with_biases(published(weights, run.part("model")))
    end = tokenizer.end_of_text
    return Release(
        config=huggingface_config(config, end),
        generation={"bos_token_id": end, "eos_token_id": end, "pad_token_id": end},
        weights={f"transformer.{name}": tensor for name, tensor in tensors.items()},
        tokenizer=tokenizer,
        longest=config.block_size,
        use=_USE,
    )


def huggingface_config(config: GPTConfig, end_of_text: int) -> dict[str, Any]:
    """config.json: the fields of transformers' GPT2Config."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_positions": config.block_size,
        "n_ctx": config.block_size,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_embd": config.n_embd,
        "n_inner": None,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "resid_pdrop": config.dropout,
        "initializer_range": 0.02,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "tie_word_embeddings": True,
    }


def program(settings: Any, run: StoredRun, weights: Mapping[str, Tensor]) -> Program:
    """What `make register` stores: token ids, int64 [n, length], to logits. See of_tokens."""
    network = GPT(model_config(settings, count_in(run, "vocab_size")))
    return of_tokens(network, weights, run, network.config.block_size, settings.TOKENIZER)


def _require_same(
    run: StoredRun, config: GPTConfig, weights: Mapping[str, Tensor], vocab_size: int
) -> None:
    if config.vocab_size != vocab_size:
        raise Failure(
            f"{run.dir}/metadata.yaml says a vocabulary of {config.vocab_size} tokens, the "
            f"tokenizer of its .config has {vocab_size}"
        )
    with torch.device("meta"):
        own = GPT(config).state_dict()
    if {name: weight.shape for name, weight in own.items()} != {
        name: weight.shape for name, weight in weights.items()
    }:
        raise Failure(f"the checkpoint is not of the network that {run.dir}/.config describes")
