# SPDX-License-Identifier: MIT
"""A GPT-2 for others: the published Hugging Face form, and a program that needs nothing of ours.

make export RUN=name && make SET="GPT2_PRETRAINED=outputs/training/<run>/model.safetensors"
make register RUN=name NAME=writer
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gpt2.model import GPT
from gpt2.pretrained import published_form
from gpt2.trained import model_config
from lib.errors import Failure
from lib.registry.program import Program, count_in, of_tokens
from lib.runs.stored import StoredRun


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


def program(settings: Any, run: StoredRun, weights: Mapping[str, Tensor]) -> Program:
    """What `make register` stores: token ids, int64 [n, length], to logits. See of_tokens."""
    network = GPT(model_config(settings, count_in(run, "vocab_size")))
    return of_tokens(network, weights, run, network.config.block_size, settings.TOKENIZER)
