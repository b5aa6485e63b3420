# SPDX-License-Identifier: MIT
"""W&B offline: what is queued has the artifact with its name, type, aliases and file."""

import pytest

from lib.registry.wandb_artifact import is_on, mirror
from tests.lib.registry.made import lenet

pytestmark = pytest.mark.slow


def turn_on(run):
    config = run / "config.yaml"
    config.write_text(config.read_text() + "  ENABLE_WANDB: true\n")


@pytest.mark.parametrize(("mode", "on"), [("offline", True), ("online", True), ("disabled", False)])
def test_wandb_is_on_as_the_run_had_it_unless_it_is_off_here(tmp_path, monkeypatch, mode, on):
    run = lenet(tmp_path)
    monkeypatch.setenv("WANDB_MODE", mode)
    assert not is_on(run)
    turn_on(run)
    assert is_on(run) == on


def test_a_checkpoint_is_queued_with_its_aliases(tmp_path, monkeypatch):
    run = lenet(tmp_path)
    for name in ("HOME", "WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    turn_on(run)
    best = run / "checkpoints" / "best.pt"
    said = mirror(run, best, "digits", ["version-3", "best"])
    assert said.startswith("queued: wandb sync ") and "cannot be linked" in said

    from lib.tracking.backends.wandb_files import Record, records

    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    found = [Record.FromString(data) for data in records(file)]
    (artifact,) = [record.artifact for record in found if record.HasField("artifact")]
    assert (artifact.name, artifact.type) == ("digits", "model")
    assert set(artifact.aliases) == {"version-3", "best", "latest"}  # the last one is W&B's
    (content,) = artifact.manifest.contents
    assert content.path == "best.pt" and content.local_path == str(best.resolve())
