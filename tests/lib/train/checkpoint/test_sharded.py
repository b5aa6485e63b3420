# SPDX-License-Identifier: MIT
"""Sharded checkpoints on real gloo ranks: resuming, another number of ranks, damage."""

import hashlib
import os
import pickle
import resource
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

from lib.optim.adamwspam import AdamWSPAM, Spam
from lib.train import checkpoint
from lib.train.checkpoint import CheckpointError, digest, file, manifest, sharded
from lib.train.checkpoint.find import listed, load_newest, named, step_folder
from lib.train.checkpoint.index import read_index
from lib.train.sharded_saver import ShardedSaver

pytestmark = pytest.mark.slow

OPTIMIZERS = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True, fused=True),
    "adamwspam": lambda p: AdamWSPAM(
        p, lr=0.01, fused=True, spam=Spam(reset_every=3, grace=1, warmup=2)
    ),
    "stable": lambda p: AdamWSPAM(p, lr=0.01, fused=True, spam=Spam(stable=True, reset_every=3)),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.01),  # without any state
    "momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9),
}
SHARD_2 = "shard-00002-model-00001-of-00001.safetensors"
PLAIN = {"step": 4, "rng": [torch.arange(3), torch.arange(3)], "best": {"val/loss": 2.5}}


class Training:
    """Steps of a small network. Its layers have rows for two ranks: of three, one has no bias.

    That bias has the shape of what Stable-SPAM keeps for each parameter, which is not sharded.
    """

    def __init__(self, optimizer: str, world_size: int, classes: int = 5) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, classes))
        if world_size:
            mesh = dist.device_mesh.init_device_mesh("cpu", (world_size,))
            for block in self.model:
                fully_shard(block, mesh=mesh)
            fully_shard(self.model, mesh=mesh)
        self.optimizer = OPTIMIZERS[optimizer](self.model.parameters())

    def steps(self, first: int, end: int) -> dict[str, torch.Tensor]:
        """Make the steps `first` to `end - 1`; returns the whole weights."""
        for step in range(first, end):
            x = torch.randn(6, 3, generator=torch.Generator().manual_seed(step))
            self.model(x).square().mean().backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        state = self.model.state_dict()
        return {k: v.full_tensor() if hasattr(v, "full_tensor") else v for k, v in state.items()}


def _rank(rank, world_size, folder, work, *args):
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size
    )
    try:
        work(folder, world_size, *args)
    finally:
        dist.destroy_process_group()


def on_ranks(world_size, folder, work, *args):
    """Execute `work(folder, world_size, *args)` in processes that form a group."""
    (folder / "store").unlink(missing_ok=True)
    torch.multiprocessing.spawn(_rank, (world_size, folder, work, *args), nprocs=world_size)


def write(folder, world_size):
    """Four steps, a checkpoint, four more, as without ranks; the final weights in NAME.pt."""
    for name in OPTIMIZERS:
        training = Training(name, world_size)
        training.steps(0, 4)
        for _ in range(2):  # the second one replaces the first
            sharded.save(folder / "checkpoints" / name, training.model, training.optimizer, PLAIN)
        weights = training.steps(4, 8)
        torch.testing.assert_close(weights, Training(name, 0).steps(0, 8), rtol=0, atol=1e-6)
        if dist.get_rank() == 0:
            file.save(folder / f"{name}.pt", weights)


def go_on(folder, world_size):
    """The latter four steps: the weights of NAME.pt, in all bits by as many ranks as wrote."""
    for name in OPTIMIZERS:
        training = Training(name, world_size)
        plain = sharded.load(folder / "checkpoints" / name, training.model, training.optimizer)
        assert plain["best"] == PLAIN["best"] and torch.equal(plain["rng"][1], torch.arange(3))
        ours, theirs = training.steps(4, 8), file.load(folder / f"{name}.pt")
        exact = {"rtol": 0, "atol": 0 if world_size == 2 else 1e-6}
        torch.testing.assert_close(ours, dict(theirs), **exact)


