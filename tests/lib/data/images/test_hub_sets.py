# SPDX-License-Identifier: MIT
"""Image sets of the hub: from local files, from the hub, and without a network."""

import io
import json
import shutil
import socket
import time
from pathlib import Path

import datasets
import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from lib.data.cache import fingerprint
from lib.data.images import hub_sets
from lib.data.images.hub_sets import HUB_SETS
from lib.errors import BadUse, Failure
from tests.hub_files import png, write_hub_set
from tests.images import load_images, whole


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    """A folder of Parquet files for each set."""
    root = tmp_path_factory.mktemp("files")
    sizes = {"mnist": 60, "cifar10": 60, "cifar100": 1000}
    return {name: write_hub_set(root / name, name, n, test=20) for name, n in sizes.items()}


def load(name, data_dir, folder, *flags, channels=1):
    return load_images(
        data_dir, "--dataset", name, "--data-files", str(folder), *flags, channels=channels
    )


def load_mnist(data_dir, folder):
    return load("mnist", data_dir, folder)


@pytest.mark.parametrize("name", HUB_SETS)
def test_local_files_are_decoded(tmp_path, files, name):
    found, hub_set = load(name, tmp_path, files[name], channels=3), HUB_SETS[name]
    assert found.classes == list(hub_set.classes)
    sizes = found.info["sizes"]
    assert (sizes["train"], sizes["val"]) == ((900, 100) if name == "cifar100" else (50, 10))
    source = datasets.load_dataset(
        "parquet", data_files={"test": f"{files[name]}/test-*"}, cache_dir=str(tmp_path / "hf")
    )["test"]
    pixels = np.stack([np.asarray(row[hub_set.image]) for row in source])
    raw = hub_set.load(tmp_path, str(files[name]))["test_images"]
    assert raw.dtype == torch.uint8
    assert np.array_equal(raw.numpy() if raw.ndim == 3 else raw.permute(0, 2, 3, 1), pixels)
    assert found.test.labels.tolist() == source[hub_set.label][:]
    assert whole(found.test).shape == (20, 3, 32, 32)


@pytest.mark.parametrize("name", HUB_SETS)
def test_each_channel_is_normalised(tmp_path, files, name):
    data = load(name, tmp_path, files[name], channels=3)
    std, mean = torch.std_mean(whole(data.train), dim=(0, 2, 3))
    assert mean.abs().max() < 1e-3 and (std - 1).abs().max() < 1e-3
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in data.info["normalization"].values())
    raw = HUB_SETS[name].load(tmp_path, str(files[name]))["test_images"]
    raw = F.pad(raw, (2, 2, 2, 2))[:, None].expand(-1, 3, -1, -1) if raw.ndim == 3 else raw
    torch.testing.assert_close(whole(data.test), (raw / 255 - mean) / std, rtol=0, atol=1e-5)


