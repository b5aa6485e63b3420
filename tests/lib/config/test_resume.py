# SPDX-License-Identifier: MIT
"""--resume: the run that is meant, its own configuration, and what may change."""

import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lib.config import changes, frozen, store
from lib.config.assign import apply
from lib.config.changes import BATCH, IDENTITY, MAY_CHANGE, checked_changes, why_not
from lib.config.dotconfig import Assignment, ConfigError, parse_words
from lib.config.resume import HIDDEN, fits, load_run, locate, run_directory
from lib.config.science import SYMBOLS_WITHOUT, is_science
from lib.config.settings import Settings, load_settings
from lib.config.symbols import menus
from lib.config.tree import Tree
from lib.errors import BadUse
from lib.files import ROOT
from lib.runs.redact import REDACTED

TREE = Tree()
NAMES = {TREE.public_name(symbol) for symbol in TREE.settable}


def tree_with(words: str) -> Tree:
    tree = Tree()
    apply(tree, [parse_words(words, "SET")[0]])
    return tree


def write_run(directory: Path, words: str = "") -> Path:
    """What a run directory has of its configuration."""
    (directory / "checkpoints").mkdir(parents=True)
    for name, text in Settings(tree_with(words)).files(lambda _, text: text).items():
        (directory / name).write_text(text)
    (directory / "metadata.yaml").touch()
    (directory / "checkpoints" / "step_00000010.pt").touch()
    return directory


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run, apart from the configuration of this tree."""
    monkeypatch.setattr(store, "CONFIG_PY", tmp_path / "config.py")
    monkeypatch.delenv(frozen.PATH, raising=False)
    words = "SEED=3 NUM_EPOCHS=4 OPTIMIZER=sgd DESCRIPTION=first BATCH_SIZE=32"
    return write_run(tmp_path / "runs" / "first", words)


def refused(capsys, *argv: str, model: str = "lenet5") -> str:
    """What is said when the flags are refused."""
    with pytest.raises(BadUse) as raised:
        load_settings(model, argv)
    assert raised.value.exit_code == 2
    assert not capsys.readouterr().out
    return str(raised.value)


# ---------------------------------------------------------------------- which run


def test_a_run_is_named_by_path_by_name_and_by_checkpoint(run, monkeypatch):
    newest = run / "checkpoints" / "step_00000010.pt"
    monkeypatch.chdir(run.parent)
    for name, meant in {
        str(run): run,
        "first": run,
        "./first": run,
        str(newest): newest,
        "first/checkpoints/step_00000010.pt": newest,
    }.items():
        settings = load_settings("lenet5", ["--resume", name])
        assert settings.resume == meant
        assert run_directory(settings.resume) == run
    monkeypatch.chdir(ROOT)
    named = ["--resume", "first", "--output-dir", str(run.parent)]
    assert load_settings("lenet5", named).resume == run


def test_a_run_of_this_project_has_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.setattr("lib.config.resume.ROOT", tmp_path)
    write_run(tmp_path / "outputs" / "training" / "x")
    monkeypatch.chdir(tmp_path / "outputs")
    for name in ("x", "training/x", str(tmp_path / "outputs/training/x")):
        assert locate(name, "outputs/training") == Path("outputs/training/x")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("frist", "--resume frist: no run in {runs}, and no such path; did you mean first?"),
        ("nothing/like/it", "--resume nothing/like/it: no run there; `make runs` lists the runs"),
        ("", "no run there"),
        ("a\0b/c", "no run there"),
        ("x" * 5000, "no run in"),
        ("{runs}", "not a run, {runs}/metadata.yaml is missing"),
        ("{root}", "not a run, {root}/metadata.yaml is missing"),
        ("{runs}/loose.pt", "new run: --init-from {runs}/loose.pt"),
        ("{runs}/first/checkpoints/gone.pt", "no run there"),
    ],
)
def test_what_is_no_run_is_refused(run, capsys, given, message):
    names = {"runs": run.parent, "root": run.parent.parent}
    (run.parent / "loose.pt").touch()
    flags = ["--resume", given.format(**names), "--output-dir", str(run.parent)]
    assert message.format(**names) in refused(capsys, *flags)


def test_auto_and_none_leave_the_configuration_alone(run):
    assert load_settings("lenet5", []).resume is None
    settings = load_settings("lenet5", ["--resume", "auto", "--seed", "7"])
    assert (settings.resume, settings.SEED, settings.OPTIMIZER) == ("auto", 7, "adamw")


def test_a_run_of_another_model_is_refused_with_the_program_that_takes_it(run, capsys):
    said = refused(capsys, "--resume", str(run), model="gpt2")
    assert f"{run} is a run of MODEL=lenet5, this program trains gpt2" in said
    assert f"make resume RUN={run}" in said and "lenet5/train.py --resume" in said


def test_another_configuration_is_not_mixed_in(run, capsys, tmp_path):
    assert "leave --config out" in refused(capsys, "--resume", str(run), "--config", str(tmp_path))


# ---------------------------------------------------------------------- its configuration


def test_a_run_goes_on_with_its_own_configuration_and_flags_on_top(run):
    apply(tree := Tree(), [parse_words("SEED=9 LEARNING_RATE=0.5", "SET")[0]])
    store.store(tree, store.CONFIG_PY.with_name(".config"), store.CONFIG_PY)
    settings = load_settings("lenet5", ["--resume", str(run), "--num-epochs", "8"])
    assert settings.SEED == 3
    assert settings.LEARNING_RATE == 0.05  # the default of SGD
    assert settings.changes(run) == {"NUM_EPOCHS": [4, 8]}
    origins = settings._tree.origins
    assert (origins["SEED"], origins["NUM_EPOCHS"]) == ("SET", "flag --num-epochs")


def test_a_frozen_launch_has_the_configuration_already(run, tmp_path, monkeypatch):
    tree = Tree()
    load_run(tree, run)
    apply(tree, [parse_words("NUM_EPOCHS=6", "SET")[0]])
    for name, value in frozen.freeze(tree, str(run), tmp_path / "launches").items():
        monkeypatch.setenv(name, value)
    settings = load_settings("lenet5", ["--resume", str(run)])
    assert settings.changes(run) == {"NUM_EPOCHS": [4, 6]}


def test_a_damaged_configuration_is_said(run, capsys):
    (run / ".config").write_text("what\n")
    assert f"{run}/.config:1: malformed line" in refused(capsys, "--resume", str(run))
    (run / ".config").write_text("CONFIG_SEED=3\n")
    assert f"{run}/.config is damaged, it names no model" in refused(capsys, "--resume", str(run))


def test_a_run_may_have_been_moved(run, tmp_path):
    moved = run.rename(tmp_path / "elsewhere")
    flags = ["--resume", str(moved), "--output-dir", str(tmp_path)]
    assert load_settings("lenet5", flags).changes(moved) == {}


def test_what_is_hidden_is_what_redaction_writes():
    assert HIDDEN == REDACTED


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
@hypothesis_settings(max_examples=20)
def test_what_a_secret_was_fits_what_is_in_its_place(secret):
    assert fits(f"http://{HIDDEN}@h", f"http://{secret}@h")
    assert not fits(f"http://{HIDDEN}@h", f"http://{secret}@other")


def test_a_secret_comes_back_from_the_present_configuration(tmp_path):
    run = write_run(tmp_path / "x", f"MLFLOW_TRACKING_URI=http://{HIDDEN}@h")
    tree = Tree()
    assert load_run(tree, run, {"MLFLOW_TRACKING_URI": "http://me:pw@h"}) == []
    assert tree.values()["MLFLOW_TRACKING_URI"] == "http://me:pw@h"
    assert checked_changes(tree, run) == {}
    (note,) = load_run(tree, run, {"MLFLOW_TRACKING_URI": "http://other"})
    assert "runs keep no secrets" in note


def test_science_that_lacks_its_secret_is_refused_until_it_is_given(tmp_path):
    hidden = f"https://{HIDDEN}@h/weights"
    run = write_run(tmp_path / "x", f"INIT_FROM={hidden}")
    tree = Tree()
    load_run(tree, run)
    with pytest.raises(ConfigError, match="give the whole value with SET='INIT_FROM="):
        checked_changes(tree, run)
    apply(tree, [parse_words("INIT_FROM=https://me@h/weights", "SET")[0]])
    assert checked_changes(tree, run) == {}


# ---------------------------------------------------------------------- what may change


def test_the_lists_name_symbols_that_exist_and_are_what_they_say():
    assert MAY_CHANGE | BATCH | IDENTITY.keys() <= NAMES
    science = {name for name in NAMES if is_science(name, changes._menu(TREE, name))}
    assert science >= MAY_CHANGE | BATCH
    assert not science & IDENTITY.keys()


def test_every_symbol_may_change_or_has_a_reason_why_not():
    free = {name for name in NAMES if not why_not(TREE, name)}
    assert free >= MAY_CHANGE | BATCH | (SYMBOLS_WITHOUT & NAMES)
    for name in ("MODEL", "OPTIMIZER", "DATASET", "SEED", "SHARD", "PRUNING_METHOD", "ADAM_BETA1"):
        assert name not in free
    # Whether images are cropped from files or from what is in memory changes the crops.
    for name in ("IMAGE_MEMORY", "IMAGE_SIZE", "AUGMENT", "AUGMENT_FLIP", "MIXUP", "NORMALIZATION"):
        assert name not in free
    everything = {menus(symbol)[0] for symbol in TREE.settable}
    assert {changes._menu(TREE, name)[0] for name in NAMES - free} <= everything


VALUES = {
    "NUM_EPOCHS": st.integers(1, 1000),
    "MAX_STEPS": st.integers(0, 1000),
    "EVAL_INTERVAL": st.integers(0, 1000),
    "LEARNING_RATE": st.floats(1e-6, 1.0),
    "GRAD_CLIP": st.floats(0.0, 10.0),
    "LR_SCHEDULE": st.sampled_from(["cosine", "linear", "constant"]),
    "DEVICE": st.sampled_from(["auto", "cpu"]),
    "DESCRIPTION": st.text(st.characters(codec="ascii", exclude_characters="\0")),
    "SEED": st.integers(0, 100),
    "VAL_FRACTION": st.floats(0.01, 0.5),
    "MOMENTUM": st.floats(0.0, 0.9),
    "TRACKER_RUN_NAME": st.sampled_from(["", "x"]),
}


@given(st.fixed_dictionaries({}, optional=VALUES))
@hypothesis_settings(max_examples=12)
def test_any_combination_is_refused_for_exactly_what_must_stay(tmp_path_factory, wanted):
    run = tmp_path_factory.getbasetemp() / "any-combination"
    if not run.exists():
        write_run(run, "OPTIMIZER=sgd SEED=3")
    tree = TREE  # a new one would take most of the time
    tree.unset_values()
    load_run(tree, run)
    before = tree.values()
    apply(tree, [[Assignment(name, str(value), "SET") for name, value in wanted.items()]])
    differ = {name for name in wanted if tree.values()[name] != before[name]}
    must_stay = differ & {"SEED", "VAL_FRACTION", "MOMENTUM", "TRACKER_RUN_NAME"}
    if not must_stay:
        expected = {name: [before[name], tree.values()[name]] for name in sorted(differ)}
        assert checked_changes(tree, run) == expected
        return
    with pytest.raises(ConfigError) as error:
        checked_changes(tree, run)
    named = {line.partition(":")[0] for line in error.value.problems[1:-1]}
    assert named == must_stay
    command = error.value.problems[-1].partition(": make ")[2]
    words = dict(word.split("=", 1) for word in shlex.split(command))
    asked = tree.values()
    tree.unset_values()
    layers = (parse_words(text, "SET")[0] for text in ("OPTIMIZER=sgd SEED=3", words["SET"]))
    apply(tree, list(layers))
    assert {name: tree.values()[name] for name in wanted} == {name: asked[name] for name in wanted}


@pytest.mark.parametrize(
    ("words", "examples"),
    [
        ("BATCH_SIZE=16 GRAD_ACCUM=4", None),
        ("HYPER_PARAM_AUTO=y TARGET_EFFECTIVE_BATCH=64", None),
        ("BATCH_SIZE=16", 16),
        ("HYPER_PARAM_AUTO=y TARGET_EFFECTIVE_BATCH=128", 128),
    ],
)
def test_a_step_keeps_its_examples_however_they_are_divided(tmp_path, words, examples):
    run = write_run(tmp_path / "x", "BATCH_SIZE=64")
    tree = Tree()
    load_run(tree, run)
    apply(tree, [parse_words(words, "SET")[0]])
    if examples is None:
        assert checked_changes(tree, run).keys() <= BATCH
        return
    with pytest.raises(ConfigError, match=f"would have {examples} examples, .* had 64"):
        checked_changes(tree, run)


def test_outputs_stay_where_they_are(run):
    with pytest.raises(ConfigError, match="OUTPUT_DIR"):
        load_settings("lenet5", ["--resume", str(run), "--output-dir", "/elsewhere"])


def test_a_directory_that_is_no_run_belongs_to_none(tmp_path):
    with pytest.raises(BadUse, match=r"metadata\.yaml is missing"):
        run_directory(tmp_path)
