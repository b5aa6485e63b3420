# SPDX-License-Identifier: MIT
"""The configuration targets of make, on a copy of the tree."""

import os
import pty
import re
import runpy
import select
import shlex
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.config import copy_tree
from lib.config.dotconfig import Assignment, ConfigError, escape
from lib.config.tree import Tree
from scripts.config.change import override

FILES = (".config", "config.py", ".config.origins")
HOSTILE = [
    "\"double\" 'single' \\ back\\\\slash \\n",
    "$(shell touch pwned) $(touch pwned) `touch pwned` ${HOME} $HOME $$ $@ $(SET)",
    "first\nsecond\r\n\ttouch pwned",
    "#comment; touch pwned & touch pwned | touch pwned > pwned",
    "ünïcödé 漢字 🙂 \u2028 %s %(x)s {x}",
    " spaces at both ends ",
    "=,:;()[]!~*?",
    "x" * 10_000,
]
STRINGS = [
    "DESCRIPTION",
    "HYPOTHESIS",
    "OUTPUT_DIR",
    "TRACKER_PROJECT",
    "TRACKER_RUN_NAME",
    "WANDB_PROJECT",
    "WANDB_ENTITY",
    "DATA_DIR",
]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    tree = tmp_path_factory.mktemp("tree") / "odd 'name' $(x)"
    copy_tree(tree)
    return tree


@pytest.fixture
def tree(original, tmp_path):
    """A copy of the tree, in a directory with an odd name."""
    target = tmp_path / "odd 'name' $(x)"
    subprocess.run(["cp", "-r", original, target], check=True)
    return target


