# SPDX-License-Identifier: MIT
"""Checkpoints are written whole or not at all, and never contain code."""

import errno
import hashlib
import io
import os
import pickle
import random
import stat
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from zstandard import FRAME_HEADER

from lib.train import checkpoint
from lib.train.checkpoint import CheckpointError
from lib.train.checkpoint.digest import MARK, digest_in, verify
from lib.train.checkpoint.file import FORMAT
from tests.lib.train.checkpoint.states import STATES, same


class Unstorable:
    """Raises what PyTorch raises for a tensor that it cannot store."""

    def __reduce__(self):
        raise RuntimeError("no sparse tensors here")


class Unpickled:
    """Records that it was unpickled."""

    happened = False

    def __reduce__(self):
        return (setattr, (Unpickled, "happened", True))


def test_what_is_saved_is_loaded(tmp_path):
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = {
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "step": 7,
        "best_val_loss": float("inf"),
        "settings_hash": "0123456789abcdef",
    }
    checkpoint.save(tmp_path / "last.pt", state)
    loaded = checkpoint.load(tmp_path / "last.pt")
    for name in ("model_state_dict", "optimizer_state_dict"):
        torch.testing.assert_close(loaded.pop(name), state.pop(name), rtol=0, atol=0)
    assert loaded == state
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"step": 1})

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=r"last\.pt: No space left on device"):
        checkpoint.save(path, {"step": 2})
    assert checkpoint.load(path) == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_disk_that_fills_within_the_file(tmp_path, file_size_limit):
    """PyTorch's own writer turns the error into one of its own."""
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"step": 1})
    with file_size_limit(100_000), pytest.raises(CheckpointError) as raised:
        checkpoint.save(path, {"weights": torch.zeros(100_000)})
    assert str(raised.value) == f"cannot write {path}: File too large"
    assert checkpoint.load(path) == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_what_cannot_be_stored_is_a_defect_and_no_full_disk(tmp_path):
    with pytest.raises(RuntimeError, match="sparse"):
        checkpoint.save(tmp_path / "last.pt", {"weights": Unstorable()})
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"step": 1})

    def interrupted(state, file):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(path, {"step": 2})
    assert checkpoint.load(path) == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_the_file_is_synced_before_the_rename_and_the_directory_after(tmp_path, monkeypatch):
    path, order = tmp_path / "last.pt", []
    sync = os.fsync

    def noting(descriptor):
        order.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    checkpoint.save(path, {"step": 1})
    assert order == [(False, False), (True, True)]


def test_a_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.pt: No such file"):
        checkpoint.load(tmp_path / "none.pt")


@pytest.mark.parametrize("keep", [0, 10, 500, -100])
def test_a_cut_off_file_is_named(tmp_path, keep):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"weights": torch.arange(100.0)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"last\.pt is damaged"):
        checkpoint.load(path)


@pytest.mark.parametrize("bits", [range(0, 3000, 7), None, range(-800, 0, 3)])
def test_one_flipped_bit_is_noticed(tmp_path, bits):
    """At the beginning, anywhere, and at the end with the digest itself."""
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"weights": torch.randn(1000), "step": 3})
    whole = path.read_bytes()
    for bit in bits or random.Random(0).sample(range(8 * len(whole)), 500):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"checkpoint .*last\.pt is damaged"):
            checkpoint.load(path)


def test_other_programs_read_a_checkpoint(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"weights": torch.arange(5.0)})
    assert torch.equal(torch.load(path, weights_only=True)["weights"], torch.arange(5.0))
    assert zipfile.ZipFile(path).testzip() is None


def test_a_file_that_no_training_wrote(tmp_path):
    path = tmp_path / "other.pt"
    torch.save({"step": 1}, path)
    with pytest.raises(CheckpointError, match=r"other\.pt is not a checkpoint of a training"):
        checkpoint.load(path)
    path.write_bytes(random.Random(0).randbytes(1000))
    with pytest.raises(CheckpointError, match=r"other\.pt .* was not written by a training"):
        checkpoint.load(path)


def plant(path, content: bytes):
    """A file of any content whose digest is right."""
    path.write_bytes(content + MARK + hashlib.sha256(content).hexdigest().encode())


@pytest.mark.parametrize("compress", [False, True])
def test_code_in_a_file_is_refused(tmp_path, compress):
    path = tmp_path / "evil.pt"
    checkpoint.save(path, {"step": Unpickled()}, compress=compress)
    with pytest.raises(CheckpointError, match=r"evil\.pt cannot be loaded: it holds more than ten"):
        checkpoint.load(path)
    plant(path, pickle.dumps(Unpickled(), protocol=2))
    with pytest.raises(CheckpointError, match=r"evil\.pt cannot be loaded"):
        checkpoint.load(path)
    assert not Unpickled.happened


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@settings(max_examples=100)
@given(st.binary(max_size=200), st.sampled_from([b"", b"PK\3\4", b"\x80\x02", FRAME_HEADER]))
def test_any_content_with_a_right_digest_is_an_error_of_one_kind(tmp_path_factory, content, start):
    path = tmp_path_factory.getbasetemp() / "planted.pt"
    plant(path, start + content)
    with pytest.raises(CheckpointError, match=r"planted\.pt "):
        checkpoint.load(path)


@pytest.mark.parametrize(
    ("state", "version"),
    [({"step": 1}, "an older"), ([1], "an older"), ({"format": 1}, "an older"),
     ({"format": FORMAT + 1}, "a newer"), ({"format": "x"}, "an older")],
)  # fmt: skip
def test_another_version_of_the_format(tmp_path, state, version):
    path = tmp_path / "last.pt"
    buffer = io.BytesIO()
    torch.save(state, buffer)
    plant(path, buffer.getvalue())
    with pytest.raises(CheckpointError, match=rf"last\.pt was written by {version} version"):
        checkpoint.load(path)


@settings(max_examples=50)
@given(state=STATES, compress=st.booleans())
def test_any_state_comes_back(tmp_path_factory, state, compress):
    path = tmp_path_factory.getbasetemp() / "any.pt"
    written = checkpoint.save(path, state, compress=compress)
    assert same(checkpoint.load(path), state)
    assert written == (path.stat().st_size, verify(path)) and digest_in(path) == written.sha256
    assert hashlib.sha256(path.read_bytes()[: -len(MARK) - 64]).hexdigest() == written.sha256


def test_zeros_take_no_space_when_compressed(tmp_path):
    weights = torch.randn(100_000) * (torch.rand(100_000) > 0.9)
    plain = checkpoint.save(tmp_path / "plain.pt", {"w": weights})
    packed = checkpoint.save(tmp_path / "packed.pt", {"w": weights}, compress=True)
    assert packed.size < plain.size / 3
    assert torch.equal(checkpoint.load(tmp_path / "packed.pt")["w"], weights)


def test_damage_of_a_compressed_file_is_noticed_before_it_is_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"w": torch.randn(1000)}, compress=True)
    whole = path.read_bytes()
    monkeypatch.setattr(torch, "load", None)
    for bit in random.Random(0).sample(range(8 * len(whole)), 200):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"last\.pt is damaged"):
            checkpoint.load(path)


def test_a_full_disk_while_compressing(tmp_path, file_size_limit):
    path = tmp_path / "last.pt"
    with file_size_limit(100_000), pytest.raises(CheckpointError, match="File too large"):
        checkpoint.save(path, {"w": torch.randn(100_000)}, compress=True)
    assert list(tmp_path.iterdir()) == []
