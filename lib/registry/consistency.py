# SPDX-License-Identifier: MIT
"""Whether registry, runs, DVC and MLflow agree, and how to mend what does not.

    for gap in check(client, "outputs/training").gaps:
        print(gap.where, gap.missing, gap.cure)

A version is whole when its MLflow run and its stored model are there, and its run directory has the
.dvc file and the checkpoint that its tags say. A run that is kept but not here is whole by its .dvc
file alone, whose digest covers every file. A kept run is whole when MLflow has it.
"""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runs.keep.partial import is_partial
from ..safe_yaml import load_mapping
from ..train.checkpoint import manifest
from ..train.checkpoint.digest import digest_in
from ..train.checkpoint.find import named
from .kept import dvc_md5, kept_runs
from .promotions import history, last_version
from .versions import PAGE, Name, Version, names, versions

_AT_ONCE = 8  # requests
_DELETED = "deleted"  # instead of the run_id of a run that MLflow can restore


@dataclass(frozen=True)
class Gap:
    """`missing` of `where`, a version, an alias or a run; `cure` is the command that mends it."""

    where: str
    missing: str
    cure: str


@dataclass(frozen=True)
class Checked:
    """How much was looked at, and what was found."""

    versions: int
    kept: int
    gaps: list[Gap]


def check(client: Any, output_dir: str | Path) -> Checked:
    """Look at all versions of all models, and at all runs that are kept. Changes nothing."""
    models = names(client)
    found = versions(client, models)
    folder, kept = Path(output_dir), kept_runs(output_dir)
    alive = _living_runs(client, {version.mlflow_run for version in found})
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        stored = pool.map(lambda version: _is_stored(client, version), found)
        gaps = [
            gap
            for version, there in zip(found, stored, strict=True)
            for gap in _of_version(version, there, alive.get(version.mlflow_run), folder)
        ]
    gaps += [gap for model in models for gap in _of_aliases(model, found)]
    gaps += _of_kept(client, kept, set(alive.values()), folder)
    return Checked(len(found), len(kept), gaps)


def _of_version(version: Version, stored: bool, run_id: str | None, folder: Path) -> Iterator[Gap]:
    where, name = f"{version.name} version {version.number}", version.run_name
    again = f"make register RUN={name} NAME={version.name}"
    if version.tags.get("checkpoint") == "last":
        again += " CHECKPOINT=last"
    if not name or "checkpoint_sha256" not in version.tags:
        yield Gap(
            where,
            "its tags name no run and checkpoint: it was not registered by this project",
            f"{_delete(version)}; or leave it, if others need it",
        )
        return
    if run_id is None:
        cure = f"make track RUN={name} TRACKER=mlflow, then {_delete(version)}, then {again}"
        yield Gap(where, f"its MLflow run {version.mlflow_run} is gone", cure)
    elif run_id == _DELETED:
        cure = f"mlflow runs restore --run-id {version.mlflow_run}"
        yield Gap(where, f"its MLflow run {version.mlflow_run} is deleted", cure)
    elif run_id != version.tags.get("run_id"):
        missing = f"its MLflow run {version.mlflow_run} is not that of run_id"
        yield Gap(where, missing, f"{_delete(version)}, then {again}")
    if not stored:
        cure = f"{_delete(version)}, then {again}"
        yield Gap(where, "its stored model cannot be found", cure)
    yield from _of_run(version, where, again, folder)


def _delete(version: Version) -> str:
    """MLflow has no command for it."""
    code = f"delete_model_version('{version.name}', '{version.number}')"
    return f'python -c "import mlflow; mlflow.MlflowClient().{code}"'


def _of_run(version: Version, where: str, again: str, folder: Path) -> Iterator[Gap]:
    """The run directory and its .dvc file."""
    name, run = version.run_name, folder / version.run_name
    md5, is_here = dvc_md5(folder, name), (run / "metadata.yaml").is_file()
    if not is_here and not md5:
        cure = f"git pull, then make pull RUN={name}"
        yield Gap(where, f"neither its run {run} nor a .dvc file is here", cure)
        return
    if not md5:
        yield Gap(where, f"{run} is not kept with DVC", f"make keep RUN={name}, then {again}")
    elif md5 != version.tags.get("dvc_md5"):
        said = "names no" if "dvc_md5" not in version.tags else "names another"
        yield Gap(where, f"it {said} DVC file than {run}.dvc", again)
    is_whole = is_here and not (md5 and is_partial(run))
    if is_whole:
        yield from _of_checkpoint(version, where, run, again, is_kept=bool(md5))


