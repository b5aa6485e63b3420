# SPDX-License-Identifier: MIT
"""Cells: what Kconfig makes of a description, and that a cell is what its run says it is."""

import random
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.config import store
from lib.config.settings import Settings, load_settings
from lib.config.tree import Tree
from lib.errors import BadUse
from lib.runs.run import info_from_settings
from lib.sweep.cells import Space
from lib.sweep.description import Sweep, sweep_of

pytestmark = pytest.mark.usefixtures("one_tree")


def sweep(name="one", defconfig="", **parts):
    return sweep_of({"metric": {"name": "val/loss"}} | parts, name, defconfig)


def refused(**parts) -> str:
    with pytest.raises(BadUse) as error:
        Space(sweep(**parts)).cells()
    return str(error.value)


PRUNING = {
    "arms": {"dense": {"PRUNING_METHOD": "none"}, "mag": {"PRUNING_METHOD": "magnitude"}},
    "axes": {"TARGET_SPARSITY": ["0.50", "0.9"], "BATCH_SIZE": ["32", "64"]},
    "seeds": [1, 2],
}


def test_what_does_not_apply_is_left_out_and_said():
    space = Space(sweep(**PRUNING))
    cells = space.cells()
    assert [(c.label, c.seed) for c in cells[:4]] == [
        ("dense, BATCH_SIZE=32", 1),
        ("dense, BATCH_SIZE=32", 2),
        ("dense, BATCH_SIZE=64", 1),
        ("dense, BATCH_SIZE=64", 2),
    ]
    assert len(cells) == len({cell.key for cell in cells}) == (2 + 4) * 2
    assert cells[0].params == {"arm": "dense", "BATCH_SIZE": 32}
    assert cells[0].settings == {"PRUNING_METHOD": "none", "BATCH_SIZE": "32"}
    assert cells[4].params == {"arm": "mag", "TARGET_SPARSITY": 0.5, "BATCH_SIZE": 32}
    assert space.remarks == [
        "TARGET_SPARSITY does not apply where it needs !PRUNING_METHOD_NONE: left out of dense, "
        "BATCH_SIZE=32; dense, BATCH_SIZE=64",
        "8 combinations, of which 6 differ",
    ]


def test_what_is_set_is_left_out_where_it_does_not_apply():
    space = Space(sweep(set={"TARGET_SPARSITY": 0.9}, arms=PRUNING["arms"]))
    assert [cell.settings.get("TARGET_SPARSITY") for cell in space.cells()] == [None, "0.9"]


def test_arms_that_are_the_same_are_one_cell():
    arms = {"a": {"OPTIMIZER": "adamw"}, "b": {}, "c": {"OPTIMIZER": "sgd"}}
    space = Space(sweep(arms=arms))
    assert [cell.label for cell in space.cells()] == ["a", "c"]
    assert space.remarks == ["b is the same as a: trained once"]


def test_a_cell_has_the_hash_of_its_run(tmp_path):
    """Through the file, as the training program reads it, and as a run records it."""
    cells = Space(sweep(defconfig="CONFIG_OPTIMIZER_SGD=y\n", **PRUNING)).cells()
    path, tree = tmp_path / "cell.config", Tree()
    for cell in cells:
        path.write_text(cell.config_text)
        tree.unset_values()
        store.load(tree, path)
        assert Settings(tree).science_hash == cell.key
        assert tree.config_text() == cell.config_text
    flags = ["--config", str(path), "--tracker-group", "one", "--output-dir", "elsewhere"]
    trained = load_settings("lenet5", flags)
    assert info_from_settings(trained)["science_hash"] == cells[-1].key
    assert trained.SEED == cells[-1].seed == 2


def test_defaults_follow_what_is_set_on_a_full_config():
    tree = Tree()
    text = tree.config_text()  # says LEARNING_RATE, which is a default of the optimizer
    space = Space(sweep(defconfig=text, axes={"OPTIMIZER": ["sgd", "adamw"]}))
    for cell in space.cells():
        rate = {"sgd": "0.05", "adamw": "0.002"}[cell.params["OPTIMIZER"]]
        assert f'CONFIG_LEARNING_RATE="{rate}"\n' in cell.config_text
    assert space.seeds == (0,)


def test_the_model_can_be_an_axis():
    cells = Space(sweep(axes={"MODEL": ["gpt2", "lenet5"]})).cells()
    assert ["CONFIG_MODEL_GPT2=y" in cell.config_text for cell in cells] == [True, False]


