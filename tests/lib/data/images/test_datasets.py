# SPDX-License-Identifier: MIT
"""The image data sets: splits that can be repeated, a cache that is checked, MNIST offline."""

import json
import re
import shutil
import socket
import time
from pathlib import Path

import datasets
import huggingface_hub
import numpy as np
import pytest
import torch
from safetensors.torch import save

from lib.data.cache import cached, fingerprint, read
from lib.data.images import hub_sets
from lib.data.images.digits import Digits
from lib.data.images.hub_sets import HUB_SETS
from lib.data.images.in_memory import canvas
from lib.errors import BadUse, Failure
from tests.images import load_images, whole
from tests.mnist_files import write_mnist


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


def test_digits_are_complete_and_normalised(data_dir):
    data = load_images(data_dir)
    sizes = data.info["sizes"]
    assert sum(sizes.values()) == 1797
    for name in ("train", "val", "test"):
        split = getattr(data, name)
        assert whole(split).shape == (sizes[name], 1, 32, 32)
        assert whole(split).dtype == torch.float32 and split.labels.dtype == torch.int64
        assert split.labels.unique().tolist() == list(range(10))
    assert whole(data.train).mean().item() == pytest.approx(0, abs=1e-3)
    assert whole(data.train).std().item() == pytest.approx(1, abs=1e-3)


def test_no_image_is_in_two_splits(data_dir):
    data = load_images(data_dir)
    images = [whole(split).flatten(1) for split in (data.train, data.val, data.test)]
    distinct = torch.unique(torch.cat(images), dim=0)
    original = Digits().load(data_dir)
    stored = torch.cat([original["train_images"], original["test_images"]]).flatten(1)
    assert len(distinct) == len(torch.unique(stored, dim=0)) == 1797


def test_the_seed_moves_validation_and_never_the_test_set(data_dir):
    a, b, again = (load_images(data_dir, "--seed", seed) for seed in "010")
    assert not torch.equal(whole(a.val), whole(b.val))
    assert torch.equal(a.test.labels, b.test.labels)
    assert a.info["fingerprint"] == b.info["fingerprint"]
    assert a.info["split"]["fingerprint"] != b.info["split"]["fingerprint"]
    assert a.info == again.info
    for one, two in zip(a[:3], again[:3], strict=True):
        assert torch.equal(whole(one), whole(two)) and torch.equal(one.labels, two.labels)


def test_scaling_up_keeps_every_pixel_in_its_place():
    images = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    images[0, 0, 2, 5] = 16
    scaled = canvas(images, size=32, channels=1, brightest=16)
    assert scaled.shape == (1, 1, 32, 32)
    row, column = divmod(int(scaled.argmax()), 32)
    assert (row // 4, column // 4) == (2, 5)
    assert scaled.sum().item() == pytest.approx(16.0)  # 4 × 4 pixels for one


def test_too_small_a_validation_share_is_refused(data_dir):
    with pytest.raises(BadUse, match="0 validation images"):
        load_images(data_dir, "--val-fraction", "0.001")


def test_fingerprint_sees_names_types_shapes_and_bytes():
    base = {"a": torch.arange(6), "b": torch.zeros(2)}
    variants = [
        base,
        {"c": torch.arange(6), "b": torch.zeros(2)},
        {"a": torch.arange(6).view(2, 3), "b": torch.zeros(2)},
        {"a": torch.arange(6).int(), "b": torch.zeros(2)},
        {"a": torch.arange(6), "b": torch.tensor([0.0, 1e-9])},
    ]
    assert len({fingerprint(variant) for variant in variants}) == len(variants)
    assert fingerprint(dict(reversed(base.items()))) == fingerprint(base)


def test_the_cache_builds_once(tmp_path):
    path, built = tmp_path / "sub" / "set.safetensors", []

    def build():
        built.append(1)
        return {"x": torch.arange(3)}

    assert cached(path, build)["x"].tolist() == cached(path, build)["x"].tolist() == [0, 1, 2]
    assert len(built) == 1


DAMAGES = {
    "cut off": lambda raw: raw[:700],
    "one bit": lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]),
    "no header": lambda raw: b"\xff" * 8 + raw[8:],
    "no fingerprint": lambda raw: save({"x": torch.arange(1000)}),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_cache_is_built_anew(tmp_path, capsys, damage):
    path = tmp_path / "set.safetensors"
    cached(path, lambda: {"x": torch.arange(1000)})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(Failure, match=re.escape(str(path))):
        read(path)
    assert cached(path, lambda: {"x": torch.arange(1000)})["x"].sum() == 499500
    assert f"{path}" in capsys.readouterr().err
    assert cached(path, pytest.fail)["x"].sum() == 499500


def test_a_cache_that_can_not_be_written_costs_nothing_else(tmp_path, capsys):
    (tmp_path / "file").write_text("no directory")
    assert (
        cached(tmp_path / "file" / "set.safetensors", lambda: {"x": torch.ones(1)})["x"].item() == 1
    )
    assert "prepared again next time" in capsys.readouterr().err


@pytest.fixture(scope="module")
def mnist_folder(tmp_path_factory):
    return write_mnist(tmp_path_factory.mktemp("mnist"), train=60, test=20)


def load_mnist(data_dir, folder):
    return load_images(data_dir, "--dataset", "mnist", "--data-files", str(folder))


