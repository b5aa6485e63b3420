# SPDX-License-Identifier: MIT
"""What `make export FORMAT=dense` writes of a GPT-2: the published Hugging Face form.

make export RUN=name && make SET="GPT2_PRETRAINED=outputs/training/<run>/model.safetensors"
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gpt2.pretrained import published_form
from lib.errors import Failure


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
