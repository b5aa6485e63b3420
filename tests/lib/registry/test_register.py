# SPDX-License-Identifier: MIT
"""Versions on a real server: what they are made of, who can load them, and kills on the way."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from mlflow.tracking import MlflowClient

from lib.errors import BadUse, Failure
from lib.registry.register import bring_up_to_date, existing, facts_of
from lib.registry.versions import names, the_name, the_version, versions
from lib.runs.run import Run
from lib.runs.stored import load_run
from tests import forked
from tests.lib.registry.made import METRICS

pytestmark = pytest.mark.slow

PLAIN = """
import json, sys, warnings
from pathlib import Path
import mlflow, numpy as np
warnings.simplefilter("ignore")
found = {}
for name, folder in json.loads(sys.argv[1]).items():
    model = mlflow.pyfunc.load_model(f"models:/{name}@production")
    for path in sorted(Path(folder).glob("inputs_*.npy")):
        expected = np.load(path.with_name(path.name.replace("inputs", "outputs")))
        logits = model.predict(np.load(path))
        assert logits.shape == expected.shape and logits.dtype == np.float32
        found.setdefault(folder, []).append(float(abs(logits - expected).max()))
    weights = model.get_raw_model().state_dict()
    zeros = {n: int((w == 0).sum()) for n, w in weights.items() if n.endswith("fc1.weight")}
    found[f"{folder} zeros"] = zeros
assert not any(m.split(".")[0] in ("lib", "scripts", "lenet5", "gpt2") for m in sys.modules)
loaded = mlflow.pytorch.load_model(f"models:/{name}@production")
assert not hasattr(loaded, "predict")
runs = mlflow.search_runs(
    experiment_names=["digits-00000"],
    filter_string="metrics.`val/loss` < 0.5",
    order_by=["metrics.`val/loss` ASC"],
)
found["columns"] = [c for c in runs.columns if c.startswith("metrics.")]
found["runs"] = len(runs)
found["none"] = len(mlflow.search_runs(
    experiment_names=["digits-00000"], filter_string="metrics.`val/loss` < 0.1"))
