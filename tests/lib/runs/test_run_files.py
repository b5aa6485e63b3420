# SPDX-License-Identifier: MIT
"""The configuration that a run keeps: without secrets, and still a configuration."""

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lib.config.assign import apply
from lib.config.dotconfig import Assignment, parse
from lib.config.settings import Settings, load_settings
from lib.config.tree import Tree
from lib.files import ROOT, write_atomic
from lib.runs.redact import REDACTED, redact_named
from lib.runs.run import Run
from lib.tracking.describe import describe

TREE = Tree()
CONFIGURED = ("--config", str(ROOT / "defconfigs" / "lenet5-digits"))  # not this tree's own
SECRET = "hunter2-hunter2"
PIECES = [
    SECRET, f"token: {SECRET}", f'password = "{SECRET}"', f"API_KEY='{SECRET}'", "https://me:",
    f"https://me:{SECRET}@host/", "--token ", "password: |\n  ", '"', "'", "\\", "\n", "\r", ": ",
    "#", "{", "}", "[", "]", "- ", "\t", "\x85", "\u2028", "\ufeff", "\x1b[31m", "é", "🙂", " ",
    "x1", ",", "-----BEGIN PRIVATE KEY-----", "sk" + "_live_" + "0123456789abcdef",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES) | st.text(st.characters(codec="utf-8"), max_size=5))
TEXTS = ("DESCRIPTION", "HYPOTHESIS", "TRACKER_TAGS", "TRACKER_NOTES", "OUTPUT_DIR")


@hypothesis_settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.fixed_dictionaries({name: texts.map("".join) for name in TEXTS}))
def test_redacted_files_hold_the_same_settings(monkeypatch, values):
    """Each file parses to what redacting the values themselves gives, and the secret is gone."""
    monkeypatch.setenv("DB_PASSWORD", SECRET)
    values = {name: text.replace("\0", "") or "x" for name, text in values.items()}
    values["OUTPUT_DIR"] = f"runs/of/{values['OUTPUT_DIR']}"  # not the root of the project
    TREE.unset_values()
    apply(TREE, [[Assignment(name, text, "SET") for name, text in values.items()]])
    settings = Settings(TREE)
    files = settings.files(redact_named)
    clean = {name: redact_named(name, text) for name, text in values.items()}

    assert not any(SECRET in text for text in files.values())
    flat = {k: v for menu in yaml.safe_load(files["config.yaml"]).values() for k, v in menu.items()}
    assert {name: flat[name] for name in TEXTS} == clean
    assert flat["SEED"] == settings.SEED
    origins = yaml.load(files["origins.yaml"], Loader=yaml.CSafeLoader)
    assert {name: origins[name]["value"] for name in TEXTS} == clean
    for name in (".config", "defconfig"):
        TREE.unset_values()
        assignments, problems = parse(files[name], name)
        assert problems == []
        apply(TREE, [assignments])
        assert {n: TREE.values()[n] for n in TEXTS} == clean


def test_numbers_and_choices_are_never_redacted(monkeypatch):
    monkeypatch.setenv("DB_PASS", "0.001")
    monkeypatch.setenv("MY_SECRET", "adamw")
    settings = load_settings(
        "lenet5", [*CONFIGURED, "--learning-rate", "0.001", "--description", "0.001"]
    )
    files = settings.files(redact_named)
    assert 'CONFIG_LEARNING_RATE="0.001"' in files[".config"]
    assert f'CONFIG_DESCRIPTION="{REDACTED}"' in files[".config"]
    assert yaml.safe_load(files["config.yaml"])["Optimizer"]["OPTIMIZER"] == "adamw"


@pytest.mark.parametrize("tags", [f"token: {SECRET}", f"a,password={SECRET}", f"'{SECRET}"])
def test_a_tracker_can_read_a_run_with_secrets_in_its_settings(tmp_path, monkeypatch, tags):
    monkeypatch.setenv("DB_PASSWORD", SECRET)
    flags = ["--output-dir", str(tmp_path), "--tracker-tags", tags]
    flags += ["--description", f'{{"api_key": "{SECRET}"}}\n: "']
    with Run.from_settings(load_settings("lenet5", [*CONFIGURED, *flags]), model="lenet5") as run:
        pass
    assert describe(run.dir).settings["TRACKER_TAGS"].count(REDACTED) >= 1
    again = load_settings("lenet5", ["--config", str(run.dir / ".config")])
    assert REDACTED in again.DESCRIPTION
    files = [path for path in run.dir.rglob("*") if path.is_file()]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def check_modes(run_dir: Path) -> None:
    paths = [run_dir, *run_dir.rglob("*")]
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in paths}
    assert modes == {(True, 0o700), (False, 0o600)}, paths
    assert len(paths) > 15


def test_a_run_is_for_its_owner_alone(tmp_path):
    previous = os.umask(0o022)
    try:
        flags = ["--output-dir", str(tmp_path / "out")]
        with Run.from_settings(
            load_settings("lenet5", [*CONFIGURED, *flags]), model="lenet5"
        ) as run:
            run.log({"train/loss": 0.5, "val/loss": 0.5}, 1)
            run.log_table("a/deep/table", ["a"], [[1]], 1)
            write_atomic(run.dir / "checkpoints" / "last.pt", "x")
            run.log_artifact(run.dir / "checkpoints" / "last.pt")
            run.say("hello")
            run.plot()
    finally:
        os.umask(previous)
    check_modes(run.dir)
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755
