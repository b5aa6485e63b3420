# SPDX-License-Identifier: MIT
"""`make pack` and `make unpack` as they are typed, of a run with real checkpoints."""

import stat

import pytest
import torch

from lib.errors import BadUse
from lib.runs.run import Run
from lib.runs.stored import load_run
from lib.train import checkpoint
from lib.train.checkpoint.find import listed
from lib.train.checkpoint.verify import disagreements
from lib.train.checkpoint.writer import Writer
from scripts.runs.pack import chosen_checkpoints, output_file
from tests.scripts.runs.test_runs import call


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """Checkpoints of steps 2, 4, 6 and 8; the best is step 4."""
    with Run.create(tmp_path_factory.mktemp("out"), "a", files={".config": ""}) as run:
        writer = Writer(run.dir / "checkpoints", keep=9, every=0, compress=False)
        for step in (2, 4, 6, 8):
            run.log({"train/loss": 1 / step}, step)
            contents = {"model_state_dict": {"weight": torch.full((10,), float(step))}}
            writer.write(contents, step=step, metrics={}, best=step == 4, nbytes=400)
    return run.dir


def packed_and_unpacked(run_dir, tmp_path, *arguments):
    """The directory that comes out of a pack made with `arguments`."""
    done = call("pack", run_dir.parent, "a", "--out", str(tmp_path), *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    pack = tmp_path / "a.tar.zst"
    assert f"make unpack FILE={pack}" in done.stdout
    assert "sha256 " in done.stdout
    done = call("unpack", tmp_path / "there", str(pack))
    assert (done.returncode, done.stderr) == (0, "")
    return tmp_path / "there" / "a"


@pytest.mark.parametrize(
    ("given", "steps"), [("", [2, 4, 6, 8]), ("best", [4]), ("last,best", [4, 8]), ("none", [])]
)
def test_the_checkpoints_that_were_asked_for(given, steps, run_dir, tmp_path):
    made = packed_and_unpacked(run_dir, tmp_path, *(["--checkpoints", given] if given else []))
    folder = made / "checkpoints"
    assert [entry.step for entry in listed(folder)] == steps
    names = {path.name for path in folder.glob("*")}
    assert ("last.pt" in names, "best.pt" in names) == (bool(steps), 4 in steps)
    assert not (disagreements(folder) if steps else names)
    for entry in listed(folder):
        state = checkpoint.load(folder / entry.file)
        assert state["model_state_dict"]["weight"].tolist() == [float(entry.step)] * 10
    assert load_run(made).metadata["unpacked"]["file"] == "a.tar.zst"


def test_what_may_be_private_is_named(run_dir, tmp_path):
    (run_dir / "git.diff").write_text("diff")
    done = call("pack", run_dir.parent, "a", "--out", str(tmp_path / "p"))
    assert "redaction does not find every secret" in done.stdout
    assert "git.diff" in done.stdout.split("secret:")[1]
    assert stat.S_IMODE((tmp_path / "p").stat().st_mode) == 0o600
    done = call("unpack", run_dir.parent, str(tmp_path / "p"), "--name", "theirs")
    assert "it is the same run as a, with the same run_id" in done.stdout
    assert "git.diff is code of somebody else" in done.stdout


def test_bad_use(run_dir, tmp_path, monkeypatch):
    folder, run = run_dir / "checkpoints", load_run(run_dir)
    for given, said in (("lst", "did you mean last"), ("all,last", "stand alone")):
        with pytest.raises(BadUse, match=said):
            chosen_checkpoints(folder, given)
    with pytest.raises(BadUse, match="has no best checkpoint"):
        chosen_checkpoints(tmp_path, "best")
    (tmp_path / "there").touch()
    monkeypatch.chdir(tmp_path)
    for given, said in (
        ("there", "already: remove it"),
        ("none/x", "no folder none"),
        (f"{run_dir}/x", "inside the run"),
    ):
        with pytest.raises(BadUse, match=said):
            output_file(given, run)
    assert output_file("", run).name == "a.tar.zst"
    done = call("unpack", tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "error: which file? make unpack FILE=run.tar.zst\n",
    )
    done = call("unpack", tmp_path, "nothing.tar.zst")
    assert "FILE=nothing.tar.zst: there is no such file" in done.stderr
