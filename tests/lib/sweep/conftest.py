# SPDX-License-Identifier: MIT
"""What several tests of sweeps share."""

from collections.abc import Iterator

import pytest

from lib.config.tree import Tree
from lib.sweep import symbols, variables


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
