# SPDX-License-Identifier: MIT
"""`make sweep-export FORMAT=wandb`: the file, and a training that W&B's agent starts with it."""

import json
import os
import stat
import subprocess
import sys

import pytest
import yaml

from benchmarks.sweep_tree import make_tree

# W&B's agent, given a command of its server instead of asking for one.
AGENT = """
import json, os, sys
from wandb.wandb_agent import Agent
config, run_id, values = json.loads(sys.argv[1])
os.environ["WANDB_SWEEP_ID"] = "swp12345"
agent = Agent(None, None, sweep_id="swp12345")
agent._sweep_command = config["command"]
os.environ["WANDB_DIR"], os.environ["WANDB_PROJECT"] = os.getcwd(), config["project"]
agent._command_run({
    "type": "run", "run_id": run_id, "program": config["program"],
    "args": {name: {"value": value} for name, value in values.items()},
})
sys.exit(agent._run_processes[run_id].wait())
"""


@pytest.mark.slow
def test_a_training_of_an_agent_is_the_run_of_the_agent(tmp_path):
    tree = make_tree(tmp_path / "tree")
    axes, fixed = {"LEARNING_RATE": [0.1, 0.2]}, {"NUM_EPOCHS": 1, "DEVICE": "cpu", "PLOTS": "n"}
    parts = {"metric": {"name": "val/loss"}, "set": fixed, "axes": axes, "seeds": [1, 2]}
    tree.write_sweep("lr", {"defconfig": "lenet5-digits", **parts})
    exported = tree.popen("-m", "scripts.sweep.export", SWEEP="lr", FORMAT="wandb")
    assert exported.wait(180) == 0, tree.said
    folder = tree.output_dir / ".sweeps" / "lr" / "wandb"
    assert f"wandb sweep {folder.relative_to(tree.root)}/sweep.yaml" in tree.said
    for path in (folder, *folder.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    config = yaml.safe_load((folder / "sweep.yaml").read_text())

    told = json.dumps([config, "agent678", {"learning-rate": 0.2, "seed": 2}])
    environment = {**tree.environment, "WANDB_MODE": "offline", "PYTHONPATH": str(tree.root)}
    agent = subprocess.run(
        [sys.executable, "-c", AGENT, told],
        cwd=tree.root, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert agent.returncode == 0, agent.stdout + agent.stderr
    (run,) = tree.output_dir.glob("lenet5_*")
    made = yaml.safe_load((run / "metadata.yaml").read_text())
    assert (made["status"], made["seed"], made["job_type"]) == ("completed", 2, "train")
    assert 'CONFIG_LEARNING_RATE="0.2"' in (run / ".config").read_text()

    from lib.tracking.backends.wandb_files import Record, records

    (path,) = tree.root.glob("wandb/offline-run-*-agent678/run-agent678.wandb")
    stored = [Record.FromString(data) for data in records(path)]
    (about,) = (record.run for record in stored if record.HasField("run"))
    assert (about.sweep_id, about.display_name) == ("swp12345", run.name)
    assert about.project == config["project"]
    values = {item.key: item.value_json for item in about.config.update}
    assert (values["learning-rate"], values["seed"]) == ("0.2", "2")
    names = {"/".join(i.nested_key) for r in stored for i in r.history.item}
    assert "val/loss" in names
    assert not list(tree.root.glob(f"wandb/*{made['run_id']}*"))


def test_what_is_wrong_is_said(tmp_path):
    def said(**variables) -> str:
        program = [sys.executable, "-m", "scripts.sweep.export", "--output-dir", str(tmp_path)]
        environment = {**os.environ, "SWEEP": "", "FORMAT": "", "OUT": "", **variables}
        done = subprocess.run(program, env=environment, capture_output=True, text=True)
        assert done.returncode == 2
        return done.stderr

    assert "FORMAT=csv: there is wandb" in said(SWEEP="gpt2-pruning", FORMAT="csv")
    assert "which sweep? SWEEP=NAME" in said()
    assert "does not apply at arm=dense" in said(SWEEP="gpt2-pruning")
    assert not list(tmp_path.iterdir())
