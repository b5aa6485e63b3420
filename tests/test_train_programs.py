# SPDX-License-Identifier: MIT
"""Every model's train.py has a loop of its own and shares the rest: the same set of helpers."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = sorted(ROOT.glob("*/train.py"))

# What must never drift between models. Each is called, not only imported.
SHARED = {
    "load_settings",
    "setup",
    "optimizer_from_settings",
    "log_scores",
    "finish_pruning",
    "schedule_from_settings",
    "apply_update",
    "open_progress",
    "StopRequest",
    "LossGuard",
    "run_main",
    "Run.from_settings",
    "checkpoint.save",
}

# What apply_update does, in its order; a loop that does a part of it by itself has drifted.
OURS_ALONE = {"step", "zero_grad", "clip_grad_norm_", "clip_grads_with_norm_", "unscale_"}


def calls(path: Path) -> list[ast.Call]:
    tree = ast.parse(path.read_text(), str(path))
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.fixture(params=PROGRAMS, ids=lambda path: path.parent.name)
def program(request) -> Path:
    return request.param


def test_lenet5_is_among_them():
    assert ROOT / "lenet5" / "train.py" in PROGRAMS


def test_it_calls_every_shared_helper(program):
    called = {ast.unparse(call.func) for call in calls(program)}
    assert SHARED - called == set()


def test_it_leaves_the_tail_of_the_step_to_apply_update(program):
    methods = {call.func.attr for call in calls(program) if isinstance(call.func, ast.Attribute)}
    assert methods & OURS_ALONE == set()


def test_the_step_is_fenced_by_rules_and_holds_forward_backward_and_update(program):
    lines = program.read_text().splitlines()
    rules = [i for i, line in enumerate(lines) if line.strip().startswith("# ──")]
    assert len(rules) == 2
    step = "\n".join(lines[rules[0] : rules[1]])
    for part in ("loss.backward()", "learning_rate(step)", "apply_update("):
        assert part in step