def test_colour_becomes_grey_for_one_channel(tmp_path, files):
    data = load("cifar10", tmp_path, files["cifar10"], "--normalization", "imagenet")
    raw = HUB_SETS["cifar10"].load(tmp_path, str(files["cifar10"]))["test_images"]
    images = [Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L") for image in raw]
    (mean,), (std,) = data.info["normalization"].values()
    assert (mean, std) == (pytest.approx(0.4589, abs=1e-3), pytest.approx(0.226, abs=1e-3))
    grey = torch.from_numpy(np.stack(images))[:, None] / 255
    found = whole(data.test) * std + mean
    torch.testing.assert_close(found, grey, rtol=0, atol=0.6 / 255)


def test_images_are_normalised_as_those_of_imagenet(tmp_path, files):
    data = load("cifar10", tmp_path, files["cifar10"], "--normalization", "imagenet", channels=3)
    assert data.info["normalization"] == {
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }


def test_mnist_is_padded_with_background(tmp_path, files):
    data = load_mnist(tmp_path, files["mnist"])
    (mean,), (std,) = data.info["normalization"].values()
    border = whole(data.train).clone()
    border[:, :, 2:-2, 2:-2] = -mean / std
    assert torch.allclose(border, torch.tensor(-mean / std))


def test_mnist_is_decoded_once_and_nothing_else_is_left(tmp_path, files, monkeypatch):
    first = load_mnist(tmp_path, files["mnist"])
    assert [path.suffix for path in tmp_path.glob("[!.]*")] == [".safetensors"]
    monkeypatch.setattr(hub_sets, "_from_files", pytest.fail)
    assert load_mnist(tmp_path, files["mnist"]).info == first.info


def test_other_files_are_another_cache(tmp_path, files):
    other = write_hub_set(tmp_path / "other", "mnist", train=60, test=10)
    load_mnist(tmp_path / "data", files["mnist"])
    assert load_mnist(tmp_path / "data", other).info["sizes"]["test"] == 10


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(tmp_path):
    folder = write_hub_set(tmp_path / "files", "mnist", train=2000, test=20)
    one = HUB_SETS["mnist"].load(tmp_path / "one", str(folder), workers=1)
    two = HUB_SETS["mnist"].load(tmp_path / "two", str(folder), workers=2)
    assert fingerprint(one) == fingerprint(two)


def test_a_folder_without_the_files_is_bad_use(tmp_path):
    with pytest.raises(BadUse, match=r"no train-\*\.parquet and no test-\*\.parquet"):
        load_mnist(tmp_path, tmp_path)


def test_images_of_another_size_are_refused(tmp_path):
    folder = write_hub_set(tmp_path / "files", "mnist", train=20, test=10, size=(28, 27))
    with pytest.raises(Failure, match="train image 0: 27 × 28 pixels, not 28 × 28"):
        load_mnist(tmp_path / "data", folder)
    assert not list((tmp_path / "data").glob("[!.]*"))


def test_a_damaged_image_is_a_failure(tmp_path):
    folder = write_hub_set(
        tmp_path / "files", "mnist", train=20, test=10, encode=lambda image: b"no image"
    )
    with pytest.raises(Failure, match="train image 0: no image"):
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


@pytest.mark.parametrize(
    ("classes", "reason"),
    [
        ([*"0123456789a"], "10 classes expected, found 11"),
        ([*"01"], "10 classes expected, found 2"),
    ],
)
def test_another_number_of_classes_is_refused(tmp_path, classes, reason):
    folder = write_hub_set(tmp_path / "files", "cifar10", 20, 20, classes=classes)
    with pytest.raises(Failure, match=reason):
        load("cifar10", tmp_path / "data", folder)


@pytest.mark.parametrize("label", [10, -1, 300, None])
def test_a_label_that_is_no_class_is_refused(tmp_path, label):
    rows = {
        "img": [{"bytes": png(np.zeros((32, 32, 3), np.uint8)), "path": None}] * 20,
        "label": [label] + [1] * 19,
    }
    kinds = datasets.Features(img=datasets.Image(), label=datasets.Value("int64"))
    for split in ("train", "test"):
        table = datasets.Dataset.from_dict(rows, features=kinds)
        table.to_parquet(str(tmp_path / f"{split}-0.parquet"))
    with pytest.raises(Failure, match=f"label {label} in column label is not one of 0 to 9"):
        load("cifar10", tmp_path / "data", tmp_path)


def test_a_set_without_images_is_refused(tmp_path):
    folder = write_hub_set(tmp_path / "files", "cifar10", train=20, test=0)
    with pytest.raises(Failure, match="cannot read cifar10 from the files given"):
        load("cifar10", tmp_path / "data", folder)


def of_mode(mode: str):
    def encode(image: np.ndarray) -> bytes:
        file = io.BytesIO()
        Image.fromarray(image).convert(mode).save(file, "TIFF")
        return file.getvalue()

    return encode


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "P"])
def test_images_of_other_modes_become_rgb(tmp_path, mode):
    folder = write_hub_set(tmp_path / "files", "cifar10", 20, 10, encode=of_mode(mode))
    found = HUB_SETS["cifar10"].load(tmp_path, str(folder))["test_images"]
    random = np.random.default_rng(0)
    random.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    pixels = random.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
    expected = [np.asarray(Image.fromarray(one).convert(mode).convert("RGB")) for one in pixels]
    assert np.array_equal(found.permute(0, 2, 3, 1).numpy(), np.stack(expected))


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


@pytest.mark.parametrize("revision", [HUB_SETS["mnist"].revision, "0123abc"])
def test_without_a_network_an_earlier_download_is_read(tmp_path, hub, files, capsys, revision):
    """From where the libraries keep it: a folder of Arrow files by repository and commit."""
    local = {split: f"{files['mnist']}/{split}-*" for split in ("train", "test")}
    built = datasets.load_dataset("parquet", data_files=local, cache_dir=str(tmp_path / "built"))
    prepared = Path(built["train"].cache_files[0]["filename"]).parent
    commit = tmp_path / "cache" / "ylecun___mnist" / "mnist" / "0.0.0" / revision
    shutil.copytree(prepared, commit)
    for path in commit.glob("parquet-*.arrow"):
        path.rename(path.with_name(path.name.replace("parquet-", "mnist-")))
    info = json.loads((commit / "dataset_info.json").read_text())
    info |= {"builder_name": "parquet", "dataset_name": "mnist", "config_name": "mnist"}
    (commit / "dataset_info.json").write_text(json.dumps(info))
    hub(9)  # the discard service: nothing answers there
    assert load_mnist(tmp_path / "data", "").info["sizes"]["test"] == 20
    warned = "another revision, 0123abc" in capsys.readouterr().err
    assert warned == (revision == "0123abc")
