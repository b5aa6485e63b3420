# SPDX-License-Identifier: MIT
"""`make profile`: tables of the real steps, a trace, and nothing else left behind."""

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from lib.train.profile import ELEMENTWISE, Activations, StepProfiler, category_of
from tests.models import ENVIRONMENT, ROOT, SmallModel

CATEGORY = {
    "aten::mm": "matrix products, convolutions",
    "aten::mkldnn_convolution": "matrix products, convolutions",
    "sm80_xmma_gemm_bf16bf16_bf16f32_tn": "matrix products, convolutions",
    "aten::_scaled_dot_product_flash_attention": "attention",
    "_WrittenOutBackward": "attention",
    "aten::_to_copy": "copies and casts",
    "Memcpy DtoD (Device -> Device)": "copies and casts",
    "aten::_fused_adamw_": "optimizer",
    "Optimizer.step#AdamW.step": "optimizer",
    "waiting for a batch": "data",
    "triton_poi_fused_convert_element_type_0": "copies and casts",
    "aten::native_layer_norm": ELEMENTWISE,
    "triton_poi_fused_add_3": ELEMENTWISE,
}


@pytest.mark.parametrize("name", CATEGORY)
def test_operators_and_kernels_have_a_category(name):
    assert category_of(name) == CATEGORY[name]


def test_activations_are_counted_once_and_until_the_backward_pass_drops_them():
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    counted = Activations(net)
    x = torch.randn(10, 8)
    for _ in range(2):  # the second micro-step follows the backward pass of the first
        with counted.hooks():
            net(x).sum().backward()
    # float32: the input, and the output of the ReLU, which two operations keep
    assert counted.peak == 4 * (10 * 8 + 10 * 16)
    with counted.hooks():
        held = [net(x).sum(), net(x).sum()]
    assert counted.peak == 4 * (10 * 8 + 2 * 10 * 16) and len(held) == 2


def profile(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "scripts.train.profile", *arguments],
        cwd=ROOT, env={**ENVIRONMENT, **variables}, text=True, capture_output=True, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize("steps", ["0", "-1", "many"])
def test_a_number_of_steps_that_makes_no_sense_is_refused(steps):
    done = profile(STEPS=steps)
    assert done.returncode == 2 and f"STEPS={steps}: how many steps" in done.stderr


@pytest.mark.slow
def test_a_run_is_profiled_again_from_its_beginning(tmp_path):
    model = SmallModel("lenet5", tmp_path / "data", tmp_path)
    profiler = StepProfiler(4, tmp_path / "trace.json")
    with profiler.watching():
        run = model.train("--max-steps", "9")
    assert profiler.steps_needed > 9 and not profiler.is_done
    assert not torch.autograd._profiler_enabled(), "PyTorch crashes at the end with one left"
    before = set(tmp_path.iterdir())
    done = profile("--output-dir", str(tmp_path), run.dir.name, STEPS="2")
    assert done.returncode == 0, done.stderr
    assert set(tmp_path.iterdir()) - before == {tmp_path / ".profile"}, "no run is left"
    (folder,) = (tmp_path / ".profile").iterdir()
    assert str(folder) in done.stdout and "matrix products, convolutions" in done.stdout
    found = json.loads((folder / "profile.json").read_text())
    own = sum(row["seconds"] for row in found["operators"])
    assert own == pytest.approx(sum(row["seconds"] for row in found["categories"]))
    assert 0 < own <= 1.05 * found["profiled_s"]
    memory = found["memory"]
    assert memory["weights"] == memory["gradients"] == 4 * 61_706
    assert 8 * 61_706 <= memory["optimizer state"] < 8.1 * 61_706
    assert memory["activations kept for the backward pass"] > 16 * 32 * 32 * 4
    calls = {row["name"]: row["calls"] for row in found["operators"]}
    assert calls["aten::mkldnn_convolution"] == 2, "a step, not all of them"
    assert json.loads((folder / "trace.json").read_text())["traceEvents"]
