# SPDX-License-Identifier: MIT
"""Weights in the published form: to it, and back."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, safe_open

from gpt2.export import published
from gpt2.model import GPT, GPTConfig
from gpt2.pretrained import load_pretrained, published_form
from lib.errors import Failure
from lib.pruning.export import FORMATS
from lib.train import checkpoint

ROOT = Path(__file__).resolve().parents[2]
FIXTURE = Path(__file__).parent / "huggingface_weights.safetensors"
SMALL = GPTConfig(vocab_size=99, block_size=32, n_layer=2, n_head=4, n_embd=32)


def test_the_published_form_is_that_of_hugging_face():
    model = GPT(SMALL)
    load_pretrained(model, str(FIXTURE))
    expected = load_file(FIXTURE)
    found = published_form(model.state_dict(), 99)
    assert {f"transformer.{name}" for name in found} == set(expected)
    for name, weight in found.items():
        assert torch.equal(weight, expected[f"transformer.{name}"]), name


def test_the_way_back_keeps_every_weight(tmp_path):
    torch.manual_seed(0)
    model, other = GPT(SMALL), GPT(SMALL)
    weights = published(model.state_dict(), {"vocab_size": 99})
    FORMATS["dense"][1](tmp_path / "model.safetensors", weights, {})
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}  # without which transformers refuse a file
    load_pretrained(other, str(tmp_path))
    tokens = torch.randint(99, (2, 32))
    assert torch.equal(other(tokens), model(tokens))


@pytest.mark.parametrize(
    "model", [{}, {"vocab_size": None}, {"vocab_size": 0}, {"vocab_size": 129}]
)
def test_without_the_true_vocabulary_nothing_is_written(model):
    with pytest.raises(Failure, match=r"does not say its model.vocab_size"):
        published(GPT(SMALL).state_dict(), model)


def test_weights_laid_out_as_in_pytorch_are_refused_by_name(tmp_path):
    model = GPT(SMALL)
    weights = dict(model.state_dict())
    weights["wte.weight"] = weights["wte.weight"][:99]
    FORMATS["dense"][1](tmp_path / "model.safetensors", weights, {})
    before = {name: weight.clone() for name, weight in GPT(SMALL).state_dict().items()}
    other = GPT(SMALL)
    other.load_state_dict(before)
    with pytest.raises(Failure, match=r"h\.0\.attn\.c_attn\.weight is stored as \(outputs, inputs"):
        load_pretrained(other, str(tmp_path))
    assert all(torch.equal(weight, before[name]) for name, weight in other.state_dict().items())


@pytest.mark.slow
def test_a_pruned_run_is_exported_and_starts_another(small, tmp_path):
    """make export, then --gpt2-pretrained: what it starts from has the logits of the run."""

    def call(*command: str) -> None:
        environment = {k: v for k, v in os.environ.items() if k not in ("RUN", "FORMAT")}
        done = subprocess.run(
            [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    def train(name: str, *flags: str) -> dict[str, torch.Tensor]:
        where = ["--output-dir", str(tmp_path), "--tracker-run-name", name]
        call("gpt2/train.py", "--config", "defconfigs/gpt2-pystdlib", *small, *where, *flags)
        return checkpoint.load(tmp_path / name / "checkpoints" / "last.pt")["model_state_dict"]

    config = GPTConfig(vocab_size=257, block_size=32, n_layer=2, n_head=2, n_embd=32)
    trained, started = GPT(config).eval(), GPT(config).eval()
    trained.load_state_dict(train("first", "--pruning-method", "magnitude"))
    call("-m", "scripts.pruning.export", "--output-dir", str(tmp_path), "first")
    exported = tmp_path / "first" / "model.safetensors"
    found = load_file(exported)
    assert found["h.0.attn.c_attn.weight"].shape == (32, 96)
    assert found["wte.weight"].shape == (257, 32)
    # One step with a learning rate of nothing: what it ends with is what it started from.
    flags = ["--max-steps", "1", "--warmup-steps", "0", "--learning-rate", "1e-30"]
    started.load_state_dict(train("second", *flags, "--gpt2-pretrained", str(exported)))
    tokens = torch.randint(257, (2, 32))
    torch.testing.assert_close(started(tokens), trained(tokens), rtol=0, atol=0)
