# SPDX-License-Identifier: MIT
"""What lacks is found, each gap with a command, and nothing is found where nothing lacks."""

import shutil

import pytest
import yaml

from lib.registry.consistency import Gap, check
from lib.registry.promotions import promote
from lib.registry.versions import the_name
from lib.runs.keep.partial import MARK

pytestmark = pytest.mark.slow
POINTER = "outs:\n- md5: 0123abcd.dir\n  path: run\n"


@pytest.fixture
def whole(registered):
    """A registered run that is kept, and in production."""
    facts = registered.facts()
    pointer = registered.folder / "run.dvc"
    pointer.write_text(POINTER)
    registered.register()
    model = the_name(registered.client, registered.name)
    promote(registered.client, model, 1, "production", by="", why="")
    assert facts.run.dir.is_dir() and gaps(registered) == []
    return registered


def gaps(registered) -> list[Gap]:
    """Those of this test's model and runs; other tests use the same server."""
    found = check(registered.client, registered.folder)
    own = (registered.name, "kept run")
    return [gap for gap in found.gaps if gap.where.startswith(own)]


def only(registered) -> Gap:
    (gap,) = gaps(registered)
    return gap


def test_a_run_that_is_not_kept(whole):
    (whole.folder / "run.dvc").unlink()
    assert "not kept" in only(whole).missing and "make keep RUN=run" in only(whole).cure


def test_a_run_that_was_kept_again(whole):
    (whole.folder / "run.dvc").write_text(POINTER.replace("0123", "4567"))
    assert only(whole).cure == f"make register RUN=run NAME={whole.name}"


def test_a_run_that_is_kept_elsewhere_is_whole(whole):
    run_id = whole.facts().tags["run_id"]
    (whole.folder / "run.summary.yaml").write_text(yaml.safe_dump({"run_id": run_id}))
    shutil.rmtree(whole.folder / "run")
    assert gaps(whole) == []
    (whole.folder / "run.dvc").unlink()
    assert "neither its run" in only(whole).missing and "make pull RUN=run" in only(whole).cure


def test_a_checkpoint_that_is_missing_or_another(whole):
    best = whole.folder / "run" / "checkpoints" / "best.pt"
    other = whole.facts("other").run.dir / "checkpoints" / "best.pt"
    best.unlink()
    shutil.copyfile(other, best)
    assert "other weights" in only(whole).missing
    shutil.rmtree(best.parent)
    assert "is missing" in only(whole).missing and "make pull RUN=run" in only(whole).cure
    (whole.folder / "run" / MARK).touch()  # not all of the kept run was pulled
    assert gaps(whole) == []


def test_an_mlflow_run_that_was_deleted(whole):
    mlflow_run = whole.mlflow_run(whole.facts())
    whole.client.delete_run(mlflow_run)
    found = gaps(whole)
    assert f"mlflow runs restore --run-id {mlflow_run}" in [gap.cure for gap in found]
    whole.client.restore_run(mlflow_run)
    assert gaps(whole) == []


def test_a_kept_run_that_mlflow_does_not_have(whole):
    whole.facts("other")
    (whole.folder / "other.dvc").write_text(POINTER.replace("path: run", "path: other"))
    assert only(whole) == Gap(
        "kept run other", "MLflow does not have it", "make track RUN=other TRACKER=mlflow"
    )
    shutil.rmtree(whole.folder / "other")
    assert only(whole).cure == "make pull RUN=other"


def test_an_alias_that_was_set_by_hand_or_removed(whole):
    whole.register("another")
    whole.client.set_registered_model_alias(whole.name, "production", "2")
    where = f"{whole.name}@production"
    assert "the history of promotions says 1" in next(
        gap.missing for gap in gaps(whole) if gap.where == where
    )
    promote(
        whole.client, the_name(whole.client, whole.name), 2, "production", by="", why="it is meant"
    )
    assert not any(gap.where == where for gap in gaps(whole))  # recorded, not moved
    whole.client.delete_registered_model_alias(whole.name, "production")
    assert any(gap.where == where and "is gone" in gap.missing for gap in gaps(whole))


def test_a_version_of_others_and_files_that_are_gone(whole, server_folder):
    client = whole.client
    client.create_model_version(whole.name, "s3://nowhere/model")
    assert "not registered by this project" in only(whole).missing
    client.delete_model_version(whole.name, "2")
    source = client.get_model_version(whole.name, "1").source
    (files,) = server_folder.rglob(source.removeprefix("models:/"))
    shutil.rmtree(files)
    assert "stored model cannot be found" in only(whole).missing
