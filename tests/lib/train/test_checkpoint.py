# SPDX-License-Identifier: MIT
"""Checkpoints: whole or not at all, and never code."""

import errno
import os
import stat
from pathlib import Path

import pytest
import torch

from lib.train import checkpoint
from lib.train.checkpoint import CheckpointError


class Unpickled:
    """Says so when it is unpickled."""

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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_within_the_file(tmp_path, monkeypatch):
    """PyTorch's own writer meets the error and raises something of its own."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    (tmp_path / ".last.pt.1.tmp").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"cannot write .*last\.pt"):
        checkpoint.save(tmp_path / "last.pt", {"weights": torch.zeros(100_000)})
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


def test_code_in_a_file_is_refused(tmp_path):
    path = tmp_path / "evil.pt"
    torch.save({"step": Unpickled()}, path)
    with pytest.raises(CheckpointError, match=r"evil\.pt"):
        checkpoint.load(path)
    assert not Unpickled.happened