print(json.dumps(found))
"""


def test_a_plain_process_loads_every_kind_of_model(registered, models, tmp_path, server):
    """By alias, in another folder, without this repository; and MLflow's filters know our names."""
    used = {}
    for model in ("lenet5", "resnet50", "gpt2"):
        registered.name = f"plain-{model}"
        registered.register("run", package=model)
        registered.client.set_registered_model_alias(registered.name, "production", "1")
        used[registered.name] = str(models / model)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MLFLOW"))}
    environment |= {"MLFLOW_TRACKING_URI": server, "OMP_NUM_THREADS": "1"}
    environment |= {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, json.dumps(used)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found[str(models / "lenet5")] == [0.0, 0.0]
    assert found[str(models / "resnet50")] == [0.0, 0.0]
    assert max(found[str(models / "gpt2")]) < 1e-5
    assert len(found[str(models / "gpt2")]) == 3
    ((_, zeros),) = found[f"{models / 'lenet5'} zeros"].items()
    assert 0.4 < zeros / (120 * 400) < 0.6
    assert found["runs"] >= 1 and found["none"] == 0
    assert {"metrics.val/loss", "metrics.train/loss"} <= set(found["columns"])


def test_what_a_version_says(registered):
    number = registered.register()
    facts, client = registered.facts(), registered.client
    version = the_version(client, the_name(client, registered.name), number)
    assert version.run_name == "run" and version.description == "of the tests"
    wanted = {"run_id", "git_commit", "checkpoint", "checkpoint_sha256", "science_hash"}
    assert wanted <= set(version.tags)
    assert version.tags["checkpoint_sha256"] == facts.tags["checkpoint_sha256"]
    assert version.metrics == {"val/loss": 0.25, "val/accuracy": 0.75}
    assert version.mlflow_run == registered.mlflow_run(facts)
    stored = client.get_logged_model(version.source.removeprefix("models:/"))
    assert {m.key: m.value for m in stored.metrics} == version.metrics
    history = client.get_metric_history(version.mlflow_run, "val/loss")
    assert [(point.step, point.value) for point in history] == [(2, 0.25)]  # not twice


def test_the_package(models):
    """Signature, example, pinned requirements, and what a user needs to know."""
    from mlflow.models import Model

    found = {m: Model.load(models / m / "package") for m in ("lenet5", "resnet50", "gpt2")}
    shapes = {m: f.signature.inputs.inputs[0].shape for m, f in found.items()}
    assert shapes == {"lenet5": (-1, 1, 32, 32), "resnet50": (-1, 3, 16, 16), "gpt2": (-1, -1)}
    assert found["gpt2"].signature.inputs.inputs[0].type == np.dtype("int64")
    assert found["gpt2"].signature.outputs.inputs[0].shape == (-1, -1, 257)
    assert found["lenet5"].metadata["classes"][:3] == ["zero", "one", "two"]
    assert found["resnet50"].metadata["classes"] == [str(n) for n in range(10)]
    assert found["gpt2"].metadata["tokenizer"] == "bytes"
    for model in found:
        folder = models / model / "package"
        assert (folder / "input_example.json").is_file()
        pins = (folder / "requirements.txt").read_text().split()
        assert [pin.split("==")[0] for pin in pins] == ["mlflow", "torch", "numpy"]
        assert all(re.fullmatch(r"[a-z]+==[0-9.]+", pin) for pin in pins)
        assert not list(folder.rglob("*.py")) and not list(folder.rglob("*.p*kl"))


def test_the_same_weights_are_registered_once(registered, tmp_path):
    number = registered.register()
    facts = registered.facts()
    found = existing(registered.client, facts, registered.name)
    assert found is not None and found.number == number
    assert bring_up_to_date(registered.client, found, facts) == []
    pointer = "outs:\n- md5: 0123abcd.dir\n  path: run\n"
    (tmp_path / "runs" / "run.dvc").write_text(pointer)
    assert bring_up_to_date(registered.client, found, registered.facts()) == ["dvc_md5"]
    again = existing(registered.client, registered.facts(), registered.name)
    assert again is not None and again.tags["dvc_md5"] == "0123abcd.dir"
    assert existing(registered.client, registered.facts("another"), registered.name) is None
    assert registered.register("another") == number + 1


STEPS = ["create_logged_model", "log_model_artifacts", "log_batch", "finalize_logged_model"]
STEPS += ["create_registered_model", "create_model_version"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_killed_while_registering(registered, monkeypatch, step, when):
    """No version is ever half there, and the next attempt goes on with what it finds."""
    facts = registered.facts()
    registered.mlflow_run(facts)
    real = getattr(MlflowClient, step)

    def dying(client, *args, **kwargs):
        if when == "before":
            forked.kill_self()
        real(client, *args, **kwargs)
        forked.kill_self()

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, step, dying)
        assert forked.in_child(registered.register) == -9
    client, name = registered.client, registered.name
    whole = step == "create_model_version" and when == "after"
    left = versions(client, names(client, name))
    assert [version.tags.get("run_id") for version in left] == [facts.tags["run_id"]] * whole
    if existing(client, facts, name) is None:
        registered.register()
    (version,) = versions(client, names(client, name))
    assert version.metrics == {k: v for k, v in METRICS.items() if k.startswith("val/")}
    experiment = client.get_experiment_by_name("digits-00000").experiment_id
    stored = client.search_logged_models([experiment], f"tags.registered_model = '{name}'")
    assert [f"models:/{model.model_id}" for model in stored] == [version.source]
    files = {file.path for file in client.list_logged_model_artifacts(stored[0].model_id)}
    assert {"MLmodel", "data", "requirements.txt"} <= files and str(stored[0].status) == "READY"


def test_what_cannot_be_registered(tmp_path, models):
    best = models / "lenet5" / "run" / "checkpoints" / "best.pt"
    with Run.create(tmp_path, "going") as run, pytest.raises(BadUse, match="in progress"):
        facts_of(load_run(run.dir), best, "best")
    run = load_run(tmp_path / "going")
    with pytest.raises(Failure, match="no best checkpoint; there are: none"):
        facts_of(run, run.dir / "checkpoints" / "best.pt", "best")
    damaged = run.dir / "checkpoints" / "best.pt"
    damaged.write_bytes(best.read_bytes()[:-100])
    with pytest.raises(Failure, match="make verify RUN=going"):
        facts_of(run, damaged, "best")
