# SPDX-License-Identifier: MIT
"""The sparse file: exact, as small as promised, damage found."""

import json
import math
import struct
import zlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.pruning.sparse_file import (
    DTYPES,
    HEADER_LIMIT,
    MAGIC,
    OTHER_DTYPES,
    SparseFileError,
    bound,
    load_sparse,
    save_sparse,
)


def network(sparsity: float) -> dict[str, torch.Tensor]:
    """The shapes of LeNet-5, the smallest model: the header weighs most there."""
    torch.manual_seed(0)
    shapes = {
        "conv1.weight": (6, 1, 5, 5), "conv2.weight": (16, 6, 5, 5), "fc1.weight": (120, 400),
        "fc2.weight": (84, 120), "fc3.weight": (10, 84),
    }  # fmt: skip
    weights = {
        name: torch.randn(shape) * (torch.rand(shape) >= sparsity) for name, shape in shapes.items()
    }
    biases = {name.replace("weight", "bias"): torch.randn(s[0]) for name, s in shapes.items()}
    return weights | biases


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.7, 0.9, 0.95])
def test_within_three_percent_of_the_bound(tmp_path, sparsity):
    tensors = network(sparsity)
    size = save_sparse(tmp_path / "model.sparse", tensors)
    assert size == (tmp_path / "model.sparse").stat().st_size
    n = sum(t.numel() for t in tensors.values())
    zeros = sum(int((t == 0).sum()) for t in tensors.values())
    expected = 2 * n * (1 / 16 + 1 - zeros / n)
    assert bound(tensors) == pytest.approx(expected)
    assert size <= 1.03 * expected


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_loader_is_exact(tmp_path, dtype):
    tensors = network(0.8)
    tensors |= {
        "norm.count": torch.tensor(7),
        "norm.flags": torch.tensor([True, False]),
        "empty": torch.empty(0, 3),
        "half": torch.randn(3).half(),
    }
    save_sparse(tmp_path / "model.sparse", tensors, dtype)
    found = load_sparse(tmp_path / "model.sparse")
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        floating = tensor.is_floating_point()
        expected = tensor.to(getattr(torch, dtype)) if floating else tensor
        assert found[name].dtype == expected.dtype
        assert found[name].shape == tensor.shape and found[name].equal(expected), name


