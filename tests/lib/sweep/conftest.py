# SPDX-License-Identifier: MIT
"""What several tests of sweeps share."""

from collections.abc import Iterator

import pytest

from benchmarks.sweep_tree import make_tree
from lib.config.tree import Tree
from lib.sweep import symbols, variables
from tests.lib.sweep.forks import Forks
from tests.postgres import postgres  # noqa: F401, a fixture


@pytest.fixture(scope="module")
def one_tree() -> Iterator[None]:
    """Parsing the Kconfig files takes 0.2 s: one tree for all, of which only one is in use."""
    tree = Tree()

    def again() -> Tree:
        tree.unset_values()
        return tree

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(symbols, "Tree", again)
        patch.setattr(variables, "Tree", again)
        yield


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """A copy of the project with a model that trains in an instant."""
    return make_tree(tmp_path_factory.mktemp("sweeps") / "tree")


@pytest.fixture(scope="session")
def forks(tree):
    """Starts sweeps in the tree without the seconds that imports take."""
    with Forks(tree) as started:
        yield started
