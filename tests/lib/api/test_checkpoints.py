# SPDX-License-Identifier: MIT
"""Checkpoints of a loop of one's own: everything comes back, whatever happened to the files."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import lib
from lib import Checkpoints, Restored
from lib.errors import BadUse
from lib.files import ROOT
from lib.runs.stored_run import load_run
from lib.train import checkpoint
from lib.train.checkpoint import CheckpointError
from tests.ranks import found_by_two_ranks

LOOP = Path(__file__).with_name("loop.py")


def loop(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, LOOP, *map(str, arguments)], cwd=folder, capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.slow
def test_a_loop_that_is_killed_ends_with_the_same_bits(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = loop(tmp_path / "a", 14)
    assert whole.returncode == 0, whole.stderr
    run = tmp_path / "b/outputs/training/loop"
    assert loop(tmp_path / "b", 14, 11).returncode == -9
    with (run / "checkpoints/step_00000009.pt").open("r+b") as file:  # the one before is used
        file.seek(100)
        file.write(b"damaged")
    gone_on = loop(tmp_path / "b", 14)
    assert "damaged" in gone_on.stdout and gone_on.stdout.endswith(whole.stdout), gone_on.stderr
    losses = [load_run(tmp_path / x / "outputs/training/loop").metric("train/loss") for x in "ab"]
    assert losses[0].steps.tolist() == losses[1].steps.tolist() == list(range(1, 15))
    assert losses[0].values.tolist() == losses[1].values.tolist()
    assert [r["step"] for r in load_run(run).metadata["resumes"]] == [6]


def parts() -> dict:
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    return {"model": net, "optimizer": torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)}


def test_what_there_is_to_restore(tmp_path):
    own = parts()
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.restore(**own) == Restored() and not Restored().extra
    checkpoints.save(4, **own, metrics={"a": 1}, extra={"epoch": 2, "order": torch.arange(3)})
    drawn = random.random(), np.random.rand(), torch.rand(1)
    with torch.no_grad():
        own["model"].weight.zero_()
    last = Checkpoints(tmp_path).restore(**own) if checkpoints.wait() is None else None
    assert (last.step, last.metrics, last.extra["epoch"]) == (4, {"a": 1.0}, 2)
    assert last.extra["order"].tolist() == [0, 1, 2] and own["model"].weight.abs().sum() > 0
    assert (random.random(), np.random.rand(), torch.rand(1)) == drawn
    checkpoints.close()


def test_the_best_is_found_across_a_restart(tmp_path):
    own = parts()
    for values, last in (((3.0, 2.0, float("nan")), 3), ((2.5, 2.2), 5)):
        checkpoints = Checkpoints(tmp_path, keep=1, best="val/loss")
        begin = checkpoints.restore(**own).step
        for step, value in enumerate(values, begin + 1):
            checkpoints.save(step, **own, metrics={"val/loss": value})
        checkpoints.close()
        assert checkpoints.load("best")["step"] == 2 and checkpoints.load("last")["step"] == last
    assert sorted(path.name for path in tmp_path.glob("step_*")) == [
        "step_00000002.pt", "step_00000005.pt",
    ]  # fmt: skip
    assert checkpoints.load(5)["metrics"] == {"val/loss": 2.2}
    with pytest.raises(CheckpointError, match="of these steps: 2, 5"):
        checkpoints.load(3)
    with pytest.raises(BadUse, match="best, last and"):
        checkpoints.load("newest")


def test_higher_can_be_better(tmp_path):
    own = parts()
    with pytest.raises(BadUse, match="mode='min' or mode='max'"):
        Checkpoints(tmp_path, best="score")
    for number, options in enumerate(({"best": "val/accuracy"}, {"best": "score", "mode": "max"})):
        checkpoints = Checkpoints(tmp_path / str(number), **options)
        for step, value in enumerate((0.1, 0.9, 0.5)):
            checkpoints.save(step, **own, metrics={options["best"]: value})
        assert checkpoints.load("best")["step"] == 1
        checkpoints.close()


def test_damaged_files_are_named_and_the_one_before_is_used(tmp_path, capsys):
    own = parts()
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step in (1, 2, 3):
        checkpoints.save(step, **own)
        checkpoints.wait()
    checkpoints.close()
    os.truncate(tmp_path / "step_00000003.pt", 100)
    again = Checkpoints(tmp_path)
    assert again.restore(**own).step == 2
    assert "step_00000003.pt is damaged" in capsys.readouterr().out
    assert not (tmp_path / "step_00000003.pt").exists(), "its step is made anew"
    again.save(3, **own)
    again.close()
    assert checkpoint.load(tmp_path / "last.pt")["step"] == 3
    for path in tmp_path.glob("*.pt"):
        os.truncate(path, 100)
    with pytest.raises(CheckpointError, match="none of the checkpoints can be loaded") as raised:
        Checkpoints(tmp_path).restore(**own)
    assert "make" not in str(raised.value)


class Own(dict):
    """As some configuration libraries have."""


def test_misuse_is_refused_when_it_is_saved_and_not_when_it_is_loaded(tmp_path):
    own = parts()
    checkpoints = Checkpoints(tmp_path, best="val/loss")
    for wrong, said in (
        ({"extra": {"x": np.arange(3)}}, "extra holds more than tensors"),
        ({"extra": {"d": Own(x=1)}}, "extra holds more than tensors"),
        ({"extra": {"f": lambda: 0}}, "extra holds more than tensors"),
        ({"epoch": 3}, "extra={'epoch': …}"),
        ({"metrics": {"loss": 1.0}}, "metrics lack val/loss"),
    ):
        with pytest.raises(BadUse, match=said.replace("{", r"\{")):
            checkpoints.save(1, **own, **wrong)
    checkpoints.save(1, **own)
    checkpoints.wait()
    with pytest.raises(BadUse, match="has model, optimizer; given are model"):
        checkpoints.restore(model=own["model"])
    with pytest.raises(BadUse, match="keep ≥ 1"):
        Checkpoints(tmp_path, keep=0)
    with pytest.raises(BadUse, match="allowed are min and max"):
        Checkpoints(tmp_path, best="score", mode="mx")
    checkpoints.close()
    assert (tmp_path / "step_00000001.pt").exists()


def test_every_scheduler_of_pytorch_can_be_saved(tmp_path):
    own = parts()
    schedulers = torch.optim.lr_scheduler
    made = {
        "multi": schedulers.MultiStepLR(own["optimizer"], [2, 4]),
        "plateau": schedulers.ReduceLROnPlateau(own["optimizer"]),
        "lambda_": schedulers.LambdaLR(own["optimizer"], lambda step: 0.9**step),
        "chained": schedulers.SequentialLR(
            own["optimizer"],
            [schedulers.ConstantLR(own["optimizer"]), schedulers.LinearLR(own["optimizer"])],
            [1],
        ),
        "warm": schedulers.CosineAnnealingWarmRestarts(own["optimizer"], 3),
    }  # fmt: skip
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, **own, **made)
    assert checkpoints.restore(**own, **made).step == 1
    checkpoints.close()


def test_wrapped_modules_are_saved_bare(tmp_path):
    own = parts()
    checkpoints = Checkpoints(tmp_path)
    compiled = torch.compile(own["model"], backend="eager")
    checkpoints.save(1, model=compiled)
    assert list(checkpoints.load("last")["model_state_dict"]) == ["weight", "bias"]
    assert checkpoints.restore(model=own["model"]).step == 1
    assert checkpoints.restore(model=compiled).step == 1
    checkpoints.close()


def test_a_run_waits_for_its_checkpoints_and_knows_the_best(tmp_path):
    own = parts()
    with lib.run("x", output_dir=tmp_path) as run:
        checkpoints = Checkpoints(run, best="val/loss")
        for value in (2.0, 1.0, 3.0):
            run.log({"val/loss": value})
            checkpoints.save(run.step, **own, metrics={"val/loss": value})
    assert sorted(path.name for path in (run.dir / "checkpoints").iterdir()) == [
        "best.pt", "index.json", "last.pt", "step_00000002.pt", "step_00000003.pt",
    ]  # fmt: skip
    stored = load_run(run.dir)
    assert stored.best_step == 2 and stored.metadata["checkpoint"]["mode"] == "min"
    assert stored.metadata["final_metrics"] == {"final/best_val_loss": 1.0}


def test_a_run_without_a_whole_checkpoint_begins_again(tmp_path):
    for _ in range(2):
        with lib.run("x", output_dir=tmp_path, resume=True) as run:
            assert Checkpoints(run).restore(**parts()).step == run.step == 0
            run.log({"a": 1.0})
    assert load_run(run.dir).metric("a").steps.tolist() == [1]


def _two_ranks(rank: int) -> dict:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    torch.manual_seed(0)
    net = DistributedDataParallel(nn.Linear(3, 2))
    torch.manual_seed(rank)
    with lib.run("x", output_dir=os.environ["API_TEST"]) as run:
        checkpoints = Checkpoints(run)
        checkpoints.save(3, model=net)
        drawn = torch.rand(1)
        last = checkpoints.restore(model=net)
        again = torch.rand(1)
    return {"step": torch.tensor(last.step), "same": drawn == again, "drawn": drawn}


@pytest.mark.slow
def test_each_rank_goes_on_with_its_own_random_numbers(tmp_path, monkeypatch):
    monkeypatch.setenv("API_TEST", str(tmp_path / "out"))
    one, other = found_by_two_ranks(_two_ranks, tmp_path)
    assert one["step"] == other["step"] == 3 and one["same"] and other["same"]
    assert one["drawn"] != other["drawn"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x"]
    assert list(checkpoint.load(tmp_path / "out/x/checkpoints/last.pt")["model_state_dict"]) == [
        "weight", "bias",
    ]  # fmt: skip


def test_a_copy_of_a_run_can_be_exported(tmp_path):
    net = nn.Linear(64, 32)
    pruner = lib.Pruner(lib.prunable(net), lib.Schedule(0.5, 4, start=2, end=2))
    optimizer = lib.AdamWPrune(net.parameters(), pruner, lr=0.1)
    for _ in range(3):
        net(torch.randn(4, 64)).square().mean().backward()
        optimizer.step()
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(3, model=net, optimizer=optimizer)
    checkpoints.close()
    said = lib.export(net, tmp_path / "a.sparse", format="sparse", pruner=pruner)
    assert said and lib.export(tmp_path / "c/last.pt", tmp_path / "b.sparse", format="sparse")
    assert (tmp_path / "a.sparse").read_bytes() == (tmp_path / "b.sparse").read_bytes()
    loaded = lib.load_sparse(tmp_path / "a.sparse")["weight"]
    assert int((loaded == 0).sum()) == 1024
    assert torch.equal(loaded.float(), net.weight.detach().bfloat16().float())
    with pytest.raises(BadUse, match="did you mean sparse"):
        lib.export(net, tmp_path / "x", format="spars")
    with pytest.raises(BadUse, match="belongs to another model"):
        lib.export(nn.Sequential(net), tmp_path / "x", pruner=pruner)
    shutil.rmtree(tmp_path / "c")


def test_checkpoints_of_later_steps_are_not_lost_by_an_oversight(tmp_path):
    own = parts()
    checkpoints = Checkpoints(tmp_path)
    for wrong in (-1, 1.5, True, "3"):
        with pytest.raises(BadUse, match="whole numbers from 0 on"):
            checkpoints.save(wrong, **own)
    checkpoints.save(5, **own)
    checkpoints.close()
    again = Checkpoints(tmp_path)
    with pytest.raises(BadUse, match="has a checkpoint of step 5"):
        again.save(1, **own)
    again.restore(**own)
    again.save(6, **own)
    with pytest.raises(BadUse, match="has a checkpoint of step 6"):
        again.save(5, **own)
    again.close()
    assert again.load("last")["step"] == 6


class Versioned(nn.Linear):
    def get_extra_state(self):
        return {"version": 2}


def test_an_export_has_the_tensors_of_a_module_alone(tmp_path):
    net = Versioned(3, 2)
    lib.export(net, tmp_path / "x.safetensors")
    assert load_file(tmp_path / "x.safetensors").keys() == {"weight", "bias"}


def test_tied_and_wrapped_modules_are_exported_by_their_own_names(tmp_path):
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    net[1].weight = net[0].weight
    pruner = lib.Pruner(lib.prunable(net), lib.Schedule(0.5, 4))
    lib.export(torch.compile(net, backend="eager"), tmp_path / "x.safetensors", pruner=pruner)
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == {"0.weight", "1.weight"}
    assert torch.equal(found["1.weight"], net[0].weight)
