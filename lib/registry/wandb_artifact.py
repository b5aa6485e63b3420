# SPDX-License-Identifier: MIT
"""The checkpoint of a registered version as an artifact in Weights & Biases, with its aliases.

    where = mirror(run_dir, checkpoint, "digits", ["version-3", "best"])

The artifact is of type model and has the name of the registered model. W&B knows equal files, so
that logging a checkpoint again only moves the alias to it. A run of its own, of job type registry,
logs it; without network it is queued in a local folder until `make wandb-sync`. Then the checkpoint
must still be where it is. Linking to W&B's own registry needs the network.

`python -m lib.registry.wandb_artifact RUN_DIR CHECKPOINT NAME ALIAS…` is the process that `mirror`
starts, so that the SDK hangs or dies on its own.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import Failure
from ..files import python_path
from ..runs.redact import redact
from ..tracking.describe import describe
from ..tracking.wandb_login import wandb_mode

LIMIT_S = 300.0  # for an upload
_REGISTRY = "wandb-registry-model"  # the one that W&B makes for each organisation


def is_on(run_dir: Path) -> bool:
    """Whether the run was configured for W&B, and W&B is not turned off here."""
    try:
        settings = describe(run_dir).settings
    except (OSError, ValueError):
        return False
    mode, _ = wandb_mode(bool(settings.get("WANDB_OFFLINE")))
    return bool(settings.get("ENABLE_WANDB")) and mode != "disabled"


def mirror(run_dir: Path, checkpoint: Path, name: str, aliases: Sequence[str]) -> str:
    """Log the checkpoint and return a line that says where it is. Raises Failure."""
    command = [sys.executable, "-m", f"{__package__}.wandb_artifact"]
    command += [str(run_dir), str(checkpoint.resolve()), name, *aliases]
    try:
        done = subprocess.run(
            command, env={**os.environ, **python_path()}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=LIMIT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise Failure(f"W&B was not done within {LIMIT_S:.0f} s") from error
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise Failure(f"W&B: {redact(said[-1])}")
    return done.stdout.strip()


def _log(run_dir: Path, checkpoint: Path, name: str, aliases: list[str]) -> str:
    from ..tracking.backends.wandb import wandb  # sets what keeps the SDK quiet

    about = describe(run_dir)
    mode, _ = wandb_mode(bool(about.settings.get("WANDB_OFFLINE")))
    facts = {"run_id": about.id, "run_name": about.name, "checkpoint": checkpoint.name}
    run = wandb.init(
        mode=mode,
        project=os.environ.get("WANDB_PROJECT")
        or about.settings.get("WANDB_PROJECT")
        or about.project,
        entity=os.environ.get("WANDB_ENTITY") or about.settings.get("WANDB_ENTITY") or None,
        name=f"{name} {' '.join(aliases)}",
        job_type="registry",
        config=facts,
        dir=os.environ.get("WANDB_DIR") or ".",
        settings=wandb.Settings(console="off", disable_git=True, x_disable_stats=True),
    )
    artifact = wandb.Artifact(name, "model", f"{about.name}, {checkpoint.name}", facts)
    artifact.add_file(str(checkpoint), checkpoint.name, policy="immutable")
    logged = run.log_artifact(artifact, aliases=aliases)
    if mode == "offline":
        folder = Path(run.dir).parent
        run.finish()
        return f"queued: wandb sync {folder} (and cannot be linked to W&B's registry offline)"
    logged.wait()
    linked = _linked(run, logged, name, aliases)
    run.finish()
    return f"{logged.qualified_name}; {linked}"


def _linked(run: object, artifact: object, name: str, aliases: list[str]) -> str:
    """Not every account has a registry: the artifact is there in any case."""
    try:
        run.link_artifact(artifact, f"{_REGISTRY}/{name}", aliases)  # type: ignore[attr-defined]
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        return f"not linked to {_REGISTRY}: {reason}"
    return f"linked to {_REGISTRY}/{name}"


if __name__ == "__main__":
    given, file, model, *names = sys.argv[1:]
    print(_log(Path(given), Path(file), model, names))
