# SPDX-License-Identifier: MIT
"""The model: published sizes, agreement with Hugging Face's GPT-2, padding, generation."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gpt2 import kernels
from gpt2.generation import generate
from gpt2.model import GPT, SIZES, GPTConfig
from gpt2.pretrained import load_pretrained
from lib.errors import Failure

HERE = Path(__file__).parent
WEIGHTS = HERE / "huggingface_weights.safetensors"
SMALL = GPTConfig(vocab_size=99, block_size=32, n_layer=2, n_head=4, n_embd=32)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return GPT(SMALL)


# 124,439,808 and so on are the parameters of the published checkpoints.
@pytest.mark.parametrize(
    ("size", "parameters"),
    [
        ("124m", 124_439_808),
        ("350m", 354_823_168),
        ("774m", 774_030_080),
        ("1558m", 1_557_611_200),
    ],
)
def test_published_sizes_have_the_published_number_of_parameters(size, parameters):
    n_layer, n_head, n_embd = SIZES[size]
    with torch.device("meta"):
        model = GPT(GPTConfig(50257, 1024, n_layer, n_head, n_embd))
    assert model.parameter_count() == parameters


def test_logits_are_those_of_hugging_face(model):
    load_pretrained(model, str(WEIGHTS))
    expected = load_file(HERE / "huggingface_logits.safetensors")
    logits = model.eval()(expected["tokens"])
    torch.testing.assert_close(logits, expected["logits"], rtol=1e-4, atol=1e-4)


def test_a_shorter_block_size_cuts_the_positions(model):
    load_pretrained(model, str(WEIGHTS))
    short = GPT(GPTConfig(99, 16, 2, 4, 32))
    load_pretrained(short, str(WEIGHTS))
    tokens = torch.randint(99, (1, 16))
    torch.testing.assert_close(short(tokens), model(tokens))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (GPTConfig(99, 32, 3, 4, 32), "2 layers.* set --gpt2-size free --gpt2-n-layer 2 "),
        (GPTConfig(99, 32, 2, 4, 64), "width 32.* --gpt2-n-embd 32"),
        (GPTConfig(99, 64, 2, 4, 32), "set --gpt2-block-size 32 or less"),
        (GPTConfig(150, 32, 2, 4, 32), "no tokenizer here has 99 tokens"),
        (GPTConfig(99, 32, 2, 4, 32, bias=False), "with biases.* set --gpt2-bias"),
    ],
)
def test_weights_of_another_model_are_refused(config, says):
    with pytest.raises(Failure, match=says):
        load_pretrained(GPT(config), str(WEIGHTS))


def test_a_file_that_is_none_is_refused(tmp_path, model):
    with pytest.raises(Failure, match="cannot read"):
        load_pretrained(model, str(tmp_path / "missing.safetensors"))
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(Failure, match="cannot read"):
        load_pretrained(model, str(tmp_path))


def test_causal_masks_and_the_tied_head_of_older_files_are_skipped(tmp_path, model):
    weights = load_file(WEIGHTS)
    weights["transformer.h.0.attn.bias"] = torch.ones(1, 1, 32, 32)
    weights["lm_head.weight"] = weights["transformer.wte.weight"].clone()
    save_file(weights, tmp_path / "model.safetensors")
    load_pretrained(model, str(tmp_path))
    loaded = load_file(WEIGHTS)["transformer.wte.weight"]
    assert torch.equal(model.state_dict()["wte.weight"][:99], loaded)


def test_initial_weights_have_the_papers_spread():
    torch.manual_seed(0)
    state = GPT(GPTConfig(256, 64, 8, 4, 128)).state_dict()
    assert state["h.3.mlp.c_fc.weight"].std().item() == pytest.approx(0.02, rel=0.05)
    residual = state["h.3.mlp.c_proj.weight"].std().item()
    assert residual == pytest.approx(0.02 / 4, rel=0.05)  # 1/√(2 · 8)
    assert not state["h.3.mlp.c_fc.bias"].any()


def test_the_first_loss_is_that_of_guessing(model):
    tokens = torch.randint(99, (8, 33))
    loss = model(tokens[:, :-1], tokens[:, 1:].contiguous())
    assert loss.item() == pytest.approx(torch.tensor(99.0).log().item(), abs=0.1)


def test_the_loss_is_that_of_the_logits(model):
    tokens = torch.randint(99, (4, 33))
    x, y = tokens[:, :-1], tokens[:, 1:].contiguous()
    expected = torch.nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
    torch.testing.assert_close(model(x, y), expected)


def test_padding_changes_nothing(model):
    """Rows past the vocabulary exist for speed: no probability, no gradient, no sample."""
    assert model.wte.weight.shape[0] == 128
    tokens = torch.randint(99, (4, 33))
    x, y = tokens[:, :-1], tokens[:, 1:].contiguous()
    before = model(x, y)
    with torch.no_grad():
        model.wte.weight[99:] = 100.0
    after = model(x, y)
    assert torch.equal(before, after)
    after.backward()
    assert not model.wte.weight.grad[99:].any()
    assert generate(model, x, 20).max() < 99


def test_bfloat16_computes_near_float32_and_keeps_float32_masters(model):
    tokens = torch.randint(99, (4, 33))
    x, y = tokens[:, :-1], tokens[:, 1:].contiguous()
    model(x, y).backward()
    exact = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    model.arithmetic.dtype = torch.bfloat16
    assert model.hidden(x).dtype == torch.bfloat16
    model(x, y).backward()
    for name, parameter in model.named_parameters():
        assert parameter.dtype == parameter.grad.dtype == torch.float32
        error = (parameter.grad - exact[name]).norm() / exact[name].norm()
        assert error < 0.05, name


@pytest.mark.parametrize("change", [{"n_head": 3}, {"n_layer": 0}, {"block_size": 0}])
def test_numbers_that_do_not_fit_are_refused(change):
    with pytest.raises(ValueError, match=r"GPT2_N_EMBD|at least 1"):
        GPTConfig(**{"vocab_size": 99, "n_embd": 32, "n_head": 4} | change)


def test_a_text_longer_than_the_block_is_refused(model):
    with pytest.raises(ValueError, match="33 tokens do not fit the block size 32"):
        model(torch.zeros(1, 33, dtype=torch.long))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_a_gpu_computes_compiles_to_one_graph(dtype, monkeypatch):
    monkeypatch.setattr(kernels, "on_cpu", lambda x: False)
    monkeypatch.setitem(kernels.LOGITS_AT_ONCE, "cpu", 320 * 100)  # three parts, the last short
    model = GPT(GPTConfig(257, 128, 2, 4, 64), dtype)
    x, y = torch.randint(257, (2, 2, 128))
    losses, gradients = [], []
    for forward in (model, torch.compile(model, backend="aot_eager", fullgraph=True)):
        losses.append(forward(x, y))
        losses[-1].backward()
        gradients.append([p.grad for p in model.parameters()])
        model.zero_grad()
    torch.testing.assert_close(*losses)
    torch.testing.assert_close(*gradients)
