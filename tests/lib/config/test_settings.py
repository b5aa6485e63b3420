# SPDX-License-Identifier: MIT
"""From .config by way of config.py and flags to the settings of a run, and back."""

import re
import runpy
import subprocess
import sys

import pytest
import yaml
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lib.config import config_yaml, configpy, dotconfig, science, store
from lib.config.assign import apply
from lib.config.conflicts import contradictions
from lib.config.dotconfig import Assignment, ConfigError, parse, parse_words
from lib.config.settings import Settings, load_settings, program_settings
from lib.config.symbols import menus
from lib.config.tree import BOOL, INT, Tree, text_of
from lib.errors import BadUse

HOSTILE = [
    "\"quoted\" and 'quoted'",
    "$(touch pwned) ${HOME} $HOME `touch pwned` $$ $(shell touch pwned)",
    "two\nlines\r\nand a third\r",
    "# not a comment \\ \\n \\\\ trailing backslash \\",
    "ünïcödé 漢字 🙂 \u2028 \x85 \x1b[31m \x7f",
    "  spaces around\t",
    "=;&|<>*?[]{}!~%(),",
    "x" * 10_000,
]


def as_it_is(name, text):
    return text


@pytest.fixture
def config_py(tmp_path, monkeypatch):
    """An empty place for the configuration of the tree."""
    monkeypatch.setattr(store, "CONFIG_PY", tmp_path / "config.py")
    monkeypatch.delenv("KCONFIG_CONFIG", raising=False)
    return tmp_path / "config.py"


def configure(config_py, text):
    """What `make defconfig SET=text` does; returns the .config."""
    tree = Tree()
    assignments, problems = parse_words(text, "SET")
    assert not problems
    apply(tree, [assignments])
    store.store(tree, config_py.with_name(".config"), config_py)
    return config_py.with_name(".config")


def test_without_configuration_the_defaults_of_the_model(config_py, capsys):
    settings = load_settings("lenet5", [])
    assert settings.MODEL == "lenet5"
    assert settings.as_dict() == Tree().values()
    assert "no config.py" in capsys.readouterr().err
    assert settings.trackers == ()


def test_flags_over_config_py_over_defaults(config_py):
    configure(config_py, "SEED=3 BATCH_SIZE=16 DESCRIPTION=d")
    settings = load_settings("lenet5", ["--seed", "4", "--optimizer", "sgd", "--no-plots"])
    assert (settings.SEED, settings.BATCH_SIZE, settings.OPTIMIZER) == (4, 16, "sgd")
    assert settings.PLOTS is False
    assert settings.MOMENTUM == 0.9
    assert settings.ADAM_BETA1 is None
    origins = yaml.safe_load(settings.files(as_it_is)["origins.yaml"])
    assert origins == {
        "BATCH_SIZE": {"value": 16, "origin": "SET"},
        "DESCRIPTION": {"value": "d", "origin": "SET"},
        "OPTIMIZER": {"value": "sgd", "origin": "flag --optimizer"},
        "PLOTS": {"value": False, "origin": "flag --plots"},
        "SEED": {"value": 4, "origin": "flag --seed"},
    }


def test_config_flag_reads_a_config_file_instead(config_py, tmp_path):
    configure(config_py, "SEED=3")
    other = tmp_path / "other"
    other.write_text("CONFIG_BATCH_SIZE=8\n")
    settings = load_settings("lenet5", ["--config", str(other), "--learning-rate=1e-4"])
    assert (settings.SEED, settings.BATCH_SIZE, settings.LEARNING_RATE) == (0, 8, 1e-4)


@pytest.mark.parametrize(
    ("words", "trackers"), [("none", ()), ("both", ("trackio", "wandb")), ("Wandb", ("wandb",))]
)
def test_the_tracker_flag(config_py, words, trackers):
    configure(config_py, "ENABLE_WANDB=y")
    assert load_settings("lenet5", ["--tracker", words]).trackers == trackers


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["--seed", "x"], "flag --seed: SEED=x: wrong type"),
        (["--seed=-1"], "flag --seed: SEED=-1: out of range, want an integer in [0, 4294967295]"),
        (["--momentum", "0.5"], "flag --momentum: MOMENTUM=0.5: unmet dependency"),
        (["--optimizer", "adamx"], "is not one of sgd, adam, adamw"),
        (["--learning-rat", "1"], "unknown argument --learning-rat; did you mean --learning-rate"),
        (["stray"], "unknown argument stray"),
        (["--seed"], "--seed: expected one argument"),
        (["--tracker", "wand"], "did you mean wandb?"),
        (["--config", "/nowhere/x"], "/nowhere/x: No such file"),
        (["--description", "a\0b"], "NUL"),
    ],
)
def test_bad_flags_are_refused_with_the_reason(config_py, capsys, monkeypatch, argv, complaint):
    """As an exception, of which a program makes its exit code."""
    with pytest.raises(BadUse, match=re.escape(complaint)):
        load_settings("lenet5", argv)
    assert complaint not in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["train.py", *argv])
    with pytest.raises(SystemExit) as exit_:
        program_settings("lenet5")
    assert exit_.value.code == 2
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("flags", ["--learning-rate 0.01", ["--learning-rate", 0.01]])
def test_flags_that_are_no_list_of_texts_are_refused(flags):
    with pytest.raises(BadUse, match=r'flags are a list of texts, \["--learning-rate", "0\.01"\]'):
        load_settings("lenet5", flags)


