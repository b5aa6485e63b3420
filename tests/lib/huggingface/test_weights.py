# SPDX-License-Identifier: MIT
"""Weights in one file or several, here or on the hub; what is missing is named."""

import json

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from safetensors.torch import save_file

from lib.errors import Failure
from lib.huggingface.weights import read

TENSORS = {"a": torch.arange(3.0), "b": torch.ones(2, dtype=torch.bfloat16), "c": torch.zeros(1)}


def in_one(folder):
    save_file(TENSORS, folder / "model.safetensors")


def in_two(folder):
    where = {"a": "one.safetensors", "b": "two.safetensors", "c": "two.safetensors"}
    for file in set(where.values()):
        save_file({k: v for k, v in TENSORS.items() if where[k] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))


def same(found) -> bool:
    alike = (torch.equal(found[k], v) and found[k].dtype == v.dtype for k, v in TENSORS.items())
    return found.keys() == TENSORS.keys() and all(alike)


@pytest.mark.parametrize("form", [in_one, in_two])
@pytest.mark.parametrize("given", ["folder", "file"])
def test_a_directory_or_its_file(tmp_path, form, given):
    form(tmp_path)
    (tmp_path / "config.json").write_text('{"n_layer": 3}')
    file = "model.safetensors" if form is in_one else "model.safetensors.index.json"
    found = read(str(tmp_path / file if given == "file" else tmp_path), "S")
    assert same(found.weights) and found.config == {"n_layer": 3}


@pytest.mark.parametrize("form", [in_one, in_two])
def test_a_model_on_the_hub(tmp_path, monkeypatch, form):
    def download(repository, name):
        assert repository == "owner/name"
        if not (tmp_path / name).exists():
            raise EntryNotFoundError(name)
        return str(tmp_path / name)

    form(tmp_path)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    found = read("owner/name", "S")
    assert same(found.weights) and found.config == {}


def test_without_a_network(monkeypatch):
    def download(*_):
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(Failure, match=r"S: cannot download owner/name .*bring its directory here"):
        read("owner/name", "S")


def without_a_shard(folder):
    in_two(folder)
    (folder / "two.safetensors").unlink()


def with_a_shard_of_another(folder):
    in_two(folder)
    save_file({"b": TENSORS["b"]}, folder / "two.safetensors")


def with_a_damaged_index(folder):
    (folder / "model.safetensors.index.json").write_text('{"weight_map": [1]}')


def with_a_torn_file(folder):
    in_one(folder)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-4])


def with_a_damaged_config(folder):
    in_one(folder)
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda folder: None,
            r"has neither model\.safetensors nor model\.safetensors\.index\.json",
        ),
        (lambda folder: (folder / "metadata.yaml").touch(), "is a run.* FORMAT=hf.* INIT_FROM"),
        (lambda folder: (folder / "pytorch_model.bin").touch(), "save it again as safetensors"),
        (without_a_shard, r"names two\.safetensors, which is missing"),
        (with_a_shard_of_another, r"two\.safetensors lacks c, which"),
        (with_a_damaged_index, r"index\.json is damaged"),
        (with_a_torn_file, "cannot read"),
        (with_a_damaged_config, "cannot read"),
    ],
)
def test_what_is_missing_is_named(tmp_path, make, says):
    make(tmp_path)
    with pytest.raises(Failure, match=f"^S: .*{says}"):
        read(str(tmp_path), "S")


def test_an_index_does_not_reach_outside(tmp_path):
    """The names in it come from elsewhere."""
    (tmp_path / "model").mkdir()
    save_file({"a": TENSORS["a"]}, tmp_path / "secret.safetensors")
    index = {"weight_map": {"a": "../secret.safetensors"}}
    (tmp_path / "model" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(Failure, match=r"names secret\.safetensors, which is missing"):
        read(str(tmp_path / "model"), "S")
