# SPDX-License-Identifier: MIT
"""Tasks of lm-evaluation-harness: our adapter against its own for transformers, same weights."""

import json
import math
import sys

import pytest
import torch

from benchmarks.torchvision_import import import_torchvision
from gpt2 import eval as program
from gpt2.export import huggingface
from gpt2.trained import flags, load_trained
from lib.errors import BadUse
from lib.huggingface.directory import write

QUESTIONS = [
    {"question": "the cat", "choices": [" sat", " qqq", " birds"], "answer": 0},
    {"question": "three birds ", "choices": ["zzz", " sang", "ran"], "answer": 1},
    {"question": "and then it ran to some tree where the cat", "choices": ["x" * 20, " sat"],
     "answer": 1},
]  # fmt: skip
PROSE = ["the cat sat on a mat and then it ran " * 4, "three birds sang", "é"]
KINDS = {
    "animals": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{answer}}",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    },
    "prose": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [{"metric": "byte_perplexity"}, {"metric": "bits_per_byte"}],
    },
}


def test_without_lm_eval_the_cure_is_said_before_anything_is_read(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.delitem(sys.modules, "gpt2.harness", raising=False)
    with pytest.raises(BadUse, match=r"no package lm_eval:\n.*pip install -r requirements-reach"):
        call(program, "no-such-run", "--tasks", "hellaswag")


@pytest.fixture(scope="module")
def reached():
    """lm_eval and transformers, or the test is skipped."""
    pytest.importorskip("transformers", reason="needs requirements-reach.txt")
    import_torchvision()  # which transformers import
    return pytest.importorskip("lm_eval", reason="needs requirements-reach.txt")


@pytest.fixture(scope="module")
def trained(finished):
    """With larger weights than six steps leave it, so that choices are clear."""
    model = load_trained(flags("", precision="float32").parse_args([str(finished.dir)]))
    for parameter in model.model.parameters():
        if parameter.ndim == 2:
            parameter.data *= 6.0
    return model


@pytest.fixture(scope="module")
def both(reached, trained, tmp_path_factory):
    """(our adapter, theirs) around the same weights and tokenizer."""
    from lm_eval.models.huggingface import HFLM

    from gpt2.harness import Harness

    folder = tmp_path_factory.mktemp("export") / "hf"
    release = huggingface(trained.settings, trained.run, trained.model.state_dict())
    write(folder, release, "card", {})
    theirs = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=3)
    return Harness(trained, batch_size=3), theirs


def requests(*arguments):
    from lm_eval.api.instance import Instance

    return [Instance("", {}, tuple(given), 0) for given in arguments]


@pytest.mark.slow
@pytest.mark.reach
def test_log_likelihoods_are_those_of_lm_evals_own_adapter(both):
    pairs = [(q["question"], choice) for q in QUESTIONS for choice in q["choices"]]
    pairs += [("", "the cat"), ("a long context " * 9, "that is cut"), ("x", "y" * 32)]
    ours, theirs = (adapter.loglikelihood(requests(*pairs)) for adapter in both)
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]
    torch.testing.assert_close(
        torch.tensor(ours)[:, 0], torch.tensor(theirs)[:, 0], rtol=1e-4, atol=1e-3
    )
    texts = [(text,) for text in PROSE]
    ours, theirs = (adapter.loglikelihood_rolling(requests(*texts)) for adapter in both)
    assert ours == pytest.approx(theirs, rel=1e-4)


@pytest.mark.slow
@pytest.mark.reach
def test_generation_is_that_of_lm_evals_own_adapter(both):
    how = {"until": [" "], "max_gen_toks": 8, "do_sample": False}
    given = [(q["question"][:20], dict(how)) for q in QUESTIONS] + [("a", {**how, "until": "qz"})]
    ours, theirs = (adapter.generate_until(requests(*given)) for adapter in both)
    assert ours == theirs and any(ours)


@pytest.mark.slow
@pytest.mark.reach
def test_a_continuation_longer_than_the_block_is_predicted_in_parts(reached, trained):
    from gpt2.harness import Harness

    ours = Harness(trained)
    context, text = "the", " cat sat on a mat and then it ran to some tree where" * 2
    tokens = [*context.encode(), *text.encode()]
    total = 0.0
    for begin in range(len(context), len(tokens), 32):
        end = min(begin + 32, len(tokens))
        seen = torch.tensor(tokens[max(0, end - 33) : end])
        logits = trained.model(seen[None, :-1])[0]
        losses = torch.nn.functional.cross_entropy(logits, seen[1:], reduction="none")
        total -= losses[-(end - begin) :].sum().item()
    ((found, greedy),) = ours.loglikelihood(requests((context, text)))
    assert found == pytest.approx(total, rel=1e-5) and not greedy


def task_files(folder):
    for name, rows in {"animals": QUESTIONS, "prose": [{"text": text} for text in PROSE]}.items():
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        task = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(data)}},
            "test_split": "test",
            **KINDS[name],
        }
        (folder / f"{name}.yaml").write_text(json.dumps(task))
    return folder


@pytest.mark.slow
@pytest.mark.reach
def test_tasks_of_ones_own_are_evaluated_without_a_network(
    reached, call, capsys, finished, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    flags_ = [str(finished.dir), "--tasks", "animals,prose", "--include", str(task_files(tmp_path))]
    assert call(program, *flags_, "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    results = found["results"]
    assert results["animals"]["acc,none"] in (0, pytest.approx(1 / 3), pytest.approx(2 / 3), 1)
    bits = results["prose"]["bits_per_byte,none"]
    assert results["prose"]["byte_perplexity,none"] == pytest.approx(2**bits)
    trained = load_trained(flags("", precision="float32").parse_args([str(finished.dir)]))
    nats = sum(expected_nats(trained, text) for text in PROSE)
    assert bits == pytest.approx(nats / math.log(2) / sum(len(t.encode()) for t in PROSE), abs=1e-4)
    with pytest.raises(BadUse, match=r"has no animal; did you mean .*animals"):
        call(program, str(finished.dir), "--tasks", "animal", "--include", str(tmp_path))


def expected_nats(trained, text):
    """Of a text after an end-of-text token, in windows side by side, the last one shifted back."""
    tokens = [256, *text.encode()]
    total, block = 0.0, trained.model.config.block_size
    for begin in range(1, len(tokens), block):
        end = min(begin + block, len(tokens))
        seen = torch.tensor(tokens[max(0, end - block - 1) : end])
        logits = trained.model(seen[None, :-1])[0]
        losses = torch.nn.functional.cross_entropy(logits, seen[1:], reduction="none")
        total += losses[-(end - begin) :].sum().item()
    return total