REFUSED = [
    ({"set": {"BATCHSIZE": 1}}, "BATCHSIZE=1: no such symbol; did you mean BATCH_SIZE"),
    ({"axes": {"OPTIMISER": ["a", "b"]}}, "no such symbol; did you mean OPTIMIZER"),
    ({"axes": {"OPTIMIZER": ["sgd", "adamx"]}}, "OPTIMIZER=adamx: is not one of sgd, adam,"),
    ({"axes": {"BATCH_SIZE": ["0", "8"]}}, "want an integer in [1, 1048576]"),
    ({"axes": {"BATCH_SIZE": ["8", "x"]}}, "wrong type, want an integer"),
    ({"axes": {"LEARNING_RATE": ["1", "1.0"]}}, "LEARNING_RATE: a value is there twice"),
    ({"axes": {"NESTEROV": ["y", "n"]}}, "has an effect in no cell, needs OPTIMIZER_SGD"),
    ({"set": {"NESTEROV": "y"}}, "has an effect in no cell, needs OPTIMIZER_SGD"),
    ({"arms": {"a": {"NESTEROV": "y"}}}, "NESTEROV=y: unmet dependency, needs OPTIMIZER_SGD"),
    ({"axes": {"LOG_INTERVAL": ["1", "2"]}}, "changes none of a run's numbers"),
    ({"axes": {"SEED": ["1", "2"]}}, "SEED=1: is not for a sweep to set: give seeds"),
    ({"set": {"OUTPUT_DIR": "x"}}, "OUTPUT_DIR=x: is not for a sweep to set"),
    ({"seeds": [99999999999]}, "SEED=99999999999: out of range"),
    ({"set": {"WARMUP_STEPS": 9, "MAX_STEPS": 8}}, "the training ends after MAX_STEPS=8"),
    ({"set": {"MLFLOW_TRACKING_URI": "https://me:hunter2hunter@host"}}, "holds a secret"),
    ({"defconfig": "CONFIG_BATCHSIZE=1\n"}, "BATCHSIZE=1: no such symbol"),
    ({"defconfig": "BATCH_SIZE: 1\n"}, "malformed line"),
    ({"axes": {name: list("123456789") for name in ("BATCH_SIZE", "MAX_STEPS", "NUM_EPOCHS")}
      | {"LEARNING_RATE": [str(i) for i in range(1, 200)]}}, "145,071 cells, more than 100,000"),
    ({"method": "random", "trials": 2, "axes": {"OPTIMIZER": {"min": 1, "max": 2}}},
     "OPTIMIZER=1: is not one of"),
    ({"method": "random", "trials": 2, "axes": {"BATCH_SIZE": {"min": 0, "max": 2}}},
     "min and max must be integers in [1, 1048576]"),
    ({"method": "random", "trials": 2, "axes": {"BATCH_SIZE": {"min": 1.5, "max": 2}}},
     "BATCH_SIZE=1.5: wrong type"),
    ({"method": "random", "trials": 2, "axes": {"LEARNING_RATE": {"min": 0, "max": 2}}},
     "LEARNING_RATE=0: out of range"),
    ({"method": "random", "trials": 2, "axes": {"DATA_FILES": {"min": 0, "max": 2}}},
     "is not a number; give a list of values"),
    ({"method": "tpe", "trials": 2, "axes": {"OPTIMIZER": ["sgd"], "ADAM_BETA1": ["0.5"]}},
     "ADAM_BETA1: has an effect in no cell"),
]  # fmt: skip


@pytest.mark.parametrize(("parts", "said"), REFUSED, ids=lambda of: str(of)[:50])
def test_what_kconfig_refuses_refuses_the_sweep(parts, said):
    assert said in refused(**parts)


def test_a_reason_is_said_once_with_its_cells():
    axes = {"OPTIMIZER": ["sgd", "adam"], "PRUNING_METHOD": ["none", "state"]}
    lines = refused(axes={**axes, "BATCH_SIZE": ["1", "2"]}).split("\n       ")
    assert lines[0].endswith(
        "in OPTIMIZER=sgd, PRUNING_METHOD=state, BATCH_SIZE=1; "
        "OPTIMIZER=sgd, PRUNING_METHOD=state, BATCH_SIZE=2"
    )
    assert "PRUNING_METHOD=state: unmet dependency, needs !OPTIMIZER_SGD" in lines[0]
    assert lines[1:] == ["not every combination can be: name those that are meant as arms"]


def test_drawn_at_random():
    axes = {"LEARNING_RATE": {"min": 1e-4, "max": 0.1, "log": True}, "OPTIMIZER": ["sgd", "adamw"]}
    one = sweep(method="random", trials=10, axes=axes, seeds=[1, 2])
    cells = Space(one).cells()
    assert len(cells) == 20
    assert [c.key for c in Space(one).cells()] == [c.key for c in cells]
    more = Space(replace(one, trials=15)).cells()
    assert [c.key for c in more[:20]] == [c.key for c in cells], "more trials begin with the same"
    other = Space(replace(one, name="other")).cells()
    assert not {c.key for c in other} & {c.key for c in cells}