def make(tree, *words, text="", **variables):
    """Run make; `variables` go into the environment."""
    hidden = ("MAKEFLAGS", "MAKELEVEL", "KCONFIG_CONFIG", "TRACKER", "SET", "DEFCONFIG", "DISPLAY")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    return subprocess.run(
        ["make", "VENV=system", f"PYTHON3={sys.executable}", *words],
        cwd=tree,
        env=environment | variables,
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def config(tree):
    """The values in config.py."""
    return runpy.run_path(str(tree / "config.py"))["VALUES"]


def snapshot(tree):
    return {name: (tree / name).read_bytes() for name in FILES if (tree / name).exists()}


def test_defconfig_takes_name_fragments_set_and_tracker_in_this_order(tree):
    (tree / "one").write_text("CONFIG_SEED=1\nCONFIG_BATCH_SIZE=8\n")
    (tree / "the second").write_text("CONFIG_SEED=2\nCONFIG_ENABLE_TRACKIO=y\n")
    done = make(
        tree,
        "defconfig",
        "DEFCONFIG=lenet5-digits-sgd",
        "FRAGMENTS=one 'the second'",
        "SET=BATCH_SIZE=16 LEARNING_RATE=3e-4",
        "TRACKER=Wandb",
    )
    assert done.returncode == 0, done.stderr
    values = config(tree)
    assert (values["SEED"], values["BATCH_SIZE"], values["LEARNING_RATE"]) == (2, 16, 3e-4)
    assert (values["ENABLE_TRACKIO"], values["ENABLE_WANDB"]) == (False, True)
    shown = make(tree, "showconfig").stdout
    for line in (
        "OPTIMIZER  sgd  defconfigs/lenet5-digits-sgd:2",
        "SEED  2  the second:1",
        "BATCH_SIZE  16  SET",
        "LEARNING_RATE  0.0003  SET",
        "ENABLE_WANDB  y  TRACKER=Wandb",
    ):
        assert re.search(re.escape(line).replace(r"\ \ ", " +"), shown), shown
    assert make(tree, "savedefconfig").returncode == 0
    assert (tree / "defconfig").read_text().splitlines() == [
        "CONFIG_SEED=2",
        "CONFIG_BATCH_SIZE=16",
        'CONFIG_LEARNING_RATE="0.0003"',
        "CONFIG_OPTIMIZER_SGD=y",
        "CONFIG_NESTEROV=y",
        "CONFIG_ENABLE_WANDB=y",
    ]
    before = config(tree)
    assert make(tree, "defconfig", "DEFCONFIG=./defconfig").returncode == 0
    assert config(tree) == before


def test_tracker_none_beats_a_defconfig(tree):
    (tree / "defconfigs/tracked").write_text("# tracked\nCONFIG_ENABLE_WANDB=y\n")
    assert make(tree, "defconfig-tracked").returncode == 0
    assert config(tree)["ENABLE_WANDB"] is True
    assert make(tree, "defconfig-tracked", "TRACKER=none").returncode == 0
    assert config(tree)["ENABLE_WANDB"] is False


def test_plain_make_configures_and_updates_only_when_needed(tree):
    first = make(tree, "config.py")
    assert "There is no .config yet" in first.stdout
    assert "up to date" in make(tree, "config.py").stdout
    changed = make(tree, "setconfig", "SET=OPTIMIZER=sgd SEED=5").stdout
    assert "OPTIMIZER: adamw → sgd" in changed
    assert "LEARNING_RATE: 0.002 → 0.05" in changed  # a default follows
    assert "SEED: 0 → 5" in changed
    assert "ADAM_EPS: 1e-08 → unused (needs !OPTIMIZER_SGD)" in changed
    assert "CONFIG_SEED=5" in (tree / ".config").read_text()
    assert "up to date" in make(tree, "config.py").stdout
    (tree / ".config").write_text("CONFIG_SEED=6\n")
    os.utime(tree / ".config", (time.time() + 5,) * 2)
    make(tree, "config.py")
    assert config(tree)["SEED"] == 6


def test_kconfig_config_names_another_file(tree):
    make(tree, "defconfig", "SET=SEED=1")
    make(tree, "defconfig", "KCONFIG_CONFIG=other", "SET=SEED=2")
    assert config(tree)["SEED"] == 2
    make(tree, "config.py")
    assert config(tree)["SEED"] == 1
    make(tree, "config.py", KCONFIG_CONFIG="other")
    assert config(tree)["SEED"] == 2
    refused = make(tree, "config.py", "KCONFIG_CONFIG=a b")
    assert refused.returncode == 2
    assert "without spaces" in refused.stderr


@pytest.mark.parametrize("given", ["argument", "environment", "fragment"])
def test_hostile_values_are_carried_and_never_run(tree, given):
    wanted = dict(zip(STRINGS, HOSTILE, strict=True))
    words = " ".join(f"{name}={shlex.quote(text)}" for name, text in wanted.items())
    if given == "argument":
        done = make(tree, "defconfig", f"SET={words}")
    elif given == "environment":
        done = make(tree, "defconfig", SET=words)
    else:
        lines = [f'CONFIG_{name}="{escape(text)}"\n' for name, text in wanted.items()]
        (tree / "part").write_text("".join(lines), newline="")
        done = make(tree, "defconfig", "FRAGMENTS=part")
    assert done.returncode == 0, done.stderr
    assert config(tree).items() >= wanted.items()
    assert make(tree, "olddefconfig").returncode == 0
    assert config(tree).items() >= wanted.items()
    assert not list(tree.rglob("pwned"))


@pytest.mark.parametrize("variable", ["DEFCONFIG", "FRAGMENTS", "SET", "TRACKER"])
def test_no_variable_is_run(tree, variable):
    text = "$(shell touch pwned)`touch pwned`';touch pwned;'\"\ntouch pwned\n"
    for done in (
        make(tree, "defconfig", f"{variable}={text}"),
        make(tree, "defconfig", **{variable: text}),
    ):
        assert done.returncode == 2
        assert "error: " in done.stderr
    make(tree, "defconfig-$(touch pwned)`touch pwned`';touch pwned;'")
    assert not list(tree.rglob("pwned"))


BAD = {
    "DEFCONFIG=lenet5-digit": "no defconfig `lenet5-digit`: did you mean lenet5-digits",
    f"DEFCONFIG={'x' * 5000}": "no defconfig `xxx",
    "DEFCONFIG=..": "no defconfig `..`",
    "FRAGMENTS=gone": "gone: No such file",
    "FRAGMENTS=malformed": "malformed:2: malformed line `CONFIG_SEED 3`",
    "SET=TRACKER=none": "no such symbol; TRACKER is a variable of its own on the make line",
    "SET=SEEED=1": "SET: SEEED=1: no such symbol; did you mean SEED (lib/train/Kconfig:",
    "SET=SEED=x": "SET: SEED=x: wrong type, want an integer in [0, 4294967295] (lib/train/Kconfig:",
    "SET=SEED=-1": "SEED=-1: out of range, want an integer in [0, 4294967295] (lib/train/Kconfig:",
    "SET=LEARNING_RATE=0": "out of range, want a real number in (0, inf) (lib/optim/Kconfig:",
    "SET=NESTEROV=y": "SET: NESTEROV=y: unmet dependency, needs OPTIMIZER_SGD (lib/optim/Kconfig:",
    "SET=OPTIMIZER=adamx": "is not one of sgd, adam, adamw, adamwadv, adamwspam, "
    "adamwprune; did you mean adam? (lib/optim/Kconfig:",
    "SET=SEED": "`SEED` is not NAME=value",
    "SET=DESCRIPTION='x": "no closing quotation",
    "TRACKER=wand": "use all, both, mlflow, none, tensorboard, trackio, wandb, or several of "
    "them with commas; did you mean",
    "TRACKER=none,wandb": "`none` excludes the others",
}


def test_bad_input_is_explained_and_changes_nothing(tree):
    (tree / "malformed").write_text("CONFIG_PLOTS=y\nCONFIG_SEED 3\n")
    make(tree, "defconfig", "SET=SEED=9")
    before = snapshot(tree)
    for word, complaint in BAD.items():
        done = make(tree, "defconfig", word)
        assert done.returncode == 2, word
        assert complaint in done.stderr
        assert "Traceback" not in done.stderr
    for target in ("setconfig", "olddefconfig", "alldefconfig"):
        done = make(tree, target, "SET=SEED=x SEEED=1", "TRACKER=none")
        assert done.returncode == 2
        assert "SEED=x" in done.stderr
        assert "SEEED=1" in done.stderr
    assert snapshot(tree) == before


REFUSED = {
    "LEARNING_RATE=0.1": 'LEARNING_RATE is a symbol of the configuration: make train SET="LEARN',
    "OPTIMIZER=sgd": 'make train SET="OPTIMIZER=sgd"',
    "runs SEED=5": 'SEED is a symbol of the configuration: make setconfig SET="SEED=5"',
    "runs FOO=x": "there is no variable FOO: make runs takes",
    "data SET=SEED=1": 'SET has no effect here; first type: make setconfig SET="SEED=1"',
    "config.py TRACKER=wandb": 'first type: make setconfig TRACKER="wandb"',
    "TRACKR=wandb": 'there is no variable TRACKR: did you mean TRACKER="wandb"?',
    "NPORC=2": 'did you mean NPROC="2"?',
    "lr=3": 'for the symbol LEARNING_RATE: make train SET="LEARNING_RATE=3"',
    "DEFCONFG=lenet5-mnist": "there is no variable DEFCONFG; DEFCONFIG is for make defconfig",
    "show FORMAT=x": "FORMAT has no effect here; it is for make",
    "DEFCONFIG=lenet5-mnist": "DEFCONFIG has no effect here; it is for make defconfig",
    "defconfig-lenet5-digits DEFCONFIG=x": "DEFCONFIG has no effect here",
    "list-defconfigs clean NPROC=2": "NPROC has no effect here; it is for make resume, train",
    "CUDA_VISIBLE_DEVICES=1": 'before make: CUDA_VISIBLE_DEVICES="1" make train',
}


def test_variables_without_effect_are_refused_with_what_to_type(tree):
    before = snapshot(tree)
    for words, complaint in REFUSED.items():
        done = make(tree, *words.split())
        assert done.returncode == 2, words
        assert complaint in done.stderr, words
        assert not done.stdout
    both = make(tree, "NPORC=2", "SEED=5").stderr
    assert both.count("error: ") == 2
    assert snapshot(tree) == before


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        ("resum", "did you mean make resume?"),
        ("$(shell touch pwned)'`touch pwned`", "`make help` lists them"),
    ],
)
def test_a_target_that_does_not_exist_is_refused_with_near_ones(tree, target, hint):
    done = make(tree, target)
    assert done.returncode == 2
    assert f"error: make has no target {target}: {hint}\n" in done.stderr
    assert not list(tree.rglob("pwned"))


