# SPDX-License-Identifier: MIT
"""ImageNet: Parquet files, folders, earlier downloads, no hub."""

import io
import shutil

import datasets
import huggingface_hub
import pytest
import torch
from PIL import Image

from lib.data.images import imagenet
from lib.data.images.decode import middle
from lib.errors import BadUse, Failure
from tests.image_files import encoded, write_classes
from tests.image_sets import NAMES, SIZE, all_of, load, write_imagenet


def test_imagenet_from_parquet_files(tmp_path):
    write_imagenet(tmp_path / "images", {"train": 12, "validation": 6, "test": 3})
    held = load(tmp_path, DATASET="imagenet")
    assert held.info["sizes"] == {"train": 18, "val": 6, "test": 12}
    assert held.classes == NAMES
    assert held.test.labels.tolist() == [0, 1, 2] * 4
    streamed = load(tmp_path, DATASET="imagenet", IMAGE_MEMORY=0)
    for name in ("train", "val", "test"):
        one, two = (all_of(getattr(data, name)) for data in (held, streamed))
        assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])
    first = Image.open(
        io.BytesIO(
            datasets.load_dataset(
                "parquet",
                data_files=sorted(map(str, (tmp_path / "images").glob("validation-*"))),
                cache_dir=str(tmp_path / "hf"),
            )["train"].cast_column("image", datasets.Image(decode=False))[7]["image"]["bytes"]
        )
    )
    pixels = torch.tensor(middle(encoded(first.convert("RGB")), SIZE)) / 255
    mean, std = (torch.tensor(held.info["normalization"][k]).view(3, 1, 1) for k in ("mean", "std"))
    assert torch.allclose(all_of(held.test)[0][7], (pixels - mean) / std, atol=1e-5)


def test_a_broken_image_of_a_table_is_named_by_its_row(tmp_path):
    write_imagenet(tmp_path / "images", {"train": 12, "validation": 3}, {("train", 1, 4)})
    with pytest.raises(Failure, match=r"ImageNet, train, row 16 \(n_4\.JPEG\): no image"):
        load(tmp_path, DATASET="imagenet")
    assert load(tmp_path, DATASET="imagenet", BROKEN_IMAGES="skip").info["broken"] == 1


def test_imagenet_from_folders(tmp_path):
    for split in ("train", "val"):
        write_classes(tmp_path / "images" / split, {"n01": 8, "n02": 4})
    data = load(tmp_path, DATASET="imagenet")
    assert data.info["sizes"] == {"train": 9, "val": 3, "test": 12}
    shutil.rmtree(tmp_path / "images" / "val")
    with pytest.raises(BadUse, match=r"no val/ beside train/"):
        load(tmp_path, DATASET="imagenet")


def test_a_folder_that_is_no_imagenet_is_refused(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(BadUse, match=r"no train-\*\.parquet and no validation-\*\.parquet"):
        load(tmp_path, DATASET="imagenet")


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"text": ["a", "b"]}, "columns image and label expected"),
        ({"image": [{"bytes": b"", "path": ""}] * 2, "label": [0, -1]}, "images without labels"),
    ],
)
def test_parquet_files_of_another_schema_are_a_failure(tmp_path, columns, reason):
    (tmp_path / "images").mkdir()
    for split in ("train", "validation"):
        table = datasets.Dataset.from_dict(columns)
        table.to_parquet(str(tmp_path / "images" / f"{split}-0.parquet"))
    with pytest.raises(Failure, match=reason):
        load(tmp_path, DATASET="imagenet")


def test_parquet_files_that_are_not_all_there_are_refused(tmp_path):
    write_imagenet(tmp_path / "images", {"train": 3, "validation": 3})
    (tmp_path / "images" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(BadUse, match=r"1 of 2 files train-\*\.parquet"):
        load(tmp_path, DATASET="imagenet")


def test_imagenet_of_an_earlier_download_needs_no_network(tmp_path, monkeypatch):
    snapshot = tmp_path / "hub" / "datasets--ILSVRC--imagenet-1k" / "snapshots" / imagenet.REVISION
    snapshot.mkdir(parents=True)
    write_imagenet(snapshot / "data", {"train": 12, "validation": 6})
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(imagenet, "probe", pytest.fail)
    data = load(tmp_path, DATASET="imagenet", DATA_FILES="")
    assert data.info["sizes"] == {"train": 18, "val": 6, "test": 12}


def test_the_hub_that_does_not_answer_is_a_failure_that_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(Failure, match=r"(?s)ILSVRC/imagenet-1k.*terms.*DATA_FILES"):
        load(tmp_path, DATASET="imagenet", DATA_FILES="")
