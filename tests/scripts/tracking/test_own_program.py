# SPDX-License-Identifier: MIT
"""A training program of one's own, whose trackers and projects are those of config.py."""

import os
import subprocess
import sys

import pytest

from lib.config.assign import Assignment, apply
from lib.config.configpy import render
from lib.config.trackers import tracker_assignments
from lib.config.tree import Tree

PROGRAM = """
import sys
sys.path.append('.')
from config import config

training_config = {"lr": 0.1}
trackio_enabled = getattr(config, 'ENABLE_TRACKIO', False)
wandb_enabled = getattr(config, 'ENABLE_WANDB', False)
project = getattr(config, 'TRACKER_PROJECT', 'my-project')
if trackio_enabled:
    import trackio
    trackio.init(project=project, config=training_config)
if wandb_enabled:
    import wandb
    wandb_project = getattr(config, 'WANDB_PROJECT', project)
    wandb.init(project=wandb_project, config=training_config)

def log_metrics(metrics):
    if trackio_enabled:
        trackio.log(metrics)
    if wandb_enabled:
        wandb.log(metrics)

for step in range(3):
    log_metrics({"loss": 1.0 / (step + 1)})
if trackio_enabled:
    trackio.finish()
if wandb_enabled:
    wandb.finish()
"""


@pytest.mark.slow
def test_the_project_is_the_same_in_both(tmp_path):
    from lib.tracking.backends.wandb_files import Record, history, records

    tree = Tree()
    apply(tree, [tracker_assignments("both", "TRACKER"), [Assignment("SEED", "3", "SET")]])
    (tmp_path / "config.py").write_text(render(tree.values(), ".config"))
    project = tree.values()["TRACKER_PROJECT"]
    places = {"HOME": str(tmp_path), "TRACKIO_DIR": str(tmp_path / "trackio")}
    places |= {"WANDB_DIR": str(tmp_path), "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env={**os.environ, **places}, check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip

    assert [path.stem for path in (tmp_path / "trackio").glob("*.db")] == [project]
    (file,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    found = (Record.FromString(data) for data in records(file))
    assert [record.run.project for record in found if record.HasField("run")][-1] == project
    assert len(list(history(file))) == 3


def test_another_project_for_wandb_alone():
    tree = Tree()
    apply(tree, [[Assignment("WANDB_PROJECT", "theirs", "SET")]])
    assert tree.values()["WANDB_PROJECT"] == "theirs" != tree.values()["TRACKER_PROJECT"]
    apply(tree, [[Assignment("TRACKER_PROJECT", "ours", "SET")]])
    assert "WANDB_PROJECT" in tree.chosen()
    tree = Tree()
    apply(tree, [[Assignment("TRACKER_PROJECT", "ours", "SET")]])
    assert tree.values()["WANDB_PROJECT"] == "ours"
    assert "WANDB_PROJECT" not in tree.chosen()