def test_variables_are_taken_by_any_of_several_goals(tree):
    done = make(tree, "list-defconfigs", "defconfig-lenet5-digits-sgd", "SET=SEED=4", "V=0")
    assert done.returncode == 0, done.stderr
    assert config(tree)["SEED"] == 4
    # What stands in the environment may be meant for anything.
    assert make(tree, "list-defconfigs", SEED="5", SORT="x", SET="SEED=1").returncode == 0


def test_a_refused_value_is_never_run(tree):
    text = "$(shell touch pwned)`touch pwned`';touch pwned;'\"\ntouch pwned\n"
    for name in ("SEED", "SORT", "NPORC", "FORMAT"):
        assert make(tree, f"{name}={text}").returncode == 2
    make(tree, "defconfig-$(shell touch pwned)'`touch pwned`", "SORT=x")
    assert not list(tree.rglob("pwned"))


def test_an_old_make_is_refused_first(tree):
    for version in ("3.81", "3.82", "3.99.90"):
        done = make(tree, "defconfig-lenet5-mnist", f"MAKE_VERSION={version}")
        assert done.returncode == 2
        assert f"GNU make {version} is too old" in done.stderr
        assert "brew install make" in done.stderr
    assert not snapshot(tree)


def test_setconfig_keeps_values_and_says_each_change(tree):
    make(tree, "defconfig")
    done = make(tree, "setconfig", "SET=SEED=5 OPTIMIZER=adamwprune", "TRACKER=wandb")
    assert done.returncode == 0, done.stderr
    for line in (
        "SEED: 0 → 5",
        "PRUNING_METHOD: none → state",
        "PRUNING_SCORE: unused (needs PRUNING_METHOD_STATE and !PRUNING_METHOD_NONE) → bitter7",
        "ENABLE_WANDB: n → y",
    ):
        assert f"  {line}\n" in done.stdout
    assert make(tree, "setconfig", "SET=BATCH_SIZE=8").returncode == 0
    values = config(tree)
    assert (values["SEED"], values["BATCH_SIZE"], values["ENABLE_WANDB"]) == (5, 8, True)
    empty = make(tree, "setconfig")
    assert empty.returncode == 2
    assert 'make setconfig SET="SYMBOL=VALUE' in empty.stderr


