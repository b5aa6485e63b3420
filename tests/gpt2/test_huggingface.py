# SPDX-License-Identifier: MIT
"""What `make export` writes of a GPT-2: read back bit for bit, and by transformers.

The stored config.json is what transformers 5.23 writes for the same network. To make it again, with
an interpreter that has transformers:

    python -m tests.gpt2.test_huggingface
"""

import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.torchvision_import import import_torchvision
from gpt2.export import huggingface, huggingface_config, published
from gpt2.model import GPT, GPTConfig
from gpt2.pretrained import load_pretrained
from lib.config.settings import load_settings
from lib.errors import Failure
from lib.huggingface.card import Exported, model_card
from lib.huggingface.directory import write
from lib.pruning.export import FORMATS
from lib.runs.stored import StoredRun
from tests.killed import in_first_evaluation

STORED = Path(__file__).with_name("huggingface_config.json")
VOCABULARY = 257  # of 320 rows with the padding


def network(bias: bool = True, **sizes: int) -> GPT:
    shape = {"block_size": 16, "n_layer": 2, "n_head": 2, "n_embd": 32} | sizes
    torch.manual_seed(1)
    model = GPT(GPTConfig(VOCABULARY, **shape, bias=bias)).eval()
    for parameter in model.parameters():  # so that gains and biases count
        parameter.data += 0.02 * torch.randn(parameter.shape)
    return model


def stored_run(folder: Path, config: GPTConfig) -> tuple[SimpleNamespace, StoredRun]:
    """(settings, run) as of a training of this network."""
    settings = SimpleNamespace(
        TOKENIZER="bytes",
        GPT2_BLOCK_SIZE=config.block_size,
        GPT2_N_LAYER=config.n_layer,
        GPT2_N_HEAD=config.n_head,
        GPT2_N_EMBD=config.n_embd,
        GPT2_DROPOUT=0.0,
        GPT2_BIAS=config.bias,
    )
    lines = "Model:\n  MODEL: gpt2\n  DATA_FILES: /home/me/secret/books.txt\n  LABEL: 'a|b'\n"
    (folder / "config.yaml").write_text(lines + "Run:\n  DESCRIPTION: words\n")
    metadata = {
        "run_id": "0123",
        "status": "completed",
        "description": "of a key hf_abcdefghijklmnopqrstuvwxyz01234567",
        "model": {"name": "gpt2", "vocab_size": VOCABULARY},
        "dataset": {"name": "books", "sizes": {"train": 12}, "fingerprint": "77"},
        "final_metrics": {"final/best_val_loss": 1.25},
    }
    return settings, StoredRun(folder, metadata)


def pruned(model: GPT) -> dict[str, torch.Tensor]:
    """Masks of half of the weights of each projection, which are set to zero."""
    masks = {}
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and name.startswith("h."):
            masks[name] = torch.rand(parameter.shape) < 0.5
            parameter.data *= masks[name]
    return masks


def export(folder: Path, model: GPT, form: str, masks=None) -> Path:
    """Write `model` as `make export FORMAT=form` does."""
    settings, run = stored_run(folder, model.config)
    weights = dict(model.state_dict())
    if form == "dense":
        path = folder / "model.safetensors"
        FORMATS["dense"][1](path, published(weights, run.part("model")), masks or {})
        return path
    release = huggingface(settings, run, weights)
    card = model_card(run, release, Exported("last", 8, False, masks or {}))
    write(folder / "hf", release, card, {})
    return folder / "hf"


def same(one: GPT, other: GPT) -> bool:
    """But for the rows that pad the vocabulary."""
    pairs = zip(one.state_dict().items(), other.state_dict().values(), strict=True)
    rows = {"wte.weight": VOCABULARY}
    return all(torch.equal(a[: rows.get(name)], b[: rows.get(name)]) for (name, a), b in pairs)


@pytest.mark.parametrize("form", ["dense", "hf"])
@pytest.mark.parametrize("bias", [True, False])
def test_an_export_is_read_back_bit_for_bit(tmp_path, form, bias):
    model, other = network(bias), GPT(network(bias).config)
    masks = pruned(model)
    load_pretrained(other, str(export(tmp_path, model, form, masks)))
    assert same(model, other)
    assert all(not other.get_parameter(name)[~mask].any() for name, mask in masks.items())


def in_parts(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    where = {name: f"model-{n % 2 + 1}-of-2.safetensors" for n, name in enumerate(weights)}
    for file in set(where.values()):
        save_file({k: v for k, v in weights.items() if where[k] == file}, folder / file)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))


def test_several_files_and_bfloat16(tmp_path):
    model, other = network(), GPT(network().config)
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16().float()
    folder = export(tmp_path, model, "hf")
    weights = load_file(folder / "model.safetensors")
    save_file({k: v.bfloat16() for k, v in weights.items()}, folder / "model.safetensors")
    in_parts(folder)
    load_pretrained(other, str(folder))
    assert same(model, other) and other.wte.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        (
            {"n_layer": 3, "n_head": 4, "n_embd": 64},
            "2 layers, 2 heads, width 32, 16 positions and 257 tokens, with biases; this model is "
            "a GPT-2 of 3 layers, 4 heads, width 64, .*"
            "set --gpt2-size free --gpt2-n-layer 2 --gpt2-n-head 2 --gpt2-n-embd 32$",
        ),
        ({"n_head": 4}, "--gpt2-n-head 2 "),  # which the weights do not tell
        ({"block_size": 32}, ": set --gpt2-block-size 16 or less$"),
        ({"bias": False}, ": set --gpt2-bias$"),
    ],
)
def test_the_settings_that_differ_are_named(tmp_path, sizes, says):
    folder, other = export(tmp_path, network(), "hf"), network(**sizes)
    before = {name: weight.clone() for name, weight in other.state_dict().items()}
    with pytest.raises(Failure, match=says):
        load_pretrained(other, str(folder))
    assert all(torch.equal(weight, before[name]) for name, weight in other.state_dict().items())


