# SPDX-License-Identifier: MIT
"""Where the time and the memory of a training go: python -m scripts.train.profile

    make profile [STEPS=5] [SET="BATCH_SIZE=8"]      what .config would train
    make profile RUN=name                            what a run trained, from its beginning

Makes the first steps of the real training, one process of it, and prints the time of its operators,
by itself and by category, and the memory that it takes. After three steps STEPS are timed, as many
more are made under torch.profiler, and one in which autograd's tensors are counted. The tables
(profile.txt), the same as JSON and a trace for https://ui.perfetto.dev or chrome://tracing are kept
in OUTPUT_DIR/.profile/NAME. No run is left behind, and nothing is logged to a tracker.

Several ranks would share the batch of a step: here one process computes all of it, in as many
micro-steps as its memory needs. SET="BATCH_SIZE=…" profiles a rank's share.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import importlib
import json
import os
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lib.config.assign import apply
from lib.config.dotconfig import Assignment
from lib.config.resume import load_run
from lib.config.settings import Settings
from lib.config.trackers import tracker_assignments
from lib.config.tree import Tree
from lib.errors import BadUse, Failure
from lib.files import write_atomic
from scripts.common import chosen_run, run_parser
from scripts.config.change import overrides, print_notes
from scripts.train.launch import configure

if TYPE_CHECKING:
    from lib.train.profile import Row, StepProfiler

SHOWN = 15  # operators
# What a profile must not do, and what would come between its steps.
QUIET = {
    "CHECKPOINT_INTERVAL": "1000000000",
    "EVAL_INTERVAL": "1000000000",
    "HISTOGRAM_INTERVAL": "0",
    "MAX_TIME": "0",
}


def options() -> argparse.Namespace:
    """The flags; each can be given in the environment, too."""
    parser = run_parser(__doc__)
    parser.add_argument(
        "--steps", metavar="STEPS", default=os.environ.get("STEPS") or "5", help="default: 5"
    )
    given = parser.parse_args()
    if not re.fullmatch("[0-9]{1,4}", given.steps) or int(given.steps) < 1:
        raise BadUse(f"STEPS={given.steps}: how many steps to profile, from 1 to 9999")
    return given


def configured(given: argparse.Namespace) -> Tree:
    """What to train: the configuration of RUN, else the present one; with SET."""
    tree = Tree()
    if given.run:
        print_notes([*load_run(tree, chosen_run(given)), *apply(tree, overrides())])
    else:
        configure(tree)
    return tree


def made_quiet(tree: Tree, folder: str) -> Settings:
    """The settings of the training, which writes into `folder` alone."""
    quiet = [Assignment(*item, "make profile") for item in {**QUIET, "OUTPUT_DIR": folder}.items()]
    apply(tree, [tracker_assignments("none", "make profile"), quiet])
    return Settings(tree)


def table(rows: "list[Row]", total: float, title: str) -> list[str]:
    """Lines: milliseconds a step, share of a step, calls a step, name."""
    lines = [f"{'ms/step':>9} {'share':>7} {'calls':>8}  {title}"]
    lines += [
        f"{1000 * row.seconds:9.2f} {row.seconds / total:7.1%} {row.calls:8.0f}  {row.name[:60]}"
        for row in rows
    ]
    return lines


def report(profiler: "StepProfiler", name: str) -> str:
    """The tables of a profile, for a terminal."""
    computing = sum(row.seconds for row in profiler.categories)
    rest = max(profiler.profiled_s - computing, 0.0)
    lines = [
        f"{name}: {profiler.about}, one process",
        f"{1000 * profiler.step_s:.1f} ms a step; {1000 * profiler.profiled_s:.1f} ms under the "
        "profiler, of which are:",
        "",
        *table(profiler.categories, profiler.profiled_s, "category"),
        f"{1000 * rest:9.2f} {rest / profiler.profiled_s:7.1%} {'':8}  Python, and waiting",
        "",
        *table(profiler.operators[:SHOWN], profiler.profiled_s, "operator, its own time"),
        "",
        f"{'MB':>9}  memory",
        *(f"{size / 1e6:9.1f}  {what}" for what, size in profiler.memory.items()),
    ]
    return "\n".join(lines) + "\n"


def as_json(profiler: "StepProfiler", name: str) -> str:
    """The same as `report`, for programs; all operators."""
    return json.dumps(
        {
            "name": name,
            "about": profiler.about,
            "step_s": profiler.step_s,
            "profiled_s": profiler.profiled_s,
            "categories": [row._asdict() for row in profiler.categories],
            "operators": [row._asdict() for row in profiler.operators],
            "memory": profiler.memory,
        },
        indent=1,
    )


def main() -> None:
    given = options()
    tree = configured(given)
    values = tree.values()
    model = str(values["MODEL"])
    name = f"{Path(given.run).name or model}-{time.strftime('%Y%m%d-%H%M%S')}"
    kept = Path(given.output_dir or str(values["OUTPUT_DIR"])) / ".profile" / name
    with tempfile.TemporaryDirectory(prefix="profile-") as folder:
        settings = made_quiet(tree, folder)
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # PyTorch reads it when it is imported
        program = importlib.import_module(f"{model}.train")
        from lib.train.profile import StepProfiler  # imports PyTorch

        profiler = StepProfiler(int(given.steps), Path(folder) / "trace.json")
        with profiler.watching():
            program.train(settings)
        if not profiler.is_done:
            raise Failure(
                f"the training ended before the {profiler.steps_needed + 1} steps that "
                f"STEPS={given.steps} needs: give it more (SET='NUM_EPOCHS=…' or "
                "MAX_STEPS=…), or fewer STEPS"
            )
        kept.mkdir(parents=True)
        (kept / "trace.json").write_bytes((Path(folder) / "trace.json").read_bytes())
    text = report(profiler, name)
    write_atomic(kept / "profile.json", as_json(profiler, name))
    write_atomic(kept / "profile.txt", text)
    print(f"\n{text}\ntables and trace: {kept}")


if __name__ == "__main__":
    run_main(main)