def test_the_model_can_be_switched(tree):
    make(tree, "defconfig")
    done = make(tree, "setconfig", "SET=MODEL=gpt2")
    assert done.returncode == 0, done.stderr
    assert "  MODEL: lenet5 → gpt2\n" in done.stdout
    assert re.search(r": \S+ → unused \(needs .*MODEL=lenet5", done.stdout)


def test_every_choice_can_be_set_by_its_name(capsys):
    """Also where it brings other symbols into sight or out of it; SET of a launch and setconfig."""
    kconfig = Tree()
    for name, options in kconfig.choice_options.items():
        for value in options:
            kconfig.unset_values()
            with suppress(ConfigError):  # of another model, or with a dependency that is not met
                override(kconfig, [[Assignment(name, value, "SET")]])
                assert kconfig.syms[name].str_value == value
    assert "OPTIMIZER: adamw → adamwprune\n" in capsys.readouterr().out


def test_changes_at_the_same_time_are_all_kept(tree):
    make(tree, "defconfig")
    names = ("SEED", "BATCH_SIZE", "NUM_EPOCHS", "LOG_INTERVAL")
    environment = {key: value for key, value in os.environ.items() if key != "KCONFIG_CONFIG"}
    running = [
        subprocess.Popen(
            [sys.executable, "-m", "scripts.config.change", "setconfig"],
            cwd=tree,
            env=environment | {"SET": f"{name}=7"},
            stdout=subprocess.DEVNULL,
        )
        for name in names
    ]
    assert [process.wait(60) for process in running] == [0] * len(names)
    assert [config(tree)[name] for name in names] == [7] * len(names)