def refuse(folder, world_size):
    """Damage that one rank alone reads is an error on all of them."""
    training = Training("adamw", world_size)
    with pytest.raises(CheckpointError, match=r"shard-00002.*does not match its SHA-256"):
        sharded.load(folder / "damaged", training.model, training.optimizer)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Checkpoints of two ranks, by the name of the optimizer, and the weights four steps later."""
    folder = tmp_path_factory.mktemp("sharded")
    on_ranks(2, folder, write)
    return folder


def test_a_directory_has_the_parts_and_nothing_else(folder):
    checkpoints = folder / "checkpoints"
    assert {path.name for path in checkpoints.iterdir()} == set(OPTIMIZERS)
    names = {path.name for path in (checkpoints / "adamw").iterdir()}
    assert names == {"state.pt", "manifest.json", SHARD_2.replace("2", "1"), SHARD_2}
    total = sum(path.stat().st_size for path in (checkpoints / "adamw").iterdir())
    assert manifest.size(checkpoints / "adamw") == total


@pytest.mark.parametrize("ranks", [2, 3])
def test_another_number_of_ranks_goes_on(folder, ranks):
    on_ranks(ranks, folder, go_on)


def test_a_process_without_a_group_goes_on(folder):
    go_on(folder, 0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_whole_states_fit_an_unsharded_training(folder, name):
    state = sharded.load_whole(folder / "checkpoints" / name)
    assert state["step"] == 4
    training = Training(name, 0)
    assert list(state["model_state_dict"]) == list(training.model.state_dict())
    training.model.load_state_dict(state["model_state_dict"])
    training.optimizer.load_state_dict(state["optimizer_state_dict"])
    ours, theirs = training.steps(4, 8), file.load(folder / f"{name}.pt")
    torch.testing.assert_close(ours, dict(theirs), rtol=0, atol=1e-6)


def test_another_model_is_refused(folder):
    training = Training("adamw", 0, classes=6)
    with pytest.raises(CheckpointError, match=r"another model: 2\.bias differs, and 1 more"):
        sharded.load(folder / "checkpoints" / "adamw", training.model, training.optimizer)


# ---------------------------------------------------------------- damage


@pytest.fixture
def damaged(folder):
    """A copy of a checkpoint, to be damaged."""
    shutil.copytree(folder / "checkpoints" / "adamw", folder / "damaged")
    yield folder / "damaged"
    shutil.rmtree(folder / "damaged")


def refused(path: Path) -> str:
    """What is said about `path`, which neither way of loading takes."""
    training = Training("adamw", 0)
    before = training.steps(0, 1)
    with pytest.raises(CheckpointError) as whole:
        sharded.load_whole(path)
    with pytest.raises(CheckpointError) as parts:
        sharded.load(path, training.model, training.optimizer)
    assert str(whole.value) == str(parts.value)
    torch.testing.assert_close(training.model.state_dict(), before, rtol=0, atol=0)
    return str(whole.value)


def test_each_flipped_bit_is_noticed(damaged):
    for path in sorted(damaged.iterdir()):
        original = path.read_bytes()
        for at in {0, 9, len(original) // 2, len(original) - 1}:
            flipped = bytearray(original)
            flipped[at] ^= 4
            path.write_bytes(flipped)
            assert path.name in refused(damaged) or path.name == "manifest.json"
        path.write_bytes(original[:-2])
        assert "damaged" in refused(damaged)
        path.unlink()
        assert f"lacks {path.name}" in refused(damaged)
        path.write_bytes(original)
    assert manifest.verify(damaged) == manifest.digest_of(damaged)


def test_all_ranks_refuse_what_one_finds_damaged(folder, damaged):
    path = damaged / SHARD_2
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    on_ranks(2, folder, refuse)


class Planted:
    """Unpickled, it leaves a file."""

    def __reduce__(self):
        return Path.touch, (Path(os.environ["PLANTED"]),)


def make_consistent(folder: Path) -> None:
    """A manifest that fits what lies in `folder`, as one who plants files would write it."""
    paths = [path for path in folder.iterdir() if path.name != manifest.NAME]
    files = {path.name: manifest.describe(path) for path in paths}
    manifest.write(folder, manifest.Manifest(files))


@pytest.mark.parametrize("name", ["state.pt", SHARD_2])
def test_a_planted_pickle_is_refused(damaged, tmp_path, monkeypatch, name):
    monkeypatch.setenv("PLANTED", str(tmp_path / "executed"))
    torch.save({"layout": Planted()}, damaged / name)
    assert f"{name} does not match" in refused(damaged)
    data = (damaged / name).read_bytes()
    (damaged / name).write_bytes(data + digest.footer(hashlib.sha256(data)))
    make_consistent(damaged)
    assert "cannot be loaded" in refused(damaged)
    assert not (tmp_path / "executed").exists()


def test_the_pickles_of_other_checkpoints_are_not_opened(damaged, tmp_path, monkeypatch):
    monkeypatch.setenv("PLANTED", str(tmp_path / "executed"))
    (damaged / ".metadata").write_bytes(pickle.dumps(Planted()))
    torch.save(Planted(), damaged / "__0_0.distcp")
    assert ".metadata does not belong to it" in refused(damaged)
    make_consistent(damaged)
    sharded.load_whole(damaged)
    assert not (tmp_path / "executed").exists()


# ---------------------------------------------------------------- the checkpoints of a run


def save_steps(folder, world_size, steps, start, best):
    """A run that keeps two checkpoints, the best one and every tenth."""
    training, said = Training("adamw", world_size), []
    saver = ShardedSaver(
        folder / "run", training.model, training.optimizer, is_main=dist.get_rank() == 0,
        keep=2, every=10, compress=False, sync_journal=lambda: None, say=said.append,
    )  # fmt: skip
    if start:
        saver.rewind(start, 9)
    for step in steps:
        training.steps(step, step + 1)
        saver.save({"step": step}, step=step, metrics={"val/loss": 1 / step}, best=step == best)
    saver.require_saved()
    assert not said
    if start:
        one_disk_is_full(saver, said, steps[-1] + 1)
    saver.close()


def one_disk_is_full(saver, said, step):
    """All ranks know that a checkpoint was not written, say so once, and go on."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if dist.get_rank() == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    for later in (0, 1):
        saver.save({"step": step}, step=step + later, metrics={}, best=True)
    assert len(said) == 1 and "no checkpoint of step 14, training goes on" in said[0]
    assert "rank 1: File too large" in said[0]
    with pytest.raises(CheckpointError, match=r"last\.pt lacks step 15: .*rank 1"):
        saver.require_saved()
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_directories_of_a_run_are_found_kept_and_removed(folder):
    run = folder / "run"
    run.mkdir()
    on_ranks(2, folder, save_steps, (9, 10, 11, 12, 13), None, 9)
    names = [step_folder(step) for step in (9, 10, 12, 13)]
    assert [(e.file, e.best, e.milestone) for e in read_index(run)] == [
        (names[0], True, False), (names[1], False, True),
        (names[2], False, False), (names[3], False, False),
    ]  # fmt: skip
    assert {path.name for path in run.iterdir()} == {*names, "index.json"}
    entry = read_index(run)[-1]
    assert entry.sha256 == manifest.verify(run / entry.file)
    assert entry.size == manifest.size(run / entry.file)

    before = listed(run)
    assert before == read_index(run)
    (run / "index.json").unlink()
    now = [replace(entry, time="") for entry in listed(run, every=10)]
    assert now == [replace(entry, time="") for entry in before]
    assert named(run, "last") == run / names[3] and named(run, "best") == run / names[0]

    path, state = load_newest(run, print)
    assert path == run / names[3] and state == {"step": 13}
    assert checkpoint.load(path).keys() == {"step", "model_state_dict", "optimizer_state_dict"}
    (path / "state.pt").write_bytes(b"")
    said = []
    path, state = load_newest(run, said.append)
    assert state == {"step": 12} and f"{names[3]} is damaged: state.pt" in said[0]

    on_ranks(2, folder, save_steps, (13,), 12, 13)
    assert [(e.step, e.best) for e in read_index(run)] == [(10, False), (12, False), (13, True)]
    assert manifest.verify(run / names[3])


