# SPDX-License-Identifier: MIT
"""What the programs about the model registry share: where it is, names, and what was given."""

import getpass
import os
import re
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from lib.errors import BadUse, Failure
from lib.registry.server import answering, checked
from lib.registry.versions import Version
from lib.registry.wandb_artifact import is_on, mirror
from lib.runs.keep.git import git
from lib.train.checkpoint.digest import digest_in
from lib.train.checkpoint.find import named
from scripts.tracking.pages import setting

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_ALIAS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")


def registry_uri() -> str:
    """Where MLflow is: MLFLOW_TRACKING_URI of the environment, else of the configuration."""
    from lib.tracking.backends.mlflow import tracking_uri

    return tracking_uri({"MLFLOW_TRACKING_URI": setting("MLFLOW_TRACKING_URI")})


def registry() -> AbstractContextManager[Any]:
    """MLflow's client for the registry that is there already. Raises Failure when none is."""
    return answering(checked(registry_uri()))


def given(variable: str, what: str) -> str:
    """A value that must be given. Raises BadUse."""
    value = os.environ.get(variable, "").strip()
    if not value:
        raise BadUse(f"{variable}= is missing: {what}")
    return value


def given_name() -> str:
    """NAME, as the name of a registered model. Raises BadUse."""
    name = given("NAME", "the name of the model in the registry, such as NAME=digits")
    if not _NAME.fullmatch(name):
        raise BadUse(f"NAME={name}: allowed are letters, digits, '_', '.' and '-'")
    return name


def given_alias() -> str:
    """ALIAS, by default production. Raises BadUse for what MLflow does not take as one."""
    alias = os.environ.get("ALIAS", "").strip() or "production"
    if not _ALIAS.fullmatch(alias) or re.fullmatch(r"[vV]\d+|latest", alias):
        raise BadUse(
            f"ALIAS={alias}: allowed are letters, digits, '_' and '-', but not 'latest' nor "
            "'v' and a number, which mean versions"
        )
    return alias


def mirror_in_wandb(run_dir: Path, version: Version, aliases: Sequence[str]) -> bool:
    """Give the checkpoint of `version` these aliases in W&B, too, if the run is tracked there.

    Says what W&B has, or what went wrong: the registry is MLflow's, and right in any case.
    """
    if not is_on(run_dir):
        return False
    checkpoint = named(run_dir / "checkpoints", version.tags.get("checkpoint", "best"))
    try:
        if checkpoint.is_dir() or digest_in(checkpoint) != version.tags.get("checkpoint_sha256"):
            raise Failure(f"{checkpoint} is not the file that was registered")
        print(f"W&B: {mirror(run_dir, checkpoint, version.name, aliases)}")
    except (Failure, OSError) as error:
        print(f"warning: not in W&B: {error}", file=sys.stderr)
        return False
    return True


def identity() -> str:
    """Who promotes: git's `Name <address>`, else the name of the account."""
    try:
        return git("var", "GIT_AUTHOR_IDENT").rpartition(" ")[0].rpartition(" ")[0]
    except Failure:
        return getpass.getuser()
