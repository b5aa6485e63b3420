# SPDX-License-Identifier: MIT
"""Descriptions: files and JSON, what is refused and where, and any YAML at all."""

import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lib.errors import BadUse
from lib.sweep.cells import Space
from lib.sweep.description import Sweep
from lib.sweep.distributions import Range, Values
from lib.sweep.parts import METHODS, PRUNERS, Constraint, Metric, Pruner
from lib.sweep.reading import read_sweep, sweep_files

FULL = """\
description: Everything at once
defconfig: lenet5-digits
set: {NUM_EPOCHS: 010, PLOTS: no}
arms:
  dense: {PRUNING_METHOD: none}
  v-1/8: {PRUNING_METHOD: magnitude}
axes:
  LEARNING_RATE: {min: 1e-4, max: 0.1, log: true}
  BATCH_SIZE: {min: 16, max: 64, step: 16}
  OPTIMIZER: {values: [sgd, adamw]}
seeds: 7
metric: {name: val/loss}
method: tpe
trials: 40
hours: 1.5
pruner: {name: median, warmup_steps: 100}
constraints: ["sparsity >= 0.5", final/training_time_s<=60]
retries: 2
"""


@pytest.fixture
def file(tmp_path):
    """Writes a description; returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "one.yaml"
        path.write_text(text)
        return path

    return write


def test_every_part_of_a_file(file):
    sweep = read_sweep(file(FULL))
    assert (sweep.name, sweep.description) == ("one", "Everything at once")
    assert sweep.defconfig_text == ""  # that of lenet5-digits is empty but for a comment
    assert sweep.fixed == {"NUM_EPOCHS": "010", "PLOTS": "n"}
    assert list(sweep.arms) == ["dense", "v-1/8"]
    assert sweep.axes == {
        "LEARNING_RATE": Range(1e-4, 0.1, log=True),
        "BATCH_SIZE": Range(16, 64, step=16),
        "OPTIMIZER": Values(("sgd", "adamw")),
    }
    assert (sweep.seeds, sweep.metrics) == ((7,), (Metric("val/loss", "minimize", "last"),))
    assert (sweep.method, sweep.trials, sweep.hours, sweep.retries) == ("tpe", 40, 1.5, 2)
    assert sweep.pruner == Pruner("median", {"warmup_steps": 100})
    assert sweep.constraints == (
        Constraint("sparsity", ">=", 0.5),
        Constraint("final/training_time_s", "<=", 60.0),
    )
    assert [c.violation(x) > 0 for c in sweep.constraints for x in (0.4, 61)] == [
        True, False, False, True,
    ]  # fmt: skip


def test_the_digest_is_that_of_the_content(file):
    sweep = read_sweep(file(FULL))
    plain = yaml.safe_load(FULL)
    plain = dict(reversed(plain.items())) | {"description": "in other words"}
    plain["axes"] = dict(reversed(plain["axes"].items()))
    plain["set"]["NUM_EPOCHS"] = "010"
    again = read_sweep(file(yaml.safe_dump(plain, sort_keys=False)))
    assert again.digest == sweep.digest
    assert again != sweep
    other = read_sweep(file(FULL.replace("max: 0.1", "max: 0.2")))
    assert other.digest != sweep.digest


def test_every_ready_sweep_has_cells_that_kconfig_takes():
    assert len(sweep_files()) >= 4
    for path in sweep_files():
        sweep = read_sweep(path.name.removesuffix(".yaml"))
        assert sweep.description
        assert bool(Space(sweep).cells()) == sweep.enumerated


BASE = {"defconfig": "lenet5-digits", "metric": {"name": "val/loss"}}
REFUSED = [
    ({"metrik": {}}, "one.yaml:4: there is no `metrik`; did you mean metric"),
    ({"metric": None}, "metric is missing"),
    ({"metric": ""}, "metric: must be a mapping"),
    ({"metric": {"name": "lr"}}, "one.yaml:2: metric: lr: say which is better: goal: minimize"),
    ({"metric": {"name": "val/loss", "at": "first"}}, "must be of last, best"),
    ({"metric": [{"name": "val/loss"}, {"name": "val/loss"}]}, "two different ones"),
    ({"defconfig": "lenet5-digit"}, "one.yaml:1: no defconfig `lenet5-digit`: did you mean"),
    ({"defconfig": None}, "defconfig is missing"),
    ({"method": "tree"}, f"must be of {', '.join(METHODS)}"),
    ({"method": "random"}, "random needs trials"),
    ({"method": "tpe", "axes": {"SEED": [1]}}, "tpe needs trials or hours"),
    ({"method": "tpe", "trials": 3}, "tpe needs axes"),
    ({"method": "nsga2", "trials": 3, "axes": {"A": [1]}}, "nsga2 needs a list of two metrics"),
    ({"method": "gp", "trials": 3, "axes": {"A": [1]}, "seeds": [1, 2]}, "gp has one seed"),
    ({"trials": 3}, "a grid trains all its cells: leave trials out"),
    ({"axes": {"A": {"min": 1, "max": 2}}}, "one.yaml:5: A: a grid has lists of values"),
    ({"axes": {"A": {"min": 2, "max": 1}}}, "axes.A: min 2 must be less than max 1"),
    ({"axes": {"A": {"min": 0, "max": 1, "log": True}}}, "must be more than 0 with log"),
    ({"axes": {"A": {"min": 0, "max": 1, "step": 0.3}}}, "a whole number of steps"),
    ({"axes": {"A": {"min": 0, "maks": 1}}}, "`maks`: must be of min, max"),
    ({"axes": {"A": {"min": "x", "max": 1}}}, "min must be a number, not `x`"),
    ({"axes": {"A": []}}, "axes.A: the list is empty"),
    ({"axes": {"A": [1, [2]]}}, "each value must be a word or a number"),
    ({"axes": {"A": [1, 1]}}, "1 is there twice"),
    ({"axes": {"A": [1]}, "set": {"A": 2}}, "A is in set, too"),
    ({"axes": {"A": [1]}, "arms": {"x": {"A": 2}}}, "A is set by the arm x, too"),
    ({"arms": {"with space": {}}}, "a name of an arm has"),
    ({"set": {"A": [1]}}, "set.A: must be one word or number"),
    ({"seeds": [1, 1]}, "a seed is there twice"),
    ({"seeds": [1.5]}, "must be a whole number"),
    ({"hours": 0}, "must be more than 0"),
    ({"retries": -1}, "must be a whole number from 0"),
    ({"pruner": {"name": "medain"}}, "did you mean median?"),
    ({"pruner": {"name": "median", "patience": 1}}, f"only name, {', '.join(PRUNERS['median'])}"),
    ({"pruner": {"name": "hyperband", "reduction_factor": 1}}, "a whole number, 2 or more"),
    ({"constraints": ["sparsity = 0.9"]}, "must be of <=, >="),
    ({"constraints": ["sparsity above 0.9"]}, "write it as sparsity >= 0.9"),
]


@pytest.mark.parametrize(("parts", "said"), REFUSED, ids=lambda of: str(of)[:50])
def test_what_is_refused_says_where_and_what_is_allowed(file, parts, said):
    plain = {name: value for name, value in (BASE | parts).items() if value is not None}
    with pytest.raises(BadUse) as refused:
        read_sweep(file(yaml.safe_dump(plain, sort_keys=False, default_flow_style=False)))
    assert said in str(refused.value)


def test_all_problems_are_said_at_once(file):
    with pytest.raises(BadUse) as refused:
        read_sweep(file("defconfig: lenet5-digits\nseeds: x\nretries: y\nmethod: z\n"))
    assert [line.partition(": ")[0][-6:] for line in str(refused.value).split("\n")] == [
        "yaml:2", "yaml:3", "yaml:4", "e.yaml",
    ]  # fmt: skip


def test_damaged_files(file, tmp_path):
    for text, said in (
        ("", "defconfig is missing"),
        ("- 1\n", "not a mapping"),
        ("a: 1\na: 2\n", "one.yaml:2: a is there twice"),
        ("[1]: 2\n", "one.yaml:1: a name is missing"),
        ("a: {b: 1\n", "one.yaml"),
        ("a: &x 1\nb: *x\n", "has aliases"),
        ("[" * 60 + "]" * 60, "nested more than"),
        ("a: \0", "one.yaml"),
    ):
        with pytest.raises(BadUse, match=said):
            read_sweep(file(text))
    (tmp_path / "one.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(BadUse, match=r"one\.yaml"):
        read_sweep(tmp_path / "one.yaml")


def test_a_name_that_there_is_not():
    with pytest.raises(BadUse, match=r"no such sweep in sweeps/; did you mean digits-grid"):
        read_sweep("digits-gird")
    with pytest.raises(BadUse, match="which sweep"):
        read_sweep("")
    with pytest.raises(BadUse, match="there is no such file"):
        read_sweep("no/such.yaml")
    for odd in ("x" * 5000, "a\0b", "../lib"):
        with pytest.raises(BadUse):
            read_sweep(odd)


def test_stored_descriptions_that_are_damaged(file):
    text = read_sweep(file(FULL)).to_json()
    for damaged in ("", "{", "[]", "3", '{"name": "a"}', text.replace('"tpe"', '"tree"')):
        with pytest.raises(BadUse):
            Sweep.from_json(damaged)


# ------------------------------------------------------------------ any YAML

NAMES = (
    "LEARNING_RATE BATCH_SIZE OPTIMIZER TARGET_SPARSITY PRUNING_METHOD NESTEROV SEED sgd adamw "
    "none magnitude name val/loss lr goal minimize min max log step values median y arm"
)
WORDS = st.sampled_from(re.findall(r"\S+", NAMES))
SCALARS = (
    WORDS
    | st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
)
PLAIN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(WORDS | st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
AXES = st.dictionaries(
    WORDS,
    st.lists(SCALARS, max_size=3)
    | st.fixed_dictionaries({"min": SCALARS, "max": SCALARS}, optional={"log": SCALARS}),
    max_size=2,
)
NEARLY = st.fixed_dictionaries(
    {"defconfig": st.just("lenet5-digits"), "metric": st.just({"name": "val/loss"}) | PLAIN},
    optional={
        "set": st.dictionaries(WORDS, SCALARS, max_size=2) | PLAIN,
        "arms": st.dictionaries(WORDS, st.dictionaries(WORDS, SCALARS, max_size=2), max_size=2),
        "axes": AXES | PLAIN,
        "seeds": st.lists(st.integers(0, 5), max_size=3) | PLAIN,
        "method": st.sampled_from(METHODS),
        "trials": st.integers(1, 5) | SCALARS,
        "pruner": PLAIN,
        "constraints": PLAIN,
        "retries": SCALARS,
    },
)


def read(path: Path, data: bytes) -> Sweep | None:
    path.write_bytes(data)
    try:
        return read_sweep(path)
    except BadUse as error:
        assert str(error).strip()
        return None


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("any") / "any.yaml"


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
@example(b"? [")
@example(b"!!python/object/apply:os.system [true]: 1")
@settings(max_examples=100)
def test_any_bytes_give_a_sweep_or_a_reason(path, data):
    read(path, data)


@pytest.mark.usefixtures("one_tree")
@given(NEARLY | PLAIN)
@settings(max_examples=100)
def test_any_yaml_gives_cells_or_a_reason(path, plain):
    """And a sweep is the same after JSON, with the same digest and the same cells."""
    sweep = read(path, yaml.safe_dump(plain, allow_unicode=True).encode("utf-8", "surrogatepass"))
    if sweep is None:
        return
    again = Sweep.from_json(sweep.to_json())
    assert again == sweep
    assert again.digest == sweep.digest
    json.dumps(sweep.plain())
    try:
        cells = Space(sweep).cells()
    except BadUse as error:
        assert str(error).strip()
        return
    assert [cell.key for cell in Space(again).cells()] == [cell.key for cell in cells]
