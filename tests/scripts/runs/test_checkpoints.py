# SPDX-License-Identifier: MIT
"""`make checkpoints`, `make verify`, `make prune-checkpoints`, on runs with all kinds of damage."""

import json
import random
import shutil

import pytest
import torch

from lib.config.settings import load_settings
from lib.runs import metadata
from lib.runs.redact import redact_named
from lib.runs.run import Run
from lib.train.checkpoint.index import read_index
from lib.train.checkpoint.verify import verify_checkpoints
from lib.train.checkpoint.writer import Writer
from tests.killed import edited
from tests.scripts.runs.test_runs import call

MODEL = "lenet5"


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    config = tmp_path_factory.mktemp("config") / "config"
    config.write_text(f"CONFIG_MODEL_{MODEL.upper()}=y\n")
    return load_settings(MODEL, ["--config", str(config), "--seed", "3"])


@pytest.fixture(scope="module")
def original(tmp_path_factory, settings):
    """A completed run of twelve steps with checkpoints 3 (a milestone), 6 (the best), 9 and 12."""
    output_dir = tmp_path_factory.mktemp("runs")
    info = {"model": {"name": MODEL}, "science_hash": settings.science_hash}
    with Run.create(output_dir, "run", files=settings.files(redact_named), info=info) as run:
        writer = Writer(run.dir / "checkpoints", keep=4, every=0, compress=False)
        for step in range(1, 13):
            run.log({"train/loss": 1 / step}, step)
            if step % 3 == 0:
                run.log({"val/loss": 1 / step}, step)
                _write(writer, run, step, settings.science_hash)
    index = run.dir / "checkpoints" / "index.json"
    index.write_text(index.read_text().replace('"milestone": false', '"milestone": true', 1))
    return output_dir


def _write(writer, run, step, settings_hash):
    weights = torch.randn(5_000, generator=torch.Generator().manual_seed(step))
    contents = {
        "model": MODEL,
        "model_state_dict": {"weight": weights},
        "step": step,
        "journal": {"offset": run.position()},
        "settings_hash": settings_hash,
    }
    metrics = {"train/loss": 1 / step, "val/loss": 1 / step}
    writer.write(contents, step=step, metrics=metrics, best=step == 6, nbytes=20_000)


@pytest.fixture
def run(original, tmp_path):
    """A copy of it, with its hard links."""
    target = tmp_path / "runs" / "run"
    shutil.copytree(original / "run", target)
    folder = target / "checkpoints"
    for name, step in (("last.pt", 12), ("best.pt", 6)):
        (folder / name).unlink()
        (folder / name).hardlink_to(folder / f"step_{step:08}.pt")
    return target


def verify(run, *arguments):
    return call("verify", run.parent, *(arguments or ("run",)))


def file_of(run, step):
    return run / "checkpoints" / f"step_{step:08}.pt"


def set_status(run, status):
    path = run / "metadata.yaml"
    metadata.save(path, {**metadata.load(path), "status": status})


def flip_a_bit(path, seed=0):
    data = bytearray(path.read_bytes())
    place = random.Random(seed).randrange(8 * len(data))
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)


def test_the_table(run):
    done = call("checkpoints", run.parent)
    header, *rows, total = done.stdout.splitlines()
    assert header.split() == ["file", "step", "val/loss", "train/loss", "size", "age"]
    assert [row.split()[:3] for row in rows] == [
        ["step_00000003.pt", "3", "0.33333"],
        ["step_00000006.pt", "6", "0.16667"],
        ["step_00000009.pt", "9", "0.11111"],
        ["step_00000012.pt", "12", "0.083333"],
    ]
    marks = [row.rpartition("  ")[2] for row in rows]
    assert (marks[0], marks[1], marks[3]) == ("milestone", "best", "last")
    assert (done.returncode, done.stderr) == (0, "")
    assert "checkpoints" in total


def test_files_and_index_that_disagree(run):
    file_of(run, 3).unlink()
    index = run / "checkpoints" / "index.json"
    listed = json.loads(index.read_text())
    listed["checkpoints"] = [entry for entry in listed["checkpoints"] if entry["step"] != 9]
    index.write_text(json.dumps(listed))
    said = call("checkpoints", run.parent).stdout
    assert "note: step_00000003.pt is gone, though index.json lists it" in said
    assert "note: step_00000009.pt is not in index.json" in said
    assert "step_00000012.pt is" not in said


def test_copies_of_a_run_lose_their_hard_links_and_nothing_else(original, tmp_path):
    shutil.copytree(original / "run", tmp_path / "run")
    rows = call("checkpoints", tmp_path).stdout.splitlines()[1:]
    assert [row.rpartition("  ")[2] for row in (rows[1], rows[3])] == ["best", "last"]
    assert len(rows) == 5, "no note"
    assert "note" not in verify(tmp_path / "run").stdout
    assert "removed step_00000009.pt\n1 checkpoint" in call("prune", tmp_path).stdout


def test_a_run_without_checkpoints(tmp_path):
    with Run.create(tmp_path, "young"):
        pass
    assert call("checkpoints", tmp_path).stdout == "young has no checkpoints\n"
    assert call("prune", tmp_path).stdout == "no checkpoints removed, 0 B are free again\n"


