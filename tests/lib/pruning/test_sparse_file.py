# SPDX-License-Identifier: MIT
"""The sparse file: exact, as small as promised, damage found."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.pruning.sparse_file import SparseFileError, bound, load_sparse, save_sparse


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


@settings(deadline=None)
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
    with pytest.raises(SparseFileError, match="is no sparse model file"):
        load_sparse(tmp_path / "x")
    with pytest.raises(SparseFileError, match=r"cannot read .*missing: No such file"):
        load_sparse(tmp_path / "missing")