def test_the_flags_of_another_program_are_not_taken(config_py, monkeypatch):
    """As in a notebook, whose kernel has flags of its own."""
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])
    assert load_settings("lenet5").MODEL == "lenet5"
    with pytest.raises(BadUse, match=r"`lenet5/train\.py --help` lists the flags"):
        load_settings("lenet5", ["--sed", "1"])


def test_a_model_that_there_is_not_is_refused():
    with pytest.raises(BadUse, match="lenet5"):
        load_settings("lenet")


def test_a_prompt_completes_and_shows_settings(config_py):
    settings = load_settings("lenet5", ["--learning-rate", "0.01"])
    assert {"LEARNING_RATE", "SEED", "trackers", "as_dict"} <= set(dir(settings))
    assert "lenet5" in repr(settings) and "LEARNING_RATE=0.01" in repr(settings)
    with pytest.raises(AttributeError, match=r"no symbol LERNING_RATE; did you mean LEARNING_RATE"):
        print(settings.LERNING_RATE)


def test_help_has_the_menus_the_defaults_and_the_ranges(config_py, capsys):
    with pytest.raises(SystemExit) as exit_:
        load_settings("lenet5", ["--help"])
    assert exit_.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for title in ("Run:", "Data:", "Training:", "Device:", "Optimizer:", "Experiment Tracking:"):
        assert title in text
    assert "--momentum N Momentum, in [0, 1) (default 0.9; needs OPTIMIZER_SGD)" in text
    assert (
        "--optimizer NAME Optimizer: sgd, adam, adamw, adamwadv, adamwspam, adamwprune (default"
        in text
    )
    assert "--nesterov, --no-nesterov" in text
    assert "--model" not in text.replace("--models", "")


def test_the_configuration_of_another_model_is_refused(config_py):
    configure(config_py, "")
    config_py.write_text(config_py.read_text().replace("'MODEL': 'lenet5'", "'MODEL': 'other'"))
    with pytest.raises(ConfigError, match="MODEL=other resolves to 'lenet5'"):
        load_settings("lenet5", [])


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("'SEED': 0", "'SEED': -7", "SEED=-7"),
        ("'SEED': 0", "'SEEED': 0", "SEEED"),
        ("VALUES = {", "VALUES = [", "damaged"),
        ("'SEED': 0", "'SEED': print('run')", "damaged"),
    ],
)
def test_a_config_py_that_does_not_fit_is_refused_and_never_run(
    config_py, capsys, old, new, complaint
):
    configure(config_py, "")
    text = config_py.read_text()
    assert old in text
    config_py.write_text(text.replace(old, new))
    with pytest.raises(ConfigError, match=complaint) as raised:
        load_settings("lenet5", [])
    assert "make olddefconfig" in str(raised.value)
    assert not capsys.readouterr().out


def test_a_config_newer_than_config_py_is_said(config_py, capsys):
    path = configure(config_py, "SEED=3")
    load_settings("lenet5", [])
    assert not capsys.readouterr().err
    path.write_text(path.read_text().replace("CONFIG_SEED=3", "CONFIG_SEED=4"))
    assert load_settings("lenet5", []).SEED == 3
    assert "newer than config.py" in capsys.readouterr().err


def test_settings_are_frozen_and_know_their_names():
    settings = Settings(Tree())
    with pytest.raises(AttributeError, match="frozen"):
        settings.SEED = 3
    with pytest.raises(AttributeError, match="no symbol LEARNING_RAT; did you mean LEARNING_RATE"):
        _ = settings.LEARNING_RAT


