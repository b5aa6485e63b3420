# SPDX-License-Identifier: MIT
"""The formula for a training's memory against the bytes that a forward pass keeps, and its use."""

import pytest
import torch

from gpt2 import attention, kernels
from gpt2.model import GPT, SIZES, GPTConfig
from gpt2.prepare import training_memory
from lib.config.settings import load_settings
from lib.train.batch_finding import HEADROOM, transformer_memory
from tests.models import ROOT


def kept_for_backward(model: GPT, tokens: torch.Tensor) -> int:
    """Bytes of what autograd saves beside the parameters, each piece of memory once."""
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in parameters:
            kept[tensor.untyped_storage().data_ptr()] = tensor  # alive, so that no other gets it
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(tokens[:, :-1], tokens[:, 1:].contiguous())
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("every", [0, 1, 3])
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_the_formula_is_what_a_gpu_keeps(precision, every, monkeypatch):
    """Within 3 %, and so are the casts and the gradient of the output projection."""
    for module in (kernels, attention):
        monkeypatch.setattr(module, "on_cpu", lambda x: False)
    layers, width, context, outputs = 6, 128, 256, 512
    model = GPT(GPTConfig(outputs, context, layers, 4, width), getattr(torch, precision))
    model.checkpoint_every = every
    one, five = (
        kept_for_backward(model, torch.randint(outputs, (count, context + 1))) for count in (1, 5)
    )
    size = model.parameter_count()
    fixed, each = transformer_memory(
        size, layers, width, context,
        outputs=outputs, precision=precision, checkpoint_every=every,
    )  # fmt: skip
    bytes_each = 4 if precision == "float32" else 2
    again = 16 * bytes_each * width * context if every else 0  # one block, during backward
    assert (five - one) / 4 == pytest.approx(each - again, rel=0.03)
    if every == 0:
        independent = one - (five - one) / 4
        # 16 bytes a parameter are not activations; positions are not cast, nor the tied embedding
        uncast = 0 if precision == "float32" else 2 * (context + outputs) * width
        assert independent == pytest.approx(fixed - 16 * size - uncast, rel=0.03)


GPUS = {"a10gx4": (4, 24e9), "h100": (1, 80e9)}


@pytest.mark.parametrize("name", GPUS)
def test_the_defconfigs_fill_the_memory_they_are_for(name):
    """BATCH_SIZE is the largest that fits and divides the batch of 480, by the formula."""
    ranks, memory = GPUS[name]
    settings = load_settings(
        "gpt2", ["--config", str(ROOT / "defconfigs" / f"gpt2-finewebedu-{name}")]
    )
    assert settings.BATCH_SIZE * settings.GRAD_ACCUM == 480
    config = GPTConfig(50257, settings.GPT2_BLOCK_SIZE, *SIZES[settings.GPT2_SIZE])
    with torch.device("meta"):
        size = GPT(config).parameter_count()
    state, loss, each = training_memory(
        config, size, "bfloat16", settings.GPT2_ACTIVATION_CHECKPOINTING
    )
    fits = (memory * (1 - HEADROOM) - state - loss) // each
    share = 480 // ranks
    best = max(n for n in range(1, share + 1) if share % n == 0 and n <= fits)
    assert ranks * best == settings.BATCH_SIZE