def test_mnist_from_local_files(tmp_path, mnist_folder):
    data = load_mnist(tmp_path, mnist_folder)
    assert data.info["sizes"] == {"train": 50, "val": 10, "test": 20}
    source = datasets.load_dataset(
        "parquet", data_files={"test": f"{mnist_folder}/test-*"}, cache_dir=str(tmp_path / "hf")
    )["test"]
    pixels = np.stack([np.asarray(row["image"]) for row in source])
    raw = HUB_SETS["mnist"].load(tmp_path, str(mnist_folder))
    assert raw["test_images"].dtype == torch.uint8
    assert np.array_equal(raw["test_images"].numpy(), pixels)
    assert data.test.labels.tolist() == source["label"][:]


def test_mnist_is_padded_with_background(tmp_path, mnist_folder):
    data = load_mnist(tmp_path, mnist_folder)
    (mean,), (std,) = data.info["normalization"].values()
    border = whole(data.train).clone()
    border[:, :, 2:-2, 2:-2] = -mean / std
    assert torch.allclose(border, torch.tensor(-mean / std))


def test_mnist_is_decoded_once_and_nothing_else_is_left(tmp_path, mnist_folder, monkeypatch):
    first = load_mnist(tmp_path, mnist_folder)
    assert [path.suffix for path in tmp_path.glob("[!.]*")] == [".safetensors"]
    monkeypatch.setattr(hub_sets, "_from_files", pytest.fail)
    assert load_mnist(tmp_path, mnist_folder).info == first.info


def test_other_files_are_another_cache(tmp_path, mnist_folder):
    other = write_mnist(tmp_path / "other", train=60, test=10)
    load_mnist(tmp_path / "data", mnist_folder)
    assert load_mnist(tmp_path / "data", other).info["sizes"]["test"] == 10


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(tmp_path):
    folder = write_mnist(tmp_path / "files", train=2000, test=20)
    one = HUB_SETS["mnist"].load(tmp_path / "one", str(folder), workers=1)
    two = HUB_SETS["mnist"].load(tmp_path / "two", str(folder), workers=2)
    assert fingerprint(one) == fingerprint(two)


def test_a_folder_without_the_files_is_bad_use(tmp_path):
    with pytest.raises(BadUse, match=r"no train-\*\.parquet and no test-\*\.parquet"):
        load_mnist(tmp_path, tmp_path)


def test_images_of_another_size_are_refused(tmp_path):
    folder = write_mnist(tmp_path / "files", train=20, test=10, size=(28, 27))
    with pytest.raises(Failure, match="28 × 28"):
        load_mnist(tmp_path / "data", folder)
    assert not list((tmp_path / "data").glob("[!.]*"))


def test_a_damaged_image_is_a_failure(tmp_path):
    folder = write_mnist(tmp_path / "files", train=20, test=10, encode=lambda image: b"no image")
    with pytest.raises(Failure, match="not as expected"):
        load_mnist(tmp_path / "data", folder)


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"text": ["a", "b"]}, "columns image and label"),
        ({"image": ["a", "b"], "label": [0, 1]}, "not as expected"),
    ],
)
def test_files_of_another_schema_are_a_failure(tmp_path, columns, reason):
    table = datasets.Dataset.from_dict(columns)
    for split in ("train", "test"):
        table.to_parquet(str(tmp_path / f"{split}-0.parquet"))
    with pytest.raises(Failure, match=reason):
        load_mnist(tmp_path / "data", tmp_path)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Puts the hub at a port of this machine, and an empty cache under it."""

    def at(port: int) -> None:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        monkeypatch.setattr("lib.data.hub.NETWORK_TIMEOUT", 0.3)

    return at


@pytest.mark.parametrize("kind", ["refuses", "says nothing"])
def test_without_a_network_the_cure_is_said_at_once(tmp_path, hub, kind):
    """The libraries would retry for half a minute."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        hub(server.getsockname()[1])
        if kind == "refuses":
            server.close()
        started = time.monotonic()
        with pytest.raises(Failure, match=r"cannot read mnist from the hub(.|\n)*DATA_FILES"):
            load_mnist(tmp_path, "")
        assert time.monotonic() - started < 5
    assert datasets.config.HF_HUB_OFFLINE is False


def test_without_a_network_an_earlier_download_is_read(tmp_path, hub, mnist_folder):
    """From where the libraries keep it: a folder of Arrow files by repository and commit."""
    files = {split: f"{mnist_folder}/{split}-*" for split in ("train", "test")}
    built = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "built"))
    prepared = Path(built["train"].cache_files[0]["filename"]).parent
    commit = tmp_path / "cache" / "ylecun___mnist" / "mnist" / "0.0.0" / "77f3"
    shutil.copytree(prepared, commit)
    for path in commit.glob("parquet-*.arrow"):
        path.rename(path.with_name(path.name.replace("parquet-", "mnist-")))
    info = json.loads((commit / "dataset_info.json").read_text())
    info |= {"builder_name": "parquet", "dataset_name": "mnist", "config_name": "mnist"}
    (commit / "dataset_info.json").write_text(json.dumps(info))
    hub(9)  # the discard service: nothing answers there
    assert load_mnist(tmp_path / "data", "").info["sizes"]["test"] == 20