def test_the_hash_of_the_science_covers_what_changes_the_numbers_and_nothing_else(config_py):
    configure(config_py, "SEED=3")

    def hash_with(*argv: str) -> str:
        return load_settings("lenet5", argv).science_hash

    same = hash_with()
    assert len(same) == 16
    for argv in (
        ["--seed", "3", "--description", "d", "--hypothesis=h", "--output-dir=/tmp", "--no-plots"],
        ["--tracker=all", "--tracker-run-name=r", "--tracker-tags=t", "--trackio-port=1234"],
        ["--data-dir=/tmp", "--num-workers=7", "--log-interval=3", "--checkpoint-interval=5"],
    ):
        assert hash_with(*argv) == same
    others = {
        hash_with(*argv)
        for argv in (
            ["--seed=4"],
            ["--optimizer=adam"],
            ["--optimizer=adamwprune"],
            ["--precision=bfloat16"],
            ["--learning-rate=0.1"],
            ["--eval-interval=3"],
            ["--max-steps=9"],
        )
    }
    assert len(others | {same}) == 8


def test_every_menu_is_science_or_not():
    found = {menus(symbol)[0] for symbol in TREE.unique_defined_syms if menus(symbol)}
    assert found == {*science.MENUS_OF_SCIENCE, *science.MENUS_WITHOUT}
    names = {TREE.public_name(symbol) for symbol in TREE.settable}
    assert names >= science.SYMBOLS_WITHOUT


def test_repr_says_what_is_not_a_default(config_py):
    configure(config_py, "SEED=3 OPTIMIZER=sgd")
    settings = load_settings("lenet5", [])
    assert repr(settings) == f"<Settings lenet5 {settings.science_hash}: SEED=3 OPTIMIZER=sgd>"


def test_the_files_repeat_the_run(config_py, tmp_path):
    flags = ["--optimizer", "sgd", "--nesterov", "--description", HOSTILE[2], "--tracker=wandb"]
    settings = load_settings("lenet5", flags)
    files = settings.files(as_it_is)
    for name in (".config", "defconfig"):
        (tmp_path / name).write_text(files[name], newline="")
        again = load_settings("lenet5", ["--config", str(tmp_path / name)])
        assert again.as_dict() == settings.as_dict()
        assert again.science_hash == settings.science_hash
    grouped = yaml.safe_load(files["config.yaml"])
    assert grouped["Optimizer"]["MOMENTUM"] == 0.9
    assert grouped["Run"]["DESCRIPTION"] == HOSTILE[2]
    assert "ADAM_EPS" not in grouped["Optimizer"]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_travels_by_flag_config_and_config_py(config_py, tmp_path, text):
    settings = load_settings("lenet5", [f"--description={text}", "--output-dir", text])
    path = tmp_path / ".config"
    path.write_text(settings.files(as_it_is)[".config"], newline="")
    tree = Tree()
    store.load(tree, path)
    store.store(tree, path, config_py)
    config = runpy.run_path(str(config_py))["config"]
    for source in (config, load_settings("lenet5", [])):
        assert text == source.DESCRIPTION
        assert text == source.OUTPUT_DIR
    path = tmp_path / "config.yaml"
    path.write_text(settings.files(as_it_is)["config.yaml"], newline="")
    assert config_yaml.load(path)["Run"]["DESCRIPTION"] == text


def test_config_py_stands_alone(config_py):
    configure(config_py, "SEED=3")
    code = (
        "from config import config; assert config.SEED == 3; assert config.PLOTS is True\n"
        "assert config.MOMENTUM is None and 'SEED' in dir(config)\n"
        "import sys; assert 'lib' not in sys.modules\n"
        "try: config.SEED = 1\n"
        "except AttributeError: pass\n"
        "else: raise SystemExit('not frozen')\n"
        "config.SEEED\n"
    )
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(
        command, cwd=config_py.parent, capture_output=True, text=True, check=False
    )
    last = done.stderr.splitlines()[-1]
    assert last == "AttributeError: no symbol SEEED in config.py. Did you mean: 'SEED'?"


def test_config_py_is_the_same_for_the_same_config(config_py):
    path = configure(config_py, "SEED=3")
    first = config_py.read_bytes()
    tree = Tree()
    store.load(tree, path)
    store.store(tree, path, config_py)
    assert config_py.read_bytes() == first