def test_a_bad_config_file_is_explained_line_by_line_and_stays(tree):
    make(tree, "defconfig")
    lines = [
        "what is this",
        "CONFIG_GONE=y",
        "CONFIG_PLOTS=2",
        'CONFIG_MOMENTUM="0.5"',
        "CONFIG_BATCH_SIZE=1",
        "CONFIG_BATCH_SIZE=2",
        'CONFIG_DESCRIPTION="a\0b"',
        "CONFIG_SEED=-1",
    ]
    complaints = [
        ".config:1: malformed line `what is this`",
        ".config:2: GONE=y: no such symbol",
        ".config:3: PLOTS=2: wrong type",
        ".config:4: MOMENTUM=0.5: unmet dependency",
        ".config:6: BATCH_SIZE=2: contradicts BATCH_SIZE=1 (.config:5)",
        r".config:7: DESCRIPTION='a\x00b': NUL",
        ".config:8: SEED=-1: out of range",
        "`make olddefconfig` drops symbols that are gone",
    ]
    (tree / ".config").write_text("\n".join(lines) + "\n")
    os.utime(tree / ".config", (time.time() + 5,) * 2)
    before = snapshot(tree)
    for target in ("config.py", "showconfig", "savedefconfig", "setconfig"):
        done = make(tree, target, SET="SEED=1")
        assert done.returncode == 2
        for complaint in complaints:
            assert complaint in done.stderr
        assert snapshot(tree) == before


def test_oldconfig_targets_drop_what_is_gone(tree):
    make(tree, "defconfig")
    for target in ("olddefconfig", "oldconfig"):
        with (tree / ".config").open("a") as file:
            file.write('CONFIG_GONE=y\nCONFIG_MOMENTUM="0.5"\n')
        done = make(tree, target)
        assert done.returncode == 0
        assert "GONE=y: no such symbol" in done.stderr
        assert "MOMENTUM=0.5 has no effect" in done.stderr
        assert "GONE" not in (tree / ".config").read_text()


def test_oldconfig_asks_for_new_symbols_alone(tree):
    make(tree, "defconfig", "SET=BATCH_SIZE=8")
    path = tree / ".config"
    kept = [
        line for line in path.read_text().splitlines() if "SEED" not in line and "OPTIM" not in line
    ]
    path.write_text("\n".join(kept) + "\n")
    new = make(tree, "listnewconfig").stdout.splitlines()
    assert new == ["CONFIG_SEED=0", "CONFIG_OPTIMIZER=adamw"]

    before = snapshot(tree)
    ended = make(tree, "oldconfig", text="7\n")
    assert ended.returncode == 2  # of make; the program ends with 1
    assert "input ended" in ended.stderr
    assert snapshot(tree) == before

    # A wrong answer is asked again; sgd brings up symbols of its own.
    done = make(tree, "oldconfig", text="-1\n?\n7\nsgd\n\n\n")
    assert done.returncode == 0, done.stderr
    assert "out of range" in done.stdout
    assert "Initial weights, order of the data and augmentation" in done.stdout
    values = config(tree)
    assert (values["SEED"], values["OPTIMIZER"], values["BATCH_SIZE"]) == (7, "sgd", 8)
    assert make(tree, "listnewconfig").stdout == ""
    assert "oldconfig" in make(tree, "showconfig").stdout


