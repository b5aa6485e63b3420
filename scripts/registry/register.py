# SPDX-License-Identifier: MIT
"""Register the network of a run as a version of a model in MLflow's registry.

    make register RUN=name NAME=digits [CHECKPOINT=best|last]
    python -m scripts.registry.register [--output-dir DIR] [RUN]

The version has the weights of the best checkpoint, as evaluation used them (their running mean if
there is one, pruned ones zero), as a model that mlflow.pyfunc.load_model loads and runs without
this repository. Its tags and links say which run, checkpoint, commit and DVC file it is of. A run
that MLflow does not have yet is sent there first. With the W&B tracker on, the checkpoint becomes
an artifact of type model there, too.

The version appears when everything else is there, or not at all; a command that was killed is
completed by repeating it. Registering the same weights again adds nothing, but brings the tags up
to date. Where MLflow is: MLFLOW_TRACKING_URI.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from lib import lock, text
from lib.errors import BadUse, Failure
from lib.registry.register import (
    IN_WANDB,
    Facts,
    bring_up_to_date,
    existing,
    facts_of,
    find_mlflow_run,
    register,
)
from lib.registry.server import answering, checked
from lib.registry.versions import the_name, the_version
from lib.runs.stored import StoredRun
from lib.tracking.launch import environment, forwarder_command, outcome
from lib.train.checkpoint.find import named
from scripts.common import named_run, run_parser
from scripts.registry.common import given_name, mirror_in_wandb, registry_uri
from scripts.tracking.track import check_delivery

CHECKPOINTS = ("best", "last")


def main() -> None:
    run = named_run(run_parser(__doc__).parse_args(), "make register")
    name, which = given_name(), os.environ.get("CHECKPOINT") or "best"
    if which not in CHECKPOINTS:
        raise BadUse(f"CHECKPOINT={which}: want best or last")
    checkpoint = named(run.dir / "checkpoints", which)
    facts = facts_of(run, checkpoint, which)
    module = _exports(run)

    uri = registry_uri()
    if uri.startswith("http"):
        checked(uri)
    try:
        with lock.held(run.dir / ".register.lock", wait=0.0, mode=0o600):
            number = _registered(uri, facts, name, module, checkpoint)
    except BlockingIOError as error:
        raise Failure(f"{run.name} is being registered by another process already") from error
    _say(name, number, facts)


def _registered(uri: str, facts: Facts, name: str, module: ModuleType, checkpoint: Path) -> int:
    """The number of the version, old or new."""
    mlflow_run = _sent(uri, facts.run)
    with answering(uri) as client:
        old = existing(client, facts, name)
        if old is None:
            make = _maker(facts, module, checkpoint, mlflow_run)
            number = register(client, facts, name, mlflow_run, make)
        else:
            number, changed = old.number, bring_up_to_date(client, old, facts)
            new = f"; brought up to date: {', '.join(changed)}" if changed else ""
            print(f"these weights are version {number} already{new}")
        version = the_version(client, the_name(client, name), number)
        aliases = [f"version-{number}", version.tags["checkpoint"], *version.aliases]
        if IN_WANDB not in version.tags and mirror_in_wandb(facts.run.dir, version, aliases):
            client.set_model_version_tag(name, str(number), IN_WANDB, f"{name}:version-{number}")
    return number


def _exports(run: StoredRun) -> ModuleType:
    """<model>/export.py with its `program`. Raises Failure when the model has none."""
    from scripts.pruning.weights import export_module  # imports torch: bad use has been answered

    model = run.part("model").get("name")
    module = export_module(model)
    if module is None or not hasattr(module, "program"):
        raise Failure(
            f"{run.name} is of the model {model}, which has no {model}/export.py with a function "
            "`program`: docs/registry.md says what it returns"
        )
    return module


def _maker(
    facts: Facts, module: ModuleType, checkpoint: Path, mlflow_run: str
) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        from lib.config.settings import load_settings
        from lib.registry.package import save
        from scripts.pruning.weights import load_weights

        model = str(facts.run.part("model")["name"])
        settings = load_settings(model, ["--config", str(facts.run.dir / ".config")])
        weights, _ = load_weights(checkpoint)
        difference = save(module.program(settings, facts.run, weights), folder, mlflow_run)
        print(f"exported; its logits differ from the network's by {difference:.2g} at most")

    return make


def _sent(uri: str, run: StoredRun) -> str:
    """MLflow's id of the run, which is sent there if it was not yet. Raises Failure."""
    if checked_database(uri) and (found := _find(uri, run)):
        return found
    check_delivery(run.dir, ("mlflow",))
    print(f"{run.name} is not in MLflow yet: it is sent there first", flush=True)
    command = forwarder_command(run.dir, ("mlflow",))
    done = subprocess.run(command, env=environment({"MLFLOW_TRACKING_URI": uri}), check=False)
    found = _find(uri, run) if checked_database(uri) else ""
    if done.returncode != 0 or not found:
        raise Failure(f"the run could not be sent to MLflow: {outcome(run.dir, 'mlflow')}")
    return found


def checked_database(uri: str) -> bool:
    """Whether there is a database, or it is a server."""
    prefix = "sqlite:///"
    return not uri.startswith(prefix) or Path(uri.removeprefix(prefix)).is_file()


def _find(uri: str, run: StoredRun) -> str:
    with answering(uri) as client:
        try:
            return find_mlflow_run(client, run.dir)
        except (OSError, ValueError) as error:
            raise Failure(f"{run.name}: {error}") from error


def _say(name: str, number: int, facts: Facts) -> None:
    tags = facts.tags
    step = f"step {facts.step:,}, " if facts.step else ""
    rows = [("model", f"models:/{name}/{number}"), ("run", facts.run.name)]
    rows += [("checkpoint", f"{tags['checkpoint']}, {step}sha256 {tags['checkpoint_sha256'][:16]}")]
    rows += [(metric, text.metric(metric, value)) for metric, value in facts.metrics.items()]
    keep = f"no: make keep RUN={facts.run.name}, then repeat this"
    rows += [("kept", f"yes, DVC {tags['dvc_md5'][:16]}" if "dvc_md5" in tags else keep)]
    rows += [("next", f"make promote NAME={name} VERSION={number} ALIAS=production")]
    print(*text.columns(rows), sep="\n")


if __name__ == "__main__":
    run_main(main)