def _of_checkpoint(
    version: Version, where: str, run: Path, again: str, *, is_kept: bool
) -> Iterator[Gap]:
    which, wanted = version.tags.get("checkpoint", "best"), version.tags["checkpoint_sha256"]
    path = named(run / "checkpoints", which)
    pull = f"make pull RUN={run.name} ONLY=checkpoints"
    if not is_kept:
        pull = f"there is no copy, since it was never kept: make replay RUN={run.name}"
    try:
        digest = manifest.digest_of(path) if path.is_dir() else digest_in(path)
    except OSError:
        yield Gap(where, f"its checkpoint {path} is missing", pull)
        return
    if digest != wanted:
        missing = f"{path} has other weights: sha256 {digest[:16]}, not {wanted[:16]}"
        back = f"; or move that file away, then {pull}" if is_kept else ""
        yield Gap(where, missing, f"{again}, which adds a version{back}")


def _of_aliases(model: Name, found: Iterable[Version]) -> Iterator[Gap]:
    """Aliases that are on another version than the history says, or on none."""
    there = {version.number for version in found if version.name == model.name}
    for alias, number in sorted(model.aliases.items()):
        where, again = f"{model.name}@{alias}", f"make promote NAME={model.name} ALIAS={alias}"
        last = last_version(model, alias)
        if number not in there:
            yield Gap(where, f"version {number} is gone", f"{again} VERSION=…")
        elif last != number:
            said = f"says {last}" if last else "does not know it"
            other = f", or VERSION={last}" if last else ""
            missing = f"it is version {number}, the history of promotions {said}"
            yield Gap(where, missing, f"{again} VERSION={number}{other}")
    for alias in sorted({entry.alias for entry in history(model)} - model.aliases.keys()):
        number = last_version(model, alias)
        cure = f"make promote NAME={model.name} ALIAS={alias} VERSION={number}"
        yield Gap(f"{model.name}@{alias}", f"it was promoted to {number}, and is gone", cure)


def _of_kept(client: Any, kept: list[str], known: set[str], folder: Path) -> list[Gap]:
    """Kept runs that MLflow does not have; `known` are the run_ids that were seen there."""
    ids = {name: _run_id(folder, name) for name in kept}
    asked = [name for name, run_id in ids.items() if run_id and run_id not in known]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        there = dict(zip(asked, pool.map(_has_run(client), (ids[n] for n in asked)), strict=True))
    gaps = []
    for name in kept:
        if not ids[name]:
            missing = "neither its directory nor its summary is here, so its run_id is not known"
            gaps.append(Gap(f"kept run {name}", missing, f"make pull RUN={name}"))
        elif not there.get(name, True):
            pull = "" if (folder / name).is_dir() else f"make pull RUN={name}, then "
            cure = f"{pull}make track RUN={name} TRACKER=mlflow"
            gaps.append(Gap(f"kept run {name}", "MLflow does not have it", cure))
    return gaps


def _run_id(folder: Path, name: str) -> str:
    for path in (folder / f"{name}.summary.yaml", folder / name / "metadata.yaml"):
        try:
            return str(load_mapping(path)["run_id"])
        except (OSError, ValueError, KeyError):
            continue
    return ""


def _has_run(client: Any) -> Any:
    from ..tracking.backends.mlflow import RUN_TAG

    pages = client.search_experiments(max_results=PAGE)
    experiments = [experiment.experiment_id for experiment in pages]

    def has(run_id: str) -> bool:
        return bool(
            client.search_runs(experiments, f"tags.`{RUN_TAG}` = '{run_id}'", max_results=1)
        )

    return has


def _living_runs(client: Any, ids: set[str]) -> Mapping[str, str]:
    """run_id of this project by MLflow's id, of the runs that are there; _DELETED for some."""
    from mlflow.exceptions import MlflowException

    from ..tracking.backends.mlflow import RUN_TAG

    def look(mlflow_run: str) -> tuple[str, str | None]:
        try:
            run = client.get_run(mlflow_run)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return mlflow_run, None
        is_active = run.info.lifecycle_stage == "active"
        return mlflow_run, run.data.tags.get(RUN_TAG, "") if is_active else _DELETED

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(look, filter(None, ids))
        return {mlflow_run: run_id for mlflow_run, run_id in found if run_id is not None}


def _is_stored(client: Any, version: Version) -> bool:
    """Whether the files of its model are there: at least the one that says what they are."""
    from mlflow.exceptions import MlflowException

    prefix, _, model_id = version.source.partition("models:/")
    if prefix or not model_id.startswith("m-"):
        return True  # made by others; how to look depends on where it is
    try:
        files = client.list_logged_model_artifacts(model_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
    return any(file.path == "MLmodel" for file in files)