def test_diffconfig_shows_only_what_differs(tree):
    make(tree, "defconfig")
    run = tree / "outputs/training/first"
    run.mkdir(parents=True)
    (run / ".config").write_text((tree / ".config").read_text())
    make(tree, "defconfig", "SET=SEED=3 OPTIMIZER=sgd")
    expected = ["SEED", "LEARNING_RATE", "OPTIMIZER", "WEIGHT_DECAY"]
    for words in ([], ["A=first"], ["A=outputs/training/first", "B=.config"]):
        rows = [line.split() for line in make(tree, "diffconfig", *words).stdout.splitlines()]
        assert [row[0] for row in rows[1:5]] == expected
        assert ["SEED", "0", "3"] in rows
        assert ["MOMENTUM", "–", "0.9"] in rows
    assert "do not differ" in make(tree, "diffconfig", "A=.config").stdout
    unknown = make(tree, "diffconfig", "A=second")
    assert unknown.returncode == 2
    assert "`second` is not a .config file" in unknown.stderr


def test_helpconfig(tree):
    text = make(tree, "helpconfig", "SYM=MOMENTUM").stdout
    for part in (
        "real number",
        "[0, 1)",
        "0.9",
        "OPTIMIZER_SGD",
        "lib/optim/Kconfig:",
        "--momentum",
    ):
        assert part in text
    text = make(tree, "helpconfig", "SYM=CONFIG_OPTIMIZER").stdout
    assert "sgd adam adamw" in text
    assert "Loshchilov" in text
    wrong = make(tree, "helpconfig", "SYM=MOMENTUN")
    assert wrong.returncode == 2
    assert "did you mean MOMENTUM" in wrong.stderr
    assert "SYM=" in make(tree, "helpconfig").stderr
    (tree / ".config").write_text("CONFIG_SEED=x\n")
    assert "[0, 4294967295]" in make(tree, "helpconfig", "SYM=SEED").stdout


def test_list_defconfigs_has_a_line_about_each(tree):
    lines = make(tree, "list-defconfigs").stdout.splitlines()
    names = sorted(path.name for path in (tree / "defconfigs").iterdir())
    assert [line.split()[0] for line in lines] == names
    assert all(len(line.split()) > 4 for line in lines)


@pytest.mark.parametrize("target", ["showconfig", "savedefconfig", "olddefconfig", "listnewconfig"])
def test_an_unconfigured_tree_says_what_to_do(tree, target):
    done = make(tree, target)
    assert done.returncode == 2
    assert "make defconfig" in done.stderr
    assert not snapshot(tree)


def test_clean_and_mrproper_keep_runs_and_data(tree):
    make(tree, "defconfig")
    make(tree, "defconfig", "SET=SEED=1")
    make(tree, "savedefconfig")
    kept = [tree / "outputs/training/run/config.py", tree / "data/x", tree / ".venv/__pycache__/x"]
    for path in kept:
        path.parent.mkdir(parents=True)
        path.write_text("")
    assert make(tree, "clean").returncode == 0
    assert not (tree / "config.py").exists()
    assert not list((tree / "lib").rglob("__pycache__"))
    assert (tree / ".config").exists()
    assert make(tree, "mrproper").returncode == 0
    assert not [path.name for path in tree.glob(".config*")]
    assert not (tree / "defconfig").exists()
    assert all(path.exists() for path in kept)


def test_an_unwritable_place_is_said_with_nothing_lost(tree):
    done = make(tree, "defconfig", "KCONFIG_CONFIG=/proc/config")
    assert done.returncode == 2
    assert "cannot write the configuration to /proc/config" in done.stderr
    assert not snapshot(tree)


def test_editors_that_can_not_start_say_why(tree):
    make(tree, "defconfig")
    for target, complaint in (("menuconfig", "needs a terminal"), ("guiconfig", "make menuconfig")):
        done = make(tree, target)
        assert done.returncode == 2
        assert complaint in done.stderr
        assert "Traceback" not in done.stderr


