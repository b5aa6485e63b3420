# SPDX-License-Identifier: MIT
"""make eval: what is evaluated, what is said, what is kept in the run."""

import json
import math
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from pyarrow import Table, parquet

from gpt2 import eval as program
from gpt2.perplexity import evaluate_text, token_lengths
from gpt2.trained import flags, load_trained
from lib.data.text.tokenizers import load_tokenizer
from lib.errors import BadUse, Failure
from lib.runs.stored import load_run
from scripts.runs.show import show
from tests.models import ROOT

TEXTS = ["the cat sat on a mat", "", "zwölf Vögel sangen", "and then " * 20]


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the run, to be written into."""
    shutil.copytree(finished.dir, tmp_path / "one")
    return tmp_path / "one"


def evaluated(call, capsys, run, *more):
    assert call(program, str(run), "--format", "json", *more) == 0
    return json.loads(capsys.readouterr().out)


def expected_loss(run, tokens):
    """Of the model of `run`, by the plain forward pass, with windows side by side."""
    trained = load_trained(flags("", precision="float32").parse_args([str(run)]))
    block = trained.model.config.block_size
    total = 0.0
    for begin in range(0, len(tokens) - 1, block):
        row = torch.tensor(tokens[begin : begin + block + 1])[None]
        total += trained.model(row[:, :-1], row[:, 1:].contiguous()).item() * (row.shape[1] - 1)
    return total / (len(tokens) - 1)


def test_without_more_it_is_the_whole_validation_split(call, capsys, run, folder):
    found = evaluated(call, capsys, run)
    meta = json.loads(next((folder / "tokens").glob("*/meta.json")).read_text())
    assert found["results"]["tokens"] == meta["splits"]["val"]["tokens"]
    assert found["data"] == "validation split of custom" and found["step"] == 6
    assert found["settings"] == {"block_size": 32, "stride": 32}
    trained = load_trained(flags("", precision="float32").parse_args([str(run)]))
    tokens = program.validation_tokens(trained)
    loss = found["results"]["nats_per_token"]
    assert loss == pytest.approx(expected_loss(run, tokens.tolist()), abs=1e-5)
    assert found["results"]["perplexity"] == pytest.approx(math.exp(loss))


def test_the_run_may_be_named_by_a_relative_path(call, capsys, run, monkeypatch):
    monkeypatch.chdir(run.parent)
    found = evaluated(call, capsys, "./one")
    (kept,) = load_run(run).metadata["evaluations"]
    assert kept["results"] == found["results"]


def test_files_of_all_kinds_are_the_same_text(call, capsys, run, tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"body": t}) + "\n" for t in TEXTS))
    parquet.write_table(Table.from_pydict({"body": TEXTS}), tmp_path / "a.parquet")
    for number, text in enumerate(filter(None, TEXTS)):
        (tmp_path / f"{number}.txt").write_text(text)
    results = [
        evaluated(call, capsys, run, "--data-files", f"{tmp_path}/{name}", *more)["results"]
        for name, more in {
            "a.jsonl": ("--text-column", "body"),
            "*.parquet": ("--text-column", "body"),
            "?.txt": (),
        }.items()
    ]
    assert results[0] == results[1] == results[2]
    raw = [text.encode() for text in TEXTS if text]
    tokens = [256, *(token for text in raw for token in (*text, 256))]
    assert results[0]["tokens"] == len(tokens) - 1
    assert results[0]["bytes"] == sum(map(len, raw))
    assert results[0]["nats_per_token"] == pytest.approx(expected_loss(run, tokens), abs=1e-5)


def test_a_text_file_is_one_document_however_long(tmp_path):
    """The corpora cut it into passages, each followed by an end-of-text token."""
    text = "a line of text\n\n" * 2000
    (tmp_path / "long.txt").write_text(text)
    tokens = program.file_tokens(load_tokenizer("bytes"), str(tmp_path / "long.txt"), "text")
    assert tokens.tolist() == [256, *text.encode(), 256]


def test_the_result_is_kept_and_replaces_only_its_like(call, capsys, run):
    evaluated(call, capsys, run)
    evaluated(call, capsys, run, "--stride", "8")
    evaluated(call, capsys, run, "--checkpoint", "3")
    again = evaluated(call, capsys, run)
    kept = load_run(run).metadata["evaluations"]
    assert [(e["step"], e["settings"]["stride"]) for e in kept] == [(6, 8), (3, 32), (6, 32)]
    assert kept[-1] == {"time": kept[-1]["time"], **{k: v for k, v in again.items() if k != "run"}}
    assert kept[0]["results"]["nats_per_token"] != kept[2]["results"]["nats_per_token"]
    show(load_run(run))
    section = capsys.readouterr().out.partition("Evaluations\n")[2].partition("\n\n")[0]
    assert section.count("validation split of custom, step") == 3 and "stride 8" in section


def test_the_table_has_the_numbers(call, capsys, run):
    call(program, str(run), "--stride", "16")
    shown = capsys.readouterr().out
    assert shown.startswith("validation split of custom: one, step 6\n")
    for name in ("nats_per_token", "perplexity", "bits_per_byte", "tokens", "bytes", "stride"):
        assert f"\n  {name} " in shown


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--stride", "33"], "STRIDE=33 would leave out tokens: at most the block size 32"),
        (["--stride", "0"], "STRIDE=0: want a whole number from 1 on"),
        (["--format", "csv"], "FORMAT=csv: want one of table, json"),
        (["--tasks", "a", "--data-files", "b"], "give one of them"),
        (["--include", "a"], "INCLUDE is of no use without TASKS"),
        (["--fewshot", "0"], "FEWSHOT is of no use without TASKS"),
        (["--text-column", "a"], "TEXT_COLUMN is of no use without DATA_FILES"),
        (["--tasks", "a", "--stride", "2"], "STRIDE is of no use with TASKS"),
        (["--data-files", "no-such-file.txt"], r"no-such-file\.txt: no such file"),
        (["--data-files", "README.md"], r"README\.md: not one of \.txt, \.jsonl, \.parquet"),
    ],
)
def test_wrong_values_are_named(call, run, options, says):
    with pytest.raises(Failure, match=says):
        call(program, str(run), *options)


def test_files_without_text_are_refused(call, run, tmp_path):
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(BadUse, match="no text in there"):
        call(program, str(run), "--data-files", str(tmp_path / "empty.txt"))


def test_other_data_than_those_of_the_run_are_refused(call, run):
    path = run / "metadata.yaml"
    fingerprint = load_run(run).part("dataset")["fingerprint"]
    path.write_text(path.read_text().replace(fingerprint, "0123456789abcdef"))
    with pytest.raises(Failure, match=r"holds other texts than one was trained on.*DATA_FILES"):
        call(program, str(run))


def test_a_full_disk_costs_the_record_and_not_the_result(call, capsys, run, monkeypatch):
    def fail(path, fields):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lib.runs.metadata.save", fail)
    before = (run / "metadata.yaml").read_bytes()
    with pytest.raises(Failure, match="cannot be changed: No space left"):
        call(program, str(run))
    assert "perplexity" in capsys.readouterr().out
    assert (run / "metadata.yaml").read_bytes() == before


def test_the_evaluation_of_a_training_is_that_of_its_windows(finished):
    """Where the windows of both are the same, val/loss is the loss of `evaluate_text`."""
    options = flags("", precision="float32").parse_args([str(finished.dir), "--checkpoint", "6"])
    trained = load_trained(options)
    tokens = program.validation_tokens(trained)[1:]
    count = (len(tokens) - 1) // 32
    picked = np.arange(9) * count // 9 * 32
    lengths = token_lengths(trained.tokenizer)
    scores = [
        evaluate_text(trained.model, tokens[start : start + 33], lengths, stride=32)
        for start in picked
    ]
    mean = sum(score.nats for score in scores) / sum(score.tokens for score in scores)
    assert mean == pytest.approx(finished.rows("val/loss")[6], abs=1e-5)


@pytest.mark.slow
def test_make_passes_its_variables(run, tmp_path):
    (tmp_path / "a.txt").write_text("the cat sat")
    done = subprocess.run(
        ["make", "-s", "VENV=system", f"PYTHON3={sys.executable}", "eval",
         f"RUN={run}", f"DATA_FILES={tmp_path}/a.txt",
         "STRIDE=4", "FORMAT=json", "CHECKPOINT=3", "DEVICE=cpu"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["settings"]["stride"] == 4 and found["step"] == 3