@given(st.dictionaries(st.text("ABC_", min_size=1), st.floats(allow_nan=False) | st.booleans()))
def test_config_py_holds_any_number(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("config") / "config.py"
    path.write_text(configpy.render(values, ".config"))
    assert configpy.read(path) == (values, ".config")


TREE = Tree()


def _smallest(bound):
    """A range may end at another symbol: its smallest value holds whatever that one is set to."""
    return _smallest(bound.orig_ranges[0][0]) if bound.orig_type is INT else int(bound.str_value)


def _values(symbol):
    """What Kconfig accepts for a symbol, as text."""
    if symbol.orig_type is BOOL:
        return st.sampled_from(["y", "n"])
    if symbol.orig_type is INT:
        low, high, _ = symbol.orig_ranges[0]
        return st.integers(int(low.str_value), _smallest(high)).map(str)
    if symbol.name in ("PRUNING_START", "PRUNING_END", "PRUNING_FREQUENCY"):
        return st.sampled_from(["0.5", "1.0"])  # most others contradict each other or their unit
    if interval := TREE.intervals.get(symbol.name):
        bounds = {"min_value": interval.low, "max_value": interval.high}
        reals = st.floats(**bounds, allow_nan=False).filter(interval.__contains__)
        return reals.map(repr)
    if symbol.name in TREE.paths:
        return st.text(
            st.characters(exclude_categories=["Cs"], exclude_characters="\0~"), min_size=1
        )
    if symbol.name == "DATASET_NAME":
        return st.text("azAZ09_-", min_size=1)
    return st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


PLAIN = [symbol for symbol in TREE.settable if not symbol.choice]
CHOICES = {name: st.sampled_from(list(options)) for name, options in TREE.choice_options.items()}
ASSIGNMENTS = st.fixed_dictionaries(
    {}, optional={symbol.name: _values(symbol) for symbol in PLAIN} | CHOICES
)


@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(ASSIGNMENTS)
def test_config_to_config_py_to_settings_to_config_is_the_identity(tmp_path_factory, wanted):
    """For any assignment that Kconfig accepts and that does not contradict itself."""
    TREE.unset_values()
    layer = [Assignment(name, value, "SET") for name, value in wanted.items()]
    try:
        apply(TREE, [layer], tolerant=True)  # drops what depends on choices that were not made
    except ConfigError:
        assume(not contradictions(TREE.values(), TREE.chosen()))
        raise
    text, minimal, values = TREE.config_text(), TREE.defconfig_text(), TREE.values()
    for name, value in wanted.items():
        assert text_of(values[name]) == value or name not in TREE.origins

    folder = tmp_path_factory.mktemp("tree")
    store.store(TREE, folder / ".config", folder / "config.py")
    assert store.dotconfig.read(folder / ".config")[1] == []
    read, _ = configpy.read(folder / "config.py")
    assert read == values

    TREE.unset_values()
    store.load_values(TREE, read, "config.py", "run make")
    settings = Settings(TREE)
    assert settings.as_dict() == values
    assert settings.files(as_it_is)[".config"] == text
    assert settings.files(as_it_is)["defconfig"] == minimal

    for again in (text, minimal):
        TREE.unset_values()
        assert apply(TREE, [parse(again, "f")[0]]) == []
        assert TREE.values() == values


def test_load_reports_lines_and_assignments_together(tmp_path):
    path = tmp_path / ".config"
    path.write_text("what\nCONFIG_GONE=1\nCONFIG_SEED=x\n")
    with pytest.raises(ConfigError) as error:
        store.load(Tree(), path)
    places = [problem.partition(": ")[0] for problem in error.value.problems]
    assert places == [
        f"{path}:1",
        f"{path}:2",
        f"{path}:3",
        f"`make olddefconfig KCONFIG_CONFIG={path}` drops symbols that are gone",
    ]


def test_origins_count_only_while_the_value_is_the_same(config_py):
    path = configure(config_py, "SEED=3 BATCH_SIZE=8")
    path.write_text(path.read_text().replace("CONFIG_SEED=3", "CONFIG_SEED=4"))
    tree = Tree()
    store.load(tree, path)
    assert tree.origins == {"SEED": f"{path} (edited)", "BATCH_SIZE": "SET"}
    path.with_name(".config.origins").write_text("damaged")
    store.load(tree, path)
    assert tree.origins["BATCH_SIZE"] == str(path)


def test_a_symbolic_link_stays_one(config_py, tmp_path):
    (tmp_path / "real").write_text("")
    (tmp_path / ".config").symlink_to("real")
    configure(config_py, "SEED=5")
    assert (tmp_path / ".config").is_symlink()
    assert "CONFIG_SEED=5" in (tmp_path / "real").read_text()
    assert dotconfig.read(tmp_path / ".config")[1] == []