def test_a_python_without_kconfiglib_is_told_what_to_install(tree):
    done = subprocess.run(
        [sys.executable, "-S", "-m", "scripts.config.change", "defconfig"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "pip install -r requirements.txt" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_lists_the_targets(tree):
    text = make(tree, "help").stdout
    for target in ("defconfig", "defconfig-<name>", "menuconfig", "showconfig", "mrproper"):
        assert re.search(rf"^  {target} +\S", text, re.MULTILINE)


@pytest.mark.slow
def test_menuconfig_edits_and_saves(tree):
    make(tree, "defconfig", "SET=DESCRIPTION='two\nlines'")
    before = snapshot(tree)
    with Terminal(tree, "menuconfig") as terminal:
        assert "(NEW)" not in terminal.expect("Quit")
        terminal.send("q")
        terminal.expect("No changes to save")
    assert snapshot(tree) == before
    with Terminal(tree, "menuconfig") as terminal:
        terminal.expect("Quit")
        terminal.send("/").expect("Jump to")
        terminal.send("^learning_rate$").expect("LEARNING_RATE")
        terminal.send("\n").settle()
        terminal.send("\n").expect("Real number in (0, inf)")
        terminal.send("\x7f" * 8 + "abc\n").expect("wrong type, want a real number in (0, inf)")
        terminal.send(" ").settle()  # back to the same dialog
        terminal.send("\x7f" * 8 + "5e-3\n").settle()
        terminal.send("q").expect("Save configuration")
        terminal.send("y").expect("Saved .config")
    assert config(tree)["LEARNING_RATE"] == 0.005
    assert config(tree)["DESCRIPTION"] == "two\nlines"
    assert (tree / ".config.old").exists()
    shown = make(tree, "showconfig").stdout
    assert re.search(r"LEARNING_RATE +0.005 +menuconfig", shown)
    assert re.search(r"DESCRIPTION +'two\\nlines' +SET", shown)


@pytest.mark.slow
def test_menuconfig_opens_a_bad_config_with_its_problems(tree):
    """Where else would one mend it. What is saved is sound."""
    make(tree, "defconfig", "SET=SEED=3")
    path = tree / ".config"
    path.write_text(path.read_text() + "CONFIG_GONE=y\nCONFIG_BATCH_SIZE=many\n")
    with Terminal(tree, "menuconfig") as terminal:
        terminal.expect("Problems in .config")
        terminal.expect("BATCH_SIZE=many: wrong type, want an integer in [1, 1048576]")
        terminal.send(" ").settle()
        terminal.send("q").expect("Save configuration")
        terminal.send("y").expect("Saved .config")
    assert (config(tree)["SEED"], config(tree)["BATCH_SIZE"]) == (3, 64)
    assert "GONE" not in path.read_text()


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, tree: Path, target: str):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(tree)
            environment = os.environ | {"TERM": "xterm", "LINES": "50", "COLUMNS": "120"}
            environment.pop("KCONFIG_CONFIG", None)
            words = ["make", "VENV=system", f"PYTHON3={sys.executable}", target]
            os.execvpe("make", words, environment)
        self.output = ""

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)
        os.close(self.fd)

    def send(self, keys: str) -> "Terminal":
        self.output = ""
        os.write(self.fd, keys.encode())
        return self

    def settle(self) -> None:
        """Wait until nothing has come for a while."""
        while select.select([self.fd], [], [], 0.5)[0]:
            os.read(self.fd, 65536)

    def expect(self, text: str) -> str:
        """Wait until `text` shows up in what came since the last `send`."""
        deadline = time.monotonic() + 20
        while text not in self.output:
            assert time.monotonic() < deadline, (text, self.output)
            if select.select([self.fd], [], [], 0.2)[0]:
                try:
                    self.output += os.read(self.fd, 65536).decode(errors="replace")
                except OSError as error:
                    raise AssertionError((text, self.output)) from error
        return self.output
