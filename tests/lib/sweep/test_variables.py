# SPDX-License-Identifier: MIT
"""The variables of `make matrix` as a grid."""

import pytest

from lib.config.assign import apply
from lib.config.dotconfig import Assignment
from lib.config.tree import Tree
from lib.errors import BadUse
from lib.sweep.cells import Space
from lib.sweep.distributions import Values
from lib.sweep.parts import Metric
from lib.sweep.variables import sweep_of_variables

pytestmark = pytest.mark.usefixtures("one_tree")


@pytest.fixture(scope="module")
def base():
    """The full .config of a plain configuration."""
    return Tree().config_text()


@pytest.fixture(scope="module")
def matrix(base, one_tree):
    given = {
        "OPTIMIZER": "adamw adamwspam adamwprune",
        "TARGET_SPARSITY": "0.5 0.7 0.9",
        "SEED": "1 2 3",
        "NUM_EPOCHS": "5",
    }
    return sweep_of_variables(given, base=base)


def test_several_words_are_an_axis_and_one_is_a_setting(matrix):
    assert matrix.axes == {
        "OPTIMIZER": Values(("adamw", "adamwspam", "adamwprune")),
        "TARGET_SPARSITY": Values(("0.5", "0.7", "0.9")),
    }
    assert (matrix.fixed, matrix.seeds, matrix.method) == ({"NUM_EPOCHS": "5"}, (1, 2, 3), "grid")
    assert matrix.metrics == (Metric("val/loss", "minimize", "last"),)
    assert matrix.defconfig_text == "", "the minimal form of a .config with all defaults"


def test_from_a_plain_configuration_only_adamwprune_has_a_sparsity(matrix):
    space = Space(matrix)
    cells = space.cells()
    assert len(cells) == (1 + 1 + 3) * 3
    dense = {cell.label for cell in cells if "TARGET_SPARSITY" not in cell.params}
    assert dense == {"OPTIMIZER=adamw", "OPTIMIZER=adamwspam"}
    assert "left out of OPTIMIZER=adamw; OPTIMIZER=adamwspam" in space.remarks[0]


def test_the_name_is_that_of_the_axes_and_of_all_values(matrix, base):
    def name(**variables):
        return sweep_of_variables(variables, base=base).name

    assert matrix.name.startswith("optimizer-target-sparsity-")
    assert name(SEED="1 2").startswith("seeds-")
    assert name(SEED="1 2") == name(SEED="1 2") != name(SEED="1 3")
    assert name(SEED="1 2", NUM_EPOCHS="5") != name(SEED="1 2")
    many = {f"SYMBOL_OF_A_LONG_NAME_{i}": "1 2" for i in range(9)}
    assert len(name(**many)) <= 60
    assert sweep_of_variables({"SEED": "1 2"}, "mine", base=base).name == "mine"


def test_the_name_changes_with_the_configuration(base):
    tree = Tree()
    apply(tree, [[Assignment("OPTIMIZER", "sgd", "test")]])
    with_sgd = sweep_of_variables({"SEED": "1 2"}, base=tree.config_text())
    assert with_sgd.defconfig_text == "CONFIG_OPTIMIZER_SGD=y\n"
    assert with_sgd.name != sweep_of_variables({"SEED": "1 2"}, base=base).name


def test_the_metric_is_that_of_the_checkpoints_or_given(base):
    tree = Tree()
    apply(
        tree,
        [
            [
                Assignment("CHECKPOINT_METRIC", "val/accuracy", "test"),
                Assignment("CHECKPOINT_MODE", "max", "test"),
            ]
        ],
    )
    of_checkpoints = sweep_of_variables({"SEED": "1 2"}, base=tree.config_text())
    assert of_checkpoints.metric == Metric("val/accuracy", "maximize", "last")
    given = sweep_of_variables({"SEED": "1 2"}, base=base, metric="val/accuracy")
    assert given.metric == Metric("val/accuracy", "maximize", "last")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"BATCH_SIZE": "8"}, "a matrix needs several values"),
        ({}, "a matrix needs several values"),
        ({"SEED": "1 1"}, "a seed is there twice"),
        ({"SEED": "1 x"}, "must be a number, not `x`"),
        ({"BATCH_SIZE": "8 8"}, "make matrix: axes.BATCH_SIZE: 8 is there twice"),
        ({"BATCH_SIZE": "8 '9"}, "no closing quotation"),
        ({"BATCH_SIZE": "8 0"}, "make matrix: BATCH_SIZE=0: out of range"),
        ({"BATCH_SIZE": "8 9", "OPTIMIZER": ""}, "OPTIMIZER=: is not one of"),
    ],
)
def test_what_is_no_matrix(base, variables, said):
    with pytest.raises(BadUse) as error:
        Space(sweep_of_variables(variables, base=base)).cells()
    assert said in str(error.value)