@given(st.lists(st.floats(width=32) | st.just(0.0), min_size=1, max_size=40))
def test_any_values_come_back(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("sparse") / "x"
    tensor = torch.tensor(values, dtype=torch.float32)
    save_sparse(path, {"x": tensor}, "float32")
    found = load_sparse(path)["x"]
    assert torch.equal(found.nan_to_num(7.25), tensor.nan_to_num(7.25))


@pytest.mark.parametrize("position", [9, 13, 40, -1])
def test_damage_is_found(tmp_path, position):
    path = tmp_path / "model.sparse"
    save_sparse(path, network(0.5))
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(SparseFileError, match=r"model.sparse is damaged"):
        load_sparse(path)


def test_another_file_and_no_file(tmp_path):
    (tmp_path / "x").write_bytes(b"PK\x03\x04 and so on, for long enough")
    with pytest.raises(SparseFileError, match="is not a sparse model file"):
        load_sparse(tmp_path / "x")
    with pytest.raises(SparseFileError, match=r"cannot read .*missing: No such file"):
        load_sparse(tmp_path / "missing")


def craft(path, body: bytes) -> None:
    """A file of which the magic and the checksum are right."""
    path.write_bytes(struct.pack("<8sI", MAGIC, zlib.crc32(body)) + body)


def craft_header(path, header, behind: bytes = b"") -> None:
    """The same with a header and bytes behind it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    packed = zlib.compress(text, 9)
    craft(path, struct.pack("<I", len(packed)) + packed + behind)


GOOD = {"dtype": "float32", "tensors": [["x", [9]]], "others": [["n", [2], "int8"]], "values": 2}
BEHIND = bytes([0b10000000, 0b10000000]) + struct.pack("<2f", 1.5, 2.5) + bytes([3, 4])


def test_a_crafted_file_that_is_right_loads(tmp_path):
    craft_header(tmp_path / "x", GOOD, BEHIND)
    found = load_sparse(tmp_path / "x")
    assert found["x"].tolist() == [1.5, *[0.0] * 7, 2.5] and found["n"].tolist() == [3, 4]


@pytest.mark.parametrize(
    "change",
    [
        {"tensors": [["x", [2**30]]]},  # 87 bytes that would take 4 GiB
        {"tensors": [["x", [2**70]]]},
        {"tensors": [["x", [0, 2**70]]]},
        {"tensors": [["x", [-9]]]},
        {"tensors": [["x", [True, 9]]]},
        {"tensors": [["x", [9.0]]]},
        {"tensors": [["x", 9]]},
        {"tensors": [["x", [1] * 65]]},
        {"tensors": [[["x"], [9]]]},
        {"tensors": [["x", [9]], ["x", [0]]]},
        {"tensors": [["n", [9]]]},
        {"tensors": None},
        {"values": 1},  # would be spread over both places
        {"values": 3},
        {"values": -2},
        {"values": "2"},
        {"dtype": "float8"},
        {"dtype": ["float32"]},
        {"others": [["n", [2], "load"]]},
        {"others": [["n", [2], "int16"]]},
        {"others": [["n", [2]]]},
        {"others": {}},
    ],
    ids=str,
)
def test_a_header_that_says_what_is_not_so(tmp_path, change):
    craft_header(tmp_path / "x", GOOD | change, BEHIND)
    with pytest.raises(SparseFileError, match=r"/x is not a valid sparse model file: its "):
        load_sparse(tmp_path / "x")


@pytest.mark.parametrize("missing", GOOD)
def test_a_header_that_lacks_something(tmp_path, missing):
    craft_header(tmp_path / "x", {k: v for k, v in GOOD.items() if k != missing}, BEHIND)
    with pytest.raises(SparseFileError, match="lacks dtype, tensors, others or values"):
        load_sparse(tmp_path / "x")


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 100_000,
        b'{"values": ' + b"9" * 5000 + b"}",
        b"\xff\xfe",
        b"",
        b" " * (HEADER_LIMIT + 1),
        b" " * 2**26,  # 64 KiB that inflate to 64 MiB
    ],
    ids=["nested", "digits", "utf-8", "empty", "long", "bomb"],
)
def test_a_header_that_is_none(tmp_path, header):
    craft_header(tmp_path / "x", header)
    with pytest.raises(SparseFileError, match="is not a valid sparse model file: its header"):
        load_sparse(tmp_path / "x")


@pytest.mark.parametrize("bits", [(0b11000000, 0b10000000), (0b10000000, 0b10000001)])
def test_the_bitmap_is_held_against_the_number_of_values(tmp_path, bits):
    craft_header(tmp_path / "x", GOOD, bytes(bits) + BEHIND[2:])
    with pytest.raises(SparseFileError, match="its bitmap has"):
        load_sparse(tmp_path / "x")


def loads_or_fails(path) -> None:
    """The tensors are there and no larger than they may be, or there is one SparseFileError."""
    try:
        found = load_sparse(path)
    except SparseFileError as error:
        assert str(path) in str(error)
    else:
        assert sum(t.numel() * t.element_size() for t in found.values()) <= (
            32 * path.stat().st_size
        )


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes(tmp_path_factory, body, framed):
    path = tmp_path_factory.mktemp("sparse") / "x"
    (craft_header if framed else craft)(path, body)
    loads_or_fails(path)


SIDES = st.lists(st.integers(-1, 5) | st.integers() | st.floats() | st.none(), max_size=4)
NAMES = st.sampled_from(["a", "b", ""]) | st.integers()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
HEADERS = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(list(DTYPES)) | JSON,
        "tensors": st.lists(st.tuples(NAMES, SIDES) | JSON, max_size=3) | JSON,
        "others": st.lists(st.tuples(NAMES, SIDES, st.sampled_from(list(OTHER_DTYPES))) | JSON)
        | JSON,
        "values": st.integers(-1, 20) | JSON,
    }
)


@given(HEADERS | JSON, st.binary(max_size=64))
def test_any_header(tmp_path_factory, header, behind):
    path = tmp_path_factory.mktemp("sparse") / "x"
    craft_header(path, header, behind)
    loads_or_fails(path)


@given(
    st.lists(st.lists(st.integers(0, 4), max_size=3), max_size=3),
    st.lists(st.lists(st.integers(0, 4), max_size=3), max_size=2),
    st.data(),
)
def test_any_header_whose_lengths_are_right(tmp_path_factory, shapes, more, data):
    path = tmp_path_factory.mktemp("sparse") / "x"
    n = sum(map(math.prod, shapes))
    bitmap = data.draw(st.binary(min_size=(n + 7) // 8, max_size=(n + 7) // 8))
    values = sum(byte.bit_count() for byte in bitmap)
    header = {
        "dtype": "float32",
        "tensors": [[f"t{i}", shape] for i, shape in enumerate(shapes)],
        "others": [[f"o{i}", shape, "bool"] for i, shape in enumerate(more)],
        "values": values,
    }
    craft_header(path, header, bitmap + bytes(4 * values) + b"\x07" * sum(map(math.prod, more)))
    loads_or_fails(path)


def test_what_cannot_be_held_is_not_written(tmp_path):
    with pytest.raises(ValueError, match=r"z: a sparse file cannot hold torch\.complex64"):
        save_sparse(tmp_path / "x", {"z": torch.zeros(1, dtype=torch.complex64)})
    assert not list(tmp_path.iterdir())


def test_a_network_without_floating_tensors(tmp_path):
    save_sparse(tmp_path / "x", {"n": torch.arange(3)})
    assert load_sparse(tmp_path / "x")["n"].tolist() == [0, 1, 2]