def test_what_a_search_asks_for():
    import optuna.distributions as optuna

    axes = {"BATCH_SIZE": {"min": 1, "max": 9}, "TARGET_SPARSITY": ["0.5", "0.9"]}
    space = Space(sweep(method="tpe", trials=9, arms=PRUNING["arms"], axes=axes))
    assert space.cells() == []
    assert space.distributions() == {
        "arm": optuna.CategoricalDistribution(["dense", "mag"]),
        "BATCH_SIZE": optuna.IntDistribution(1, 9),
        "TARGET_SPARSITY": optuna.CategoricalDistribution([0.5, 0.9]),
    }
    cell = space.resolve({"arm": "dense", "BATCH_SIZE": 3, "TARGET_SPARSITY": 0.5}, seed=4)
    assert (cell.label, cell.seed) == ("dense, BATCH_SIZE=3", 4)
    assert space.resolve(cell.params, seed=4) == cell
    with pytest.raises(BadUse, match="out of range"):
        space.resolve({"arm": "dense", "BATCH_SIZE": 0}, seed=4)
    with pytest.raises(BadUse, match="the axes are arm, BATCH_SIZE, TARGET_SPARSITY"):
        space.resolve({"BATCHSIZE": 0}, seed=4)


def test_the_label_of_what_a_search_suggests_is_short():
    axes = {"LEARNING_RATE": {"min": 0.001, "max": 0.1}}
    space = Space(sweep(method="tpe", trials=9, axes=axes))
    cell = space.resolve({"LEARNING_RATE": 0.016119438763730575}, seed=0)
    assert cell.label == "LEARNING_RATE=0.0161194"
    assert cell.settings == {"LEARNING_RATE": "0.016119438763730575"}


def test_a_retry_is_the_same_cell_with_other_settings():
    space = Space(sweep(**PRUNING))
    cell = space.cells()[-1]
    again = space.retry(cell, {"BATCH_SIZE": "16"})
    assert (again.key, again.seed, again.params) == (cell.key, cell.seed, cell.params)
    assert again.settings == {**cell.settings, "BATCH_SIZE": "16"}
    assert again.config_text == cell.config_text.replace("BATCH_SIZE=64", "BATCH_SIZE=16")
    assert space.retry(cell, {}) is cell
    with pytest.raises(BadUse, match="out of range"):
        space.retry(cell, {"BATCH_SIZE": "0"})
    assert space.cells()[-1] == cell


@pytest.mark.slow
def test_a_thousand_cells_take_three_seconds():
    rates = [str(i / 10_000) for i in range(1, 335)]
    space = Space(sweep(axes={"OPTIMIZER": ["sgd", "adam", "adamw"], "LEARNING_RATE": rates}))
    before = time.process_time()
    assert len(space.cells()) == 1002
    assert time.process_time() - before < 3


OTHER = Tree()


@given(st.text(max_size=30))
@settings(max_examples=30)
def test_any_text_reaches_the_training_as_it_is(tmp_path_factory, text):
    one = sweep(set={"DESCRIPTION": text, "DATA_DIR": text}, seeds=[5, 6])
    assert Sweep.from_json(one.to_json()) == one
    try:
        cells = Space(one).cells()
    except BadUse:  # NUL, or a directory that the data must not be in
        return
    path = tmp_path_factory.getbasetemp() / "text.config"
    for cell in cells:
        path.write_bytes(cell.config_text.encode())
        OTHER.unset_values()
        store.load(OTHER, path)
        read = Settings(OTHER)
        found = (read.DESCRIPTION, read.SEED, read.science_hash)
        assert found == (text, cell.seed, cell.key)


KEYS = {}


@given(st.randoms())
@settings(max_examples=10)
def test_keys_do_not_depend_on_any_order(generator: random.Random):
    def shuffled(of):
        items = list(of.items()) if isinstance(of, dict) else list(of)
        generator.shuffle(items)
        return dict(items) if isinstance(of, dict) else items

    parts = shuffled(
        {
            "set": shuffled({"NUM_EPOCHS": 3, "WEIGHT_DECAY": 0.1, "PLOTS": "n"}),
            "arms": shuffled(PRUNING["arms"]),
            "axes": shuffled({name: shuffled(of) for name, of in PRUNING["axes"].items()}),
            "seeds": shuffled([3, 4]),
        }
    )
    cells = Space(sweep(**parts)).cells()
    found = {(frozenset(cell.params.items()), cell.seed): cell.key for cell in cells}
    assert found == KEYS.setdefault("in the first order", found)
