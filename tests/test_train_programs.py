# SPDX-License-Identifier: MIT
"""Every model's train.py has a training step of its own and shares what surrounds it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = sorted(ROOT.glob("*/train.py"))

RULE = "# ──"

# What must not drift between models. Each is called, not only imported.
SHARED = {
    "program_settings",
    "session",
    "start.trained_run",
    "plan_batch",
    "find_batch",
    "Timetable.from_settings",
    "Learner.from_settings",
    "Loop",
    "loop.announce",
    "loop.catch_out_of_memory",
    "reduce_gradients",
    "learner.scaled",
    "learner.update",
    "learner.averaged",
    "loop.end_step",
    "loop.finish",
    "mean_over_examples",
    "run_main",
}

# The parts of learner.update: a loop that calls one of them itself has drifted.
OURS_ALONE = {"step", "zero_grad", "clip_grad_norm_", "clip_grads_with_norm_", "unscale_"}


def calls(*paths: Path) -> list[ast.Call]:
    trees = [ast.parse(path.read_text(), str(path)) for path in paths]
    return [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]


def lines_of_train(program: Path, *, with_step: bool) -> list[str]:
    """The body of `train_from`, without docstring, blank lines and comments.

    Its step is what is between the two rules.
    """
    tree = ast.parse(program.read_text())
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef)]
    (train,) = [n for n in functions if n.name == "train_from"]
    lines, in_step = [], False
    for line in program.read_text().splitlines()[train.body[0].end_lineno : train.end_lineno]:
        code = line.strip()
        in_step ^= code.startswith(RULE)
        if code and not code.startswith("#") and (with_step or not in_step):
            lines.append(code)
    return lines


@pytest.fixture(params=PROGRAMS, ids=lambda path: path.parent.name)
def program(request) -> Path:
    return request.param


def test_lenet5_is_among_them():
    assert ROOT / "lenet5" / "train.py" in PROGRAMS


def test_it_calls_every_shared_helper(program):
    """Itself, or by way of what classifiers of images share."""
    files = [*program.parent.glob("*.py")]
    if "from lib.train.classification import" in program.read_text():
        files.append(ROOT / "lib" / "train" / "classification.py")
    called = {ast.unparse(call.func) for call in calls(*files)}
    assert SHARED - {name.removeprefix("batch_finding.") for name in called} == set()
    assert called & {"eval_batches", "eval_shares"}, "the ranks share an evaluation"


def test_it_leaves_the_tail_of_the_step_to_the_learner(program):
    methods = {call.func.attr for call in calls(program) if isinstance(call.func, ast.Attribute)}
    assert methods & OURS_ALONE == set()


def test_train_is_short_and_its_own(program):
    """What surrounds the step is in lib/train and not copied. The step is written out in each."""
    assert len(lines_of_train(program, with_step=True)) <= 80
    own = lines_of_train(program, with_step=False)
    for other in PROGRAMS:
        if other != program:
            theirs = lines_of_train(other, with_step=False)
            twins = [line for line in own if len(line) > 8 and line in theirs]
            assert len(twins) <= 10, twins


def test_the_step_is_fenced_by_rules_and_holds_forward_backward_and_update(program):
    lines = program.read_text().splitlines()
    rules = [i for i, line in enumerate(lines) if line.strip().startswith(RULE)]
    assert len(rules) == 2
    step = "\n".join(lines[rules[0] : rules[1]])
    for part in ("learner.scaled(micro_loss).backward()", "learner.lr(step)", "learner.update("):
        assert part in step