# ---------------------------------------------------------------- what stops a save


def stop_saving(folder, world_size, kill_in):
    """A save that replaces a checkpoint, in which one rank is killed."""
    training = Training("adamw", world_size)
    training.steps(0, 2)

    def kill(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    if kill_in == "write" and dist.get_rank() == 1:
        sharded.HashedFiles.create_stream = kill
    if kill_in == "rename" and dist.get_rank() == 0:
        sharded.put_in_place = kill
    sharded.save(folder / "killed" / "adamw", training.model, training.optimizer, {"step": 2})


def save_again(folder, world_size):
    """One rank's disk is full; then it is not."""
    training = Training("adamw", world_size)
    training.steps(0, 2)
    path, before = folder / "killed" / "adamw", resource.getrlimit(resource.RLIMIT_FSIZE)
    if dist.get_rank() == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    with pytest.raises(CheckpointError, match=r"cannot write .*adamw: rank 1: File too large"):
        sharded.save(path, training.model, training.optimizer, {"step": 2})
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    if dist.get_rank() == 0:
        assert [p.name for p in path.parent.iterdir()] == ["adamw"]
        assert sharded.load_whole(path)["step"] == 4
    dist.barrier()
    sharded.save(path, training.model, training.optimizer, {"step": 2})


def test_the_checkpoint_before_stays_when_a_save_is_killed_or_the_disk_is_full(folder):
    killed = folder / "killed"
    shutil.copytree(folder / "checkpoints" / "adamw", killed / "adamw")
    for kill_in in ("write", "rename"):
        with pytest.raises(torch.multiprocessing.ProcessExitedException):
            on_ranks(2, folder, stop_saving, kill_in)
        assert sharded.load_whole(killed / "adamw")["step"] == 4
    on_ranks(2, folder, save_again)
    assert [path.name for path in killed.iterdir()] == ["adamw"]
    assert sharded.load_whole(killed / "adamw")["step"] == 2