def test_a_whole_run(run):
    done = verify(run)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("run: whole\n")
    for piece in ("18 rows, steps 1 to 12", "4 of 4 whole, steps 3, 6, 9, 12", "1 settings that"):
        assert piece in done.stdout
    assert "DAMAGED" not in done.stdout


def test_all_runs(run):
    shutil.copytree(run, run.with_name("other"))
    flip_a_bit(run.with_name("other") / "checkpoints" / "step_00000009.pt")
    done = verify(run, "all")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == f"2 runs in {run.parent}, 1 damaged other"


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGE = {
    "bit of a checkpoint": (lambda run: flip_a_bit(file_of(run, 9)), "step_00000009.pt is damaged"),
    "cut checkpoint": (lambda run: _cut(file_of(run, 6)), "step_00000006.pt is damaged: it is cut"),
    "checkpoint of another step": (
        lambda run: shutil.copy(file_of(run, 3), file_of(run, 9)),
        "step_00000009.pt holds step 3",
    ),
    "cut index": (lambda run: _cut(run / "checkpoints" / "index.json"), "index.json is damaged"),
    "cut metadata": (lambda run: (run / "metadata.yaml").write_text("a: ["), "while parsing"),
    "no metadata": (lambda run: (run / "metadata.yaml").unlink(), "No such file"),
    "field of metadata": (edited("metadata.yaml", "run_id: ", "run_ID: "), "run_id is missing"),
    "status": (edited("metadata.yaml", "status: completed", "status: done"), "status is none of"),
    "setting": (edited(".config", "CONFIG_SEED=3", "CONFIG_SEED=4"), "defconfig differ in SEED"),
    "yaml": (edited("config.yaml", "SEED: 3", "SEED: 4"), "config.yaml differ in SEED"),
    "no .config": (lambda run: (run / ".config").unlink(), ".config: No such file"),
    "hash": (edited("metadata.yaml", "science_hash: ", "science_hash: 0"), "science_hash"),
    "journal's row": (edited("logs/metrics.jsonl", '{"step":5', '{"stop"5'), "damaged row at byte"),
    "journal's end": (edited("logs/metrics.jsonl", '"finish"', '"fin"'), "does not reach the end"),
    "journal's start": (edited("logs/metrics.jsonl", '"start"', '"st"'), "first row is missing"),
    "step twice": (edited("logs/metrics.jsonl", '{"step":5', '{"step":4'), "values at steps that"),
    "another journal": (edited("logs/metrics.jsonl", '"run_id":"', '"run_id":"x'), "another run"),
    "no journal": (lambda run: (run / "logs" / "metrics.jsonl").unlink(), "no such regular file"),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_named_and_ends_in_1(run, what):
    damage, expected = DAMAGE[what]
    damage(run)
    done = verify(run)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("run: DAMAGED\n")
    named = [line for line in done.stdout.splitlines() if "DAMAGED: " in line]
    assert any(expected in line for line in named), named


def test_what_can_still_be_used_of_an_interrupted_run(run):
    set_status(run, "interrupted")
    flip_a_bit(file_of(run, 12))
    said = verify(run).stdout
    assert "3 of 4 whole, steps 3, 6, 9" in said
    assert "make resume RUN=run    (goes on after step 9)".replace("    ", " ") in said
    for step in (3, 6, 9):
        file_of(run, step).unlink()
    assert "nothing to resume" in verify(run).stdout


def test_every_flipped_bit_is_noticed(run):
    fields, path = metadata.load(run / "metadata.yaml"), file_of(run, 9)
    whole = path.read_bytes()
    for seed in range(40):
        flip_a_bit(path, seed)
        assert verify_checkpoints(run, fields).part.damage, seed
        path.write_bytes(whole)
    assert not verify_checkpoints(run, fields).part.damage


def test_prune(run):
    done = call("prune", run.parent, KEEP="1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "removed step_00000009.pt"
    assert done.stdout.splitlines()[-1].startswith("1 checkpoint removed, 2")  # KiB
    kept = [entry.file for entry in read_index(run / "checkpoints")]
    assert kept == ["step_00000003.pt", "step_00000006.pt", "step_00000012.pt"]
    assert verify(run).returncode == 0
    assert call("prune", run.parent).stdout.startswith("no checkpoints removed")


def test_prune_keeps_the_last_one_that_is_whole(run):
    flip_a_bit(file_of(run, 12))
    done = call("prune", run.parent, "--keep", "1")
    assert "damaged, left: step_00000012.pt" in done.stdout
    assert file_of(run, 9).exists() and file_of(run, 12).exists()


@pytest.mark.parametrize("keep", ["0", "-1", "x", "1.5"])
def test_prune_refuses_other_numbers(run, keep):
    done = call("prune", run.parent, KEEP=keep)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"KEEP={keep}: must be a number from 1 on" in done.stderr


def test_prune_refuses_a_running_run(tmp_path):
    with Run.create(tmp_path, "busy"):
        done = call("prune", tmp_path)
    assert done.returncode == 2
    assert "busy is running" in done.stderr
