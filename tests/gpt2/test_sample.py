# SPDX-License-Identifier: MIT
"""What a model writes may be any bytes; a terminal is shown text."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gpt2 import sample
from gpt2.generation import generate
from gpt2.model import GPT, GPTConfig
from gpt2.trained import flags as trained_flags
from gpt2.trained import load_trained
from lib.data.text.tokenizers import load_tokenizer
from lib.errors import BadUse, Failure
from lib.runs.run import Run
from lib.text import printable
from lib.train import checkpoint
from lib.train.checkpoint.weights import trained_weights

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = SimpleNamespace(
    SAMPLE_PROMPT="", SAMPLE_TOKENS=400, SAMPLE_TEMPERATURE=1.0, SAMPLE_TOP_K=0, SEED=0
)


@pytest.fixture
def model():
    """An untrained one, which writes any bytes."""
    torch.manual_seed(0)
    return GPT(GPTConfig(vocab_size=257, block_size=16, n_layer=1, n_head=1, n_embd=8))


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with Run.create(tmp_path, "one") as made:
        yield made


def write(run, model):
    tokenizer = load_tokenizer("bytes")
    sample.write_sample(SETTINGS, run, model, tokenizer, SimpleNamespace(is_main=True), 1)


def test_a_sample_cannot_steer_the_terminal_and_the_file_has_it_all(run, model, capsys):
    write(run, model)
    kept = (run.dir / "media" / "sample.txt").read_bytes().decode()
    assert "\x19" in kept and "\x08" in kept
    shown = capsys.readouterr().out
    assert all(c.isprintable() or c in "\n\t" for c in shown)
    assert kept.count("e") == shown.partition("\n")[2].count("e") > 0


def test_a_full_disk_costs_the_sample_and_not_the_run(run, model, capsys, monkeypatch):
    def fail(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sample, "write_atomic", fail)
    write(run, model)
    assert "warning: media/sample.txt was not written: No space left" in capsys.readouterr().out


def test_text_is_streamed_and_is_that_of_one_generation(call, finished, capsys):
    flags = [str(finished.dir), "--prompt", "the cat", "--tokens", "90", "--seed", "3"]
    assert call(sample, *flags) == 0
    shown, said = capsys.readouterr()
    trained = load_trained(trained_flags("").parse_args([str(finished.dir), "--seed", "3"]))
    start = sample.beginning(trained.tokenizer, "the cat", trained.device)
    seeded = torch.Generator().manual_seed(3)
    out = generate(trained.model, start, 90, temperature=0.8, top_k=200, generator=seeded)
    assert shown == printable(trained.tokenizer.decode(out[0, 1:])) + "\n"
    assert re.search(r"90 tokens in [\d.]+ s: [\d,]+ tokens/s \(cpu, float32\)", said)
    assert "running mean" in said


def test_each_sample_is_that_of_its_seed(call, finished, capsys):
    flags = [str(finished.dir), "--tokens", "30"]
    call(sample, *flags, "--samples", "2", "--seed", "5")
    both = capsys.readouterr().out
    for seed in ("5", "6"):
        call(sample, *flags, "--seed", seed)
        assert f"── seed {seed}\n{capsys.readouterr().out}" in both


def test_the_checkpoint_that_is_named_is_used(finished):
    weights = {}
    for which in ("3", "6", "last", "best"):
        options = trained_flags("").parse_args([str(finished.dir), "--checkpoint", which])
        trained = load_trained(options)
        assert not trained.model.training
        weights[which] = trained.model.h[0].mlp.c_fc.weight
    assert torch.equal(weights["6"], weights["last"])
    assert not torch.equal(weights["3"], weights["6"])
    stored = finished.checkpoint()
    average, masks = stored["ema_state_dict"], trained_weights(stored)[1]
    mask = masks["h.0.mlp.c_fc.weight"]
    assert torch.equal(weights["last"], average["h.0.mlp.c_fc.weight"] * mask)
    assert not mask.all()


@given(st.lists(st.one_of(st.integers(0, 256), st.sampled_from([0xC3, 0xA9, 0xE2, 0x82, 0xAC]))))
def test_pieces_are_whole_characters_and_together_the_text(tokens):
    tokenizer = load_tokenizer("bytes")
    assert "".join(sample.pieces(tokenizer, tokens)) == tokenizer.decode(tokens)


def test_a_piece_comes_with_the_last_byte_of_its_character():
    shown = []
    tokenizer = load_tokenizer("bytes")

    def tokens():
        for byte in "a€b".encode():
            yield byte
            seen.append("".join(shown))

    seen = []
    for piece in sample.pieces(tokenizer, tokens()):
        shown.append(piece)
    assert seen == ["a", "a", "a", "a€", "a€b"]


def test_a_prompt_comes_from_the_line_a_file_or_stdin(tmp_path, monkeypatch):
    (tmp_path / "one").write_text("two\nlines\n")
    assert sample.read_prompt(f"@{tmp_path}/one") == "two\nlines\n"
    assert sample.read_prompt("@@property") == "@property"
    assert sample.read_prompt("def ") == "def "
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("é\n".encode()), "ascii"))
    assert sample.read_prompt("-") == "é\n"
    with pytest.raises(BadUse, match=r"No such file.*PROMPT=@@property"):
        sample.read_prompt("@property")
    (tmp_path / "one").write_bytes(b"\xff")
    with pytest.raises(BadUse, match="not UTF-8"):
        sample.read_prompt(f"@{tmp_path}/one")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--tokens", "-1"], "TOKENS=-1: want a whole number from 0 on"),
        (["--tokens", "1.5"], "TOKENS=1.5: want a whole number"),
        (["--temperature", "nan"], "TEMPERATURE=nan: want a number from 0 on"),
        (["--temperature", "inf"], "TEMPERATURE=inf: want"),
        (["--top-p", "0"], "TOP_P=0: want a number from 0.01 to 1"),
        (["--samples", "0"], "SAMPLES=0: want a whole number from 1 on"),
        (["--seed", str(2**63)], "SEED=9223372036854775808: want"),
        (["--checkpoint", "4"], "CHECKPOINT=4: run-1 has last, best, 3, 6"),
        (["--device", "gpu"], "DEVICE=gpu: want one of auto, cpu"),
        (["--precision", "bf16"], "PRECISION=bf16.*did you mean bfloat16"),
    ],
)
def test_bad_use_is_named(call, finished, flags, says):
    with pytest.raises(BadUse, match=says):
        call(sample, str(finished.dir), *flags)


def test_a_value_comes_from_the_environment_of_make(call, finished, monkeypatch):
    monkeypatch.setenv("TOP_K", "many")
    with pytest.raises(BadUse, match="TOP_K=many"):
        call(sample, str(finished.dir))


def test_a_run_of_another_model_and_one_without_checkpoints_are_refused(call, finished, tmp_path):
    for model, says in (
        ("lenet5", "is a run of lenet5"),
        ("gpt2", "CHECKPOINT=best: one has none"),
    ):
        folder = tmp_path / model / "one"
        folder.mkdir(parents=True)
        text = (finished.dir / "metadata.yaml").read_text().replace("name: gpt2", f"name: {model}")
        (folder / "metadata.yaml").write_text(text)
        with pytest.raises(BadUse, match=says):
            call(sample, str(folder))


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["reader gone", "Ctrl-C"])
def test_a_long_text_ends_when_the_reader_does(finished, ending):
    """What was made is there at once, whole and without a traceback."""
    command = [sys.executable, "gpt2/sample.py", str(finished.dir), "--tokens", "1000000"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.read(1)
    if ending == "Ctrl-C":
        process.send_signal(signal.SIGINT)
        assert process.stdout.read().endswith("\n")
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(60) == {"Ctrl-C": 130, "reader gone": 1}[ending]
    assert "Traceback" not in said
    assert ("tokens/s" in said) == (ending == "Ctrl-C")


def test_a_run_that_is_not_there_is_one_line():
    environment = {k: v for k, v in os.environ.items() if k != "RUN"}
    command = [sys.executable, "gpt2/sample.py", "no-such-run"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "RUN=no-such-run: no" in done.stderr


def test_a_checkpoint_of_another_model_is_refused(call, run):
    shutil.copy(ROOT / "defconfigs" / "gpt2-pystdlib", run.dir / ".config")
    checkpoint.save(run.dir / "checkpoints" / "best.pt", {"model_state_dict": {}, "step": 1})
    with pytest.raises(Failure, match=r"best\.pt is not of the model that"):
        call(sample, str(run.dir))


def test_a_missing_package_is_named(tmp_path):
    """An interpreter without PyTorch: a line that says what to install, no traceback."""
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(name='torch')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "gpt2/sample.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and "has no package torch" in done.stderr
    assert "Traceback" not in done.stderr