def test_weights_without_biases_for_a_model_with_them(tmp_path):
    with pytest.raises(Failure, match=r": set --no-gpt2-bias$"):
        load_pretrained(network(), str(export(tmp_path, network(bias=False), "dense")))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "gpt_neo"),
        ("activation_function", "relu"),
        ("layer_norm_epsilon", 1e-6),
        ("scale_attn_by_inverse_layer_idx", True),
        ("n_inner", 100),
    ],
)
def test_a_variant_is_refused(tmp_path, key, value):
    """Its weights would fit, and give other logits."""
    folder = export(tmp_path, network(), "hf")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: value}))
    with pytest.raises(Failure, match=f"says {key}={value!r}: a variant"):
        load_pretrained(network(), str(folder))


@pytest.mark.parametrize("change", [{"GPT2_N_LAYER": 3}, {"GPT2_BIAS": False}])
def test_a_checkpoint_of_another_network_is_not_exported(tmp_path, change):
    model = network()
    settings, run = stored_run(tmp_path, model.config)
    vars(settings).update(change)
    with pytest.raises(Failure, match=r"not of the network that .*\.config describes"):
        huggingface(settings, run, model.state_dict())


def test_the_card_says_what_it_is_and_no_secrets(tmp_path):
    model = network()
    masks = pruned(model)
    text = (export(tmp_path, model, "hf", masks) / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: transformers\n") and "\n- pruned\n---\n" in text
    for part in ("of a key [redacted]", "(0123; status: completed)", "| DATA_FILES | books.txt |"):
        assert part in text
    assert "| final/best_val_loss | 1.25 |" in text and "| LABEL | a\\|b |" in text
    total = sum(mask.numel() for mask in masks.values())
    assert f"of the {total:,} weights in the pruned layers are zero" in text
    assert "DESCRIPTION" not in text and "/home" not in text


def test_a_resumed_run_needs_its_first_weights_no_more(gpt2, tmp_path, monkeypatch):
    source = export(tmp_path, network(block_size=32), "dense")
    in_first_evaluation(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt):
        gpt2.train("--gpt2-pretrained", str(source))
    source.unlink()
    gpt2.program.train(load_settings("gpt2", ["--resume", str(gpt2.latest.dir)]))
    assert gpt2.latest.checkpoint()["step"] == 6


def test_config_json_is_that_of_transformers():
    stored = json.loads(STORED.read_text())
    ours = huggingface_config(network().config, 256)
    assert {name: value for name, value in ours.items() if stored.get(name, value) != value} == {}
    assert ours.keys() - stored.keys() == {"n_ctx"}  # older programs look for it


@pytest.fixture
def transformers(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import_torchvision()
    return pytest.importorskip("transformers")


@pytest.mark.reach
@pytest.mark.parametrize("bias", [True, False])
def test_transformers_load_it_and_give_our_logits(tmp_path, transformers, caplog, bias):
    model = network(bias)
    masks = pruned(model)
    folder = export(tmp_path, model, "hf", masks)
    theirs, said = transformers.AutoModelForCausalLM.from_pretrained(
        folder, output_loading_info=True
    )
    assert not said["missing_keys"] and not said["unexpected_keys"] and not caplog.records
    tokens = torch.randint(VOCABULARY, (3, 16))
    with torch.no_grad():
        torch.testing.assert_close(theirs(tokens).logits, model(tokens), rtol=1e-5, atol=1e-5)
    for name, mask in masks.items():
        assert not theirs.transformer.get_parameter(name).t()[~mask].any()
    start = torch.full((1, 1), 256)
    options = {"attention_mask": torch.ones_like(start), "max_new_tokens": 12, "eos_token_id": None}
    ours = start
    with torch.no_grad():
        for _ in range(12):
            ours = torch.cat((ours, model(ours)[:, -1:].argmax(-1)), dim=1)
    assert torch.equal(theirs.generate(start, do_sample=False, **options), ours)


@pytest.mark.reach
def test_what_transformers_save_is_read(tmp_path, transformers):
    """Also in several files and in bfloat16."""
    config = transformers.GPT2Config(**huggingface_config(network().config, 256))
    theirs = transformers.GPT2LMHeadModel(config).to(torch.bfloat16).eval()
    theirs.save_pretrained(tmp_path, max_shard_size="50KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    model = network()
    load_pretrained(model, str(tmp_path))
    tokens = torch.randint(VOCABULARY, (3, 16))
    with torch.no_grad():
        torch.testing.assert_close(
            model(tokens), theirs.float()(tokens).logits, rtol=1e-5, atol=1e-5
        )


@pytest.mark.reach
def test_the_lines_in_the_card_run(tmp_path, transformers, capsys, monkeypatch):
    folder = export(tmp_path, network(block_size=64), "hf")
    code = (folder / "README.md").read_text().split("```python")[1].split("```")[0]
    monkeypatch.chdir(folder)
    exec(code, {})
    assert capsys.readouterr().out.startswith("Once")


def main() -> None:
    import_torchvision()
    import transformers

    shape = {"vocab_size": VOCABULARY, "n_positions": 16, "n_layer": 2, "n_head": 2, "n_embd": 32}
    none = dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), 0.0)
    config = transformers.GPT2Config(**shape, **none, bos_token_id=256, eos_token_id=256)
    with tempfile.TemporaryDirectory() as folder:
        transformers.GPT2LMHeadModel(config).save_pretrained(folder)
        stored = json.loads((Path(folder) / "config.json").read_text())
    del stored["transformers_version"]
    STORED.write_text(json.dumps(stored, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
