# SPDX-License-Identifier: MIT
"""Train every combination of several values of symbols: python -m scripts.sweep.matrix WORD …

    make matrix OPTIMIZER="adamw adamwprune" TARGET_SPARSITY="0.5 0.9" SEED="1 2 3" [NUM_EPOCHS=5]
                [NAME=name] [METRIC=val/accuracy] [SET=…] [FRAGMENTS=…] [TRACKER=…]
                [JOBS=n] [GPUS=0,1|all|none] [STORAGE=URL] [REUSE=y]

A grid without a file: each symbol of the configuration is a variable, several values are an axis,
one value is a setting. It starts from the present .config, with SET, FRAGMENTS and TRACKER as for
`make`, and is kept with it: what happens to .config later does not matter. The same command with
the same .config goes on with what is missing, and so does `make sweep SWEEP=name` with any. NAME is
by default made from the axes and a digest of all settings. METRIC is what is compared, by its last
value; the default is CHECKPOINT_METRIC.

A WORD is SYMBOL="value …", or SYMBOL alone for a value that is in the environment, where make puts
it; NAME and METRIC are given in the same way.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import os

from lib.config import store
from lib.config.tree import Tree
from lib.errors import BadUse
from lib.sweep.cells import Space
from lib.sweep.reading import sweep_files
from lib.sweep.variables import sweep_of_variables
from scripts.config.change import load_or_make, override, overrides
from scripts.sweep.common import training_parser


def present() -> str:
    """The present .config with what SET, FRAGMENTS and TRACKER change, as text."""
    tree = Tree()
    layers = overrides()
    with store.locked():
        load_or_make(tree)
    if layers:
        override(tree, layers, "Changed for this matrix:")
    return tree.config_text()


def given_words(words: list[str]) -> dict[str, str]:
    """{name: value} of NAME=VALUE, and of names whose value is in the environment."""
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals and name not in os.environ:
            raise BadUse(f'{name}: give it values: {name}="… …"')
        found[name] = value if equals else os.environ[name]
    return found


def main() -> int:
    flags = training_parser(__doc__)
    flags.add_argument("words", metavar="WORD", nargs="*", help='SYMBOL="value …", or SYMBOL')
    options = flags.parse_args()
    if not options.words:
        raise BadUse(
            'make matrix needs values to combine: make matrix LEARNING_RATE="0.001 0.002" '
            'SEED="1 2 3"; `make sweep-show SWEEP=name` shows what a file describes'
        )
    variables = given_words(options.words)
    name, metric = variables.pop("NAME", ""), variables.pop("METRIC", "")
    if name in {path.stem for path in sweep_files()}:
        raise BadUse(f"NAME={name}: sweeps/{name}.yaml has this name: choose another one")
    sweep = sweep_of_variables(variables, name, base=present(), metric=metric)
    space = Space(sweep)
    print(f"sweep {sweep.name}: {len(space.cells())} cells")
    for remark in space.remarks:
        print(f"note: {remark}")
    from scripts.sweep.run import start  # Optuna takes a second

    return start(sweep, options)


if __name__ == "__main__":
    run_main(main)
