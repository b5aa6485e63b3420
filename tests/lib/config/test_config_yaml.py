# SPDX-License-Identifier: MIT
"""A run's config.yaml means the same to PyYAML, OmegaConf, Hydra and Kconfig, whatever it holds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import omegaconf  # with hydra-core, which dvc needs
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hypothesis import HealthCheck, assume, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lib.config import config_yaml, store
from lib.config.assign import apply
from lib.config.conflicts import contradictions
from lib.config.dotconfig import Assignment, ConfigError
from lib.config.settings import Settings, load_settings
from lib.config.tree import Tree
from lib.errors import BadUse
from tests.lib.config.test_settings import ASSIGNMENTS, HOSTILE

TREE = Tree()
AMBIGUOUS = [
    *("1e-3", "1e3", "0.10", "010", "0x1F", "0o17", "1_000", "1:30", "12:30:45", ".5", "+1", "-0"),
    *(
        "yes",
        "No",
        "ON",
        "off",
        "y",
        "true",
        "NULL",
        "null",
        "~",
        "",
        "nan",
        ".NaN",
        ".inf",
        "-.inf",
    ),
    *("???", "${x}", "${", r"\${x}", r"a\\${oc.env:HOME}b", r"\???", "????", "$", "$$", "{x}", "}"),
    *("2024-01-01", "2024-01-01T10:00:00Z", "=", "<<", "- a", "a: b", "a #b", "#", "!!int 3", "&a"),
    *("*a", "|", ">", "%", "@", "`", "'", '"', " a", "a ", "\n", "a\nb", "\t", "\x85", "\u2028"),
    *("\ufeff", "\x7f", "é", "🙂", "None", "@package _global_", "x" * 300 + " " + "y" * 300),
]


def as_it_is(name, text):
    return text


def configured(**values):
    tree = Tree()
    apply(tree, [[Assignment(name, value, "SET") for name, value in values.items()]])
    return Settings(tree)


def files_in(folder: Path, settings: Settings) -> Path:
    """Write the files of a run; the path of its config.yaml."""
    for name, text in settings.files(as_it_is).items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
    return folder / "config.yaml"


def flat(by_menu):
    return {name: value for menu in by_menu.values() for name, value in menu.items()}


def resolved(path: Path):
    """What OmegaConf says, every interpolation resolved."""
    config = omegaconf.OmegaConf.load(path)
    return omegaconf.OmegaConf.to_container(config, resolve=True, throw_on_missing=True)


def for_omegaconf(values):
    """A whole ??? cannot be written for OmegaConf before 2.4, which keeps the backslash."""
    return {
        k: f"\\{v}" if isinstance(v, str) and v.lstrip("\\") == "???" else v
        for k, v in values.items()
    }


@pytest.mark.parametrize("text", [*AMBIGUOUS, *HOSTILE], ids=repr)
def test_any_text_is_the_same_text_to_all(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(config_yaml.render({"A menu": {"NAME": text}}), encoding="utf-8", newline="")
    assert config_yaml.load(path) == {"A menu": {"NAME": text}}
    assert resolved(path)["A menu"] == for_omegaconf({"NAME": text})
    assignments, problems = config_yaml.read(path, "f")
    assert [(a.name, a.value) for a in assignments] == [("NAME", text)] and not problems


@hypothesis_settings(max_examples=300)
@given(st.text(st.sampled_from("\\${}?x: '\n")))
@example(r"\\\${" + "\\")
def test_what_is_special_to_omegaconf_comes_back(text):
    assert config_yaml.unescape(config_yaml.escape(text)) == text
    found = omegaconf.OmegaConf.create({"t": config_yaml.escape(text)}).t
    assert {"t": found} == for_omegaconf({"t": text})


@hypothesis_settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(ASSIGNMENTS)
def test_any_configuration_comes_back_byte_for_byte(tmp_path_factory, wanted):
    TREE.unset_values()
    layer = [Assignment(name, value, "SET") for name, value in wanted.items()]
    try:
        apply(TREE, [layer], tolerant=True)  # drops what depends on choices that were not made
    except ConfigError:
        assume(not contradictions(TREE.values(), TREE.chosen()))
        raise
    settings = Settings(TREE)
    path = files_in(tmp_path_factory.mktemp("run"), settings)
    values = {entry.name: settings.as_dict()[entry.name] for entry in TREE.entries()}
    assert flat(config_yaml.load(path)) == values
    assert flat(resolved(path)) == for_omegaconf(values)

    saved = path.with_name("saved.yaml")  # by OmegaConf, without resolving
    omegaconf.OmegaConf.save(omegaconf.OmegaConf.load(path), saved)
    before = settings.files(as_it_is)
    loses = "\x85" in before[".config"]  # PyYAML's writer in Python loses a NEL
    for each in (path,) if loses else (path, saved):
        TREE.unset_values()
        store.load(TREE, each)
        assert TREE.config_text() == before[".config"]
        assert TREE.defconfig_text() == before["defconfig"]
        assert TREE.values() == settings.as_dict()


def test_hydra_composes_a_run_and_overrides_it(tmp_path):
    settings = configured(OPTIMIZER="sgd", DESCRIPTION="${HOME} ???", TRACKER_TAGS="a,b")
    files_in(tmp_path, settings)
    with initialize_config_dir(str(tmp_path), version_base=None):
        config = compose("config", overrides=["Optimizer.OPTIMIZER=adam", "+Training.MINE=1e-3"])
    GlobalHydra.instance().clear()
    assert config.Run.DESCRIPTION == "${HOME} ???"
    assert config.Optimizer.OPTIMIZER == "adam" and config.Training.MINE == 0.001
    assert config["Learning rate"].LEARNING_RATE == settings.LEARNING_RATE
    assert config.Training.BATCH_SIZE == settings.BATCH_SIZE


@pytest.mark.reach
def test_omegaconf_in_its_newest_version(tmp_path):
    """In a process of its own: dvc needs an older one (requirements-reach-alone.txt)."""
    newest = Path(sys.prefix) / "alone"
    if not (newest / "omegaconf").is_dir():
        pytest.skip(f"omegaconf is not in {newest}: make check-reach")
    run, texts = tmp_path / "run", tmp_path / "texts.yaml"
    run.mkdir()
    settings = configured(DESCRIPTION="1e-3 ${x} ???", HYPOTHESIS="010", OPTIMIZER="sgd")
    path = files_in(run, settings)
    texts.write_text(
        config_yaml.render({str(i): text for i, text in enumerate(AMBIGUOUS)}), newline=""
    )
    code = (
        "import json, sys, omegaconf\n"
        "from omegaconf import OmegaConf\n"
        "load = lambda p: OmegaConf.to_container(OmegaConf.load(p), resolve=True,"
        " throw_on_missing=True)\n"
        "OmegaConf.save(OmegaConf.load(sys.argv[1]), sys.argv[1] + '.saved.yaml')\n"
        "print(json.dumps([omegaconf.__version__, load(sys.argv[1]), load(sys.argv[2])]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path, texts], env={**os.environ, "PYTHONPATH": str(newest)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    version, found, found_texts = json.loads(done.stdout)
    assert version == "2.4.0"
    assert found == config_yaml.load(path)
    assert found_texts == {str(i): text for i, text in enumerate(AMBIGUOUS)}
    again = Tree()
    store.load(again, path.with_name("config.yaml.saved.yaml"))
    assert again.config_text() == settings.files(as_it_is)[".config"]


# ------------------------------------------------------------------ back through Kconfig


@pytest.fixture
def no_config_py(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "CONFIG_PY", tmp_path / "config.py")
    monkeypatch.delenv("KCONFIG_CONFIG", raising=False)


def test_a_training_program_takes_it(no_config_py, tmp_path):
    flags = ["--optimizer", "sgd", "--nesterov", "--description", "${x} 1e-3", "--tracker=wandb"]
    settings = load_settings("lenet5", flags)
    path = files_in(tmp_path, settings)
    again = load_settings("lenet5", ["--config", str(path)])
    assert again.files(as_it_is)[".config"] == (tmp_path / ".config").read_text()
    assert again.science_hash == settings.science_hash
    assert load_settings("lenet5", ["--config", str(path), "--seed", "5"]).SEED == 5


def test_by_hand_a_part_flat_or_in_groups(no_config_py, tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text(
        "# mine\nSEED: 3\nCONFIG_OPTIMIZER: sgd\nwhatever:\n  NESTEROV: yes\n  deeper:\n"
        "    LEARNING_RATE: 1e-2\n    PLOTS: False\nDESCRIPTION: 0.10\nTRACKER_NOTES: |\n  two\n"
        "  lines\n"
    )
    settings = load_settings("lenet5", ["--config", str(path)])
    assert (settings.SEED, settings.OPTIMIZER, settings.NESTEROV) == (3, "sgd", True)
    assert (settings.LEARNING_RATE, settings.PLOTS) == (0.01, False)
    assert (settings.DESCRIPTION, settings.TRACKER_NOTES) == ("0.10", "two\nlines\n")
    assert settings._tree.origins["SEED"] == str(path)


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        ("SEED: 1\nBATCHSIZE: 3\n", ["f.yaml:2: BATCHSIZE=3: no such symbol", "mean BATCH_SIZE"]),
        ("a:\n  LEARNING_RATE: -1\n", ["f.yaml:2: LEARNING_RATE=-1: out of range"]),
        ("OPTIMIZER: adamv\n", ["f.yaml:1", "did you mean adam?"]),
        ("NESTEROV: true\n", ["f.yaml:1: NESTEROV=true: unmet dependency, needs OPTIMIZER_SGD"]),
        ("PLOTS: 1\n", ["f.yaml:1: PLOTS=1: wrong type, want y or n"]),
        ("BATCH_SIZE: 1e2\n", ["f.yaml:1: BATCH_SIZE=1e2: wrong type, want an integer"]),
        ("BATCH_SIZE: 010\n", ["f.yaml:1: BATCH_SIZE=010: leading zeros", "octal", "write 10"]),
        ("BATCH_SIZE: [1]\n", ["f.yaml:1: BATCH_SIZE: a list is not a value"]),
        ("SEED: null\n\nTRACKER_TAGS:\n", ["f.yaml:1: SEED: no value", "f.yaml:3: TRACKER_TAGS: "]),
        ("SEED: 1\na: {SEED: 2}\n", ["f.yaml:2: SEED=2: contradicts SEED=1 (f.yaml:1)"]),
        ("DESCRIPTION: ${HOME}\n", ["f.yaml:1: DESCRIPTION: interpolations", r"\${"]),
        ("DESCRIPTION: '???'\n", ["f.yaml:1: DESCRIPTION: ??? is a missing value"]),
        ("SEED: 1\n? [a]\n: 1\n", ["f.yaml:2: a name is missing"]),
        ("- SEED\n", ["f.yaml:1: a name is missing"]),
        ("a b: 1\n", ["f.yaml:1: a b: not the name of a symbol"]),
        ("SEED\n", ["f.yaml: not a mapping"]),
        ("SEED: 1\n b: 2\n", ["f.yaml:2: not YAML: mapping values are not allowed"]),
        ("a: &x 1\nb: *x\n", ["f.yaml: has aliases"]),
        ("SEED: 1\nSEED: \x00\n", ["f.yaml: unacceptable character"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_take_is_said_with_its_line(tmp_path, monkeypatch, text, complaints):
    monkeypatch.chdir(tmp_path)
    Path("f.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        store.load(Tree(), Path("f.yaml"))
    for complaint in complaints:
        assert complaint in str(error.value)
    assert "olddefconfig" not in str(error.value)  # which would write .config's form into it


def test_an_empty_file_and_one_that_is_missing(tmp_path):
    (tmp_path / "empty.yaml").touch()
    tree = Tree()
    store.load(tree, tmp_path / "empty.yaml")
    assert tree.values() == Tree().values()
    with pytest.raises(ConfigError, match=r"none\.yaml: No such file"):
        store.load(tree, tmp_path / "none.yaml")


def test_the_configuration_of_the_tree_is_not_yaml(monkeypatch):
    monkeypatch.setenv("KCONFIG_CONFIG", "mine.yaml")
    with pytest.raises(BadUse, match=r"defconfig DEFCONFIG=\./mine\.yaml"):
        store.config_path()


def test_infinity_in_the_form_of_yaml_is_a_number(tmp_path):
    (tmp_path / "f.yaml").write_text("LEARNING_RATE: .inf\n")
    with pytest.raises(ConfigError, match="out of range"):
        store.load(Tree(), tmp_path / "f.yaml")
