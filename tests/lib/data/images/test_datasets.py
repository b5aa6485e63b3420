# SPDX-License-Identifier: MIT
"""The image data sets: splits that can be repeated, a cache that is checked, MNIST offline."""

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import save

from lib.data.cache import cached, fingerprint, read
from lib.data.images.digits import Digits
from lib.data.images.in_memory import canvas
from lib.errors import BadUse, Failure
from tests.images import load_images, whole


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


def test_of_several_callers_one_builds(tmp_path):
    path, built = tmp_path / "set.safetensors", []

    def build():
        built.append(1)
        time.sleep(0.3)
        return {"x": torch.arange(3)}

    with ThreadPoolExecutor(4) as pool:
        found = [*pool.map(lambda _: cached(path, build), range(4))]
    assert len(built) == 1 and all(one["x"].tolist() == [0, 1, 2] for one in found)


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
