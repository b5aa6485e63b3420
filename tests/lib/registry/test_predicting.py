# SPDX-License-Identifier: MIT
"""Inputs for a model from files, and what its logits say. Needs no MLflow."""

import io
import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lib.data.images.in_memory import canvas
from lib.errors import BadUse, Failure
from lib.registry.predicting import explained, read_inputs

GREY = {"kind": "images", "classes": ["no", "yes", "perhaps", "never"], "border": 2}
TOKENS = {"kind": "tokens", "tokenizer": "bytes", "longest": 8}
SHAPE = (-1, 1, 12, 12)


def test_numbers_from_files(tmp_path):
    x = np.linspace(0, 1, 2 * 144, dtype=np.float32).reshape(2, 1, 12, 12)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", y=np.zeros(3), x=x)
    (tmp_path / "x.json").write_text(json.dumps(x.tolist()))
    lines = (",".join(map(repr, row.ravel().tolist())) for row in x)
    (tmp_path / "x.csv").write_text("\n".join(lines))
    for name in ("x.npy", "x.npz", "x.json", "x.csv"):
        found = read_inputs(str(tmp_path / name), GREY, SHAPE)
        assert np.array_equal(found.batches[0], x) and found.names == ["[0]", "[1]"], name


def test_one_input_and_pixels_that_are_integers(tmp_path):
    x = np.arange(144, dtype=np.uint8).reshape(1, 12, 12)
    np.save(tmp_path / "x.npy", x)
    (batch,) = read_inputs(str(tmp_path / "x.npy"), GREY, SHAPE).batches
    assert batch.shape == (1, 1, 12, 12) and np.allclose(batch[0] * 255, x)


def test_images_come_as_in_evaluation(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    for name in ("b.png", "a.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not an image")
    found = read_inputs(str(tmp_path), GREY, SHAPE)
    assert found.names == ["a.png", "b.png"]
    expected = canvas(torch.from_numpy(pixels)[None, None], 12, 1, pad=2)
    assert np.abs(found.batches[0] - expected.numpy()).max() < 1e-6


def test_text_becomes_tokens(tmp_path):
    (batch,) = read_inputs("abc", TOKENS, (-1, -1)).batches
    assert batch.tolist() == [[256, 97, 98, 99]] and batch.dtype == np.int64
    (tmp_path / "long.txt").write_text("0123456789")
    (batch,) = read_inputs(str(tmp_path / "long.txt"), TOKENS, (-1, -1)).batches
    assert bytes(batch[0].tolist()) == b"23456789"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("x.npy", "zeros", "not .npy with numbers"),
        ("x.npy", np.zeros((2, 3, 12, 12)), "the model takes"),
        ("x.npy", np.full((1, 1, 12, 12), np.nan), "finite"),
        ("x.npy", np.zeros((0, 1, 12, 12)), "at least one"),
        ("x.npy", np.array(["a"]), "not numbers"),
        ("x.csv", "a,b", "not .csv with numbers"),
        ("x.json", "[[1], [1, 2]]", "not .json with numbers"),
        ("x.json", "{", "not .json with numbers"),
        ("x.pt", "", "want .npy"),
    ],
)
def test_what_does_not_fit(tmp_path, name, content, complaint):
    file = tmp_path / name
    if isinstance(content, str):
        file.write_text(content)
    else:
        np.save(file, content)
    with pytest.raises(BadUse, match=complaint):
        read_inputs(str(file), GREY, SHAPE)


def test_pickles_are_not_loaded(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(BadUse, match=r"not .npy with numbers"):
        read_inputs(str(tmp_path / "x.npy"), GREY, SHAPE)


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(BadUse, match="there is no such file"):
        read_inputs(str(tmp_path / "x.npy"), GREY, SHAPE)
    (tmp_path / "x.png").write_bytes(b"no image")
    with pytest.raises(Failure, match=r"x.png: no image that Pillow reads"):
        read_inputs(str(tmp_path / "x.png"), GREY, SHAPE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadUse, match="no images in this folder"):
        read_inputs(str(tmp_path / "empty"), GREY, SHAPE)
    np.save(tmp_path / "ids.npy", np.array([0.5]))
    with pytest.raises(BadUse, match="whole numbers"):
        read_inputs(str(tmp_path / "ids.npy"), TOKENS, (-1, -1))
    np.savez(tmp_path / "two.npz", a=np.zeros(1), b=np.zeros(1))
    with pytest.raises(BadUse, match="which of its arrays"):
        read_inputs(str(tmp_path / "two.npz"), GREY, SHAPE)


@given(st.lists(st.floats(-1e4, 1e4), min_size=4, max_size=4))
def test_probabilities(logits):
    (row,) = explained(np.array([logits], dtype=np.float32), ["x"], GREY)
    values = [guess["probability"] for guess in row["best"]]
    assert len(values) == 3 and values == sorted(values, reverse=True) and sum(values) <= 1.001
    first = GREY["classes"][int(np.argmax(np.array(logits, dtype=np.float32)))]
    assert row["best"][0]["label"] == first


def test_next_tokens():
    logits = np.zeros((1, 2, 257), dtype=np.float32)
    logits[0, -1, ord("z")] = 10
    (row,) = explained(logits, ["x"], TOKENS)
    assert row["best"][0]["label"] == "z" and row["best"][0]["probability"] > 0.9


def test_an_image_of_a_photographs_model_is_cut_to_its_middle(tmp_path):
    file = io.BytesIO()
    wide = np.zeros((20, 60, 3), dtype=np.uint8)
    wide[:, 20:40] = 255
    Image.fromarray(wide).save(file, "PNG")
    (tmp_path / "x.png").write_bytes(file.getvalue())
    about = {**GREY, "border": None}
    (batch,) = read_inputs(str(tmp_path / "x.png"), about, (-1, 3, 12, 12)).batches
    assert batch.shape == (1, 3, 12, 12) and batch.min() > 0.95
