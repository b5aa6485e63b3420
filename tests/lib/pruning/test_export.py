# SPDX-License-Identifier: MIT
"""Exported files against the weights they were made from."""

import itertools

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.sparse import _semi_structured_conversions as two_four

from lib.errors import Failure
from lib.optim.adamwprune import AdamWPrune
from lib.pruning import payoff
from lib.pruning.export import FORMATS, is_2to4
from lib.pruning.payoff import measure_layers
from lib.pruning.pruner import Pruner
from lib.pruning.schedules import Schedule
from lib.pruning.sparse_file import load_sparse
from lib.pruning.targets import prunable
from lib.train import checkpoint
from lib.train.checkpoint.weights import trained_weights
from scripts.pruning.payoff import verdict, verdicts


@pytest.fixture
def saved(tmp_path):
    """A small trained network and its checkpoint, pruned in a pattern."""

    def make(pattern="unstructured", sizes=(64, 32, 4)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(*sizes[:2]), nn.ReLU(), nn.Linear(*sizes[1:]))
        plan = Schedule(0.5, 4, start=2, end=3)
        optimizer = AdamWPrune(model.parameters(), Pruner(prunable(model), plan, pattern=pattern))
        for _ in range(4):
            model(torch.randn(8, sizes[0])).square().mean().backward()
            optimizer.step()
        state = {"model_state_dict": model.state_dict(), "optimizer_state_dict": None}
        state["optimizer_state_dict"] = optimizer.state_dict()
        checkpoint.save(tmp_path / "last.pt", state)
        return model, *trained_weights(checkpoint.load(tmp_path / "last.pt"))

    return make


def test_masks_come_from_the_checkpoint_and_are_folded(saved, tmp_path):
    model, weights, masks = saved()
    assert set(masks) == {"0.weight", "2.weight"}
    assert sum(int((~mask).sum()) for mask in masks.values()) == round(0.5 * (64 * 32 + 32 * 4))
    state = checkpoint.load(tmp_path / "last.pt")
    state["model_state_dict"]["0.weight"] += 1.0  # as if a pruned weight had come back
    folded, _ = trained_weights(state)
    assert not folded["0.weight"][~masks["0.weight"]].any()
    assert weights["2.weight"].equal(model[2].weight)


@pytest.mark.parametrize(
    "state",
    [{}, {"model_state_dict": {"w": 1}}, {"model_state_dict": 1, "optimizer_state_dict": {}}],
)
def test_another_checkpoint_is_refused(state):
    with pytest.raises(Failure, match="not the checkpoint of a training"):
        trained_weights(state)


def test_dense(saved, tmp_path):
    model, weights, masks = saved()
    FORMATS["dense"][1](tmp_path / "model", weights, masks)
    model.load_state_dict(found := load_file(tmp_path / "model"))
    assert all(found[name].equal(weights[name]) for name in weights)


def test_sparse(saved, tmp_path):
    _, weights, masks = saved()
    (note,) = FORMATS["sparse"][1](tmp_path / "model", weights, masks)
    assert "times the bound" in note
    found = load_sparse(tmp_path / "model")
    assert all(found[name].equal(weights[name].bfloat16()) for name in weights)


def test_2to4_is_the_layout_of_torch(saved, tmp_path):
    _, weights, masks = saved("2to4")
    notes = FORMATS["2to4"][1](tmp_path / "model", weights, masks)
    assert notes == ["stays dense: 2.weight"]  # 4 × 32: the kernels want 32 × 64
    found = load_file(tmp_path / "model")
    dense = two_four.sparse_semi_structured_to_dense_cutlass(
        found["0.weight.packed"], found["0.weight.meta"]
    )
    assert dense.equal(weights["0.weight"].bfloat16())
    assert found["0.weight.packed"].shape == (32, 32)
    assert found["2.weight"].equal(weights["2.weight"].bfloat16())


def test_2to4_of_another_pattern_is_refused(saved, tmp_path):
    _, weights, masks = saved()
    with pytest.raises(Failure, match="no layer is pruned 2:4"):
        FORMATS["2to4"][1](tmp_path / "model", weights, masks)
    assert not (tmp_path / "model").exists()


def test_is_2to4():
    mask = torch.tensor([[1, 1, 0, 0, 0, 1, 0, 0]]).bool()
    assert is_2to4(mask) and not is_2to4(~mask)
    assert not is_2to4(torch.zeros(2, 6).bool()) and not is_2to4(torch.zeros(1, 4, 3, 3).bool())
    assert is_2to4(mask[:, :, None, None]) and not is_2to4(~mask[:, :, None, None])


def test_payoff_measures_the_linear_layers(saved):
    _, weights, masks = saved()
    found = measure_layers(weights, masks, (1, 4))
    assert found.linear == ["0.weight", "2.weight"]
    assert found.memory[0] == 4 * (64 * 32 + 32 * 4)
    assert set(found.times) == {1, 4}
    assert all(timing.dense[0] > 0 and timing.pruned[0] > 0 for timing in found.times.values())


def scripted(monkeypatch, dense, pruned) -> payoff.Timing:
    """What `compare` makes of these times of a call of each side, in the order they are taken."""
    times = {"dense": itertools.cycle(dense), "pruned": itertools.cycle(pruned)}
    order = []

    def take(work, n, device):
        if n != 3:  # which only finds out how often to call
            order.append(work)
            return next(times[work])
        return 0.001

    monkeypatch.setattr(payoff, "_time", take)
    rounds = []
    timing = payoff.compare("dense", "pruned", torch.device("cpu"), rounds.append)
    assert rounds == list(range(len(order) // 2 + 1))
    assert order[:4] == ["dense", "pruned", "pruned", "dense"]
    return timing


def test_payoff_ends_when_the_ratio_settles(monkeypatch):
    load = (1.0, 3.0, 1.5)  # of other programs: it changes between rounds and hits both
    timing = scripted(monkeypatch, load, [x / 2 for x in load])
    assert timing.ratio == pytest.approx((2.0, 2.0, 2.0)) and timing.settled
    assert timing.dense[1] == 1.5


def test_payoff_that_does_not_settle_says_so(monkeypatch):
    timing = scripted(monkeypatch, [1.0], [0.5, 1.0, 4.0])
    assert not timing.settled and timing.ratio[1] == 1.0
    assert "no clear difference" in verdict({1: timing})


@pytest.mark.parametrize(
    ("ratios", "says"),
    [
        ([(1.1, 1.2, 1.3), (2.0, 2.1, 2.2)], "pays in time on this machine at every batch size"),
        ([(0.7, 0.8, 0.9), (0.1, 0.1, 0.1)], "does not pay in time on this machine"),
        ([(0.7, 0.8, 0.9), (1.9, 2.0, 2.1)], "pays in time on this machine at batch size 16."),
        ([(0.9, 1.0, 1.1), (1.9, 2.0, 2.1)], "At batch size 1 there is no clear difference"),
        ([(1.1, 2.0, 9.0), (1.9, 2.0, 2.1)], "At batch size 1 there is no clear difference"),
    ],
)
def test_the_verdict_follows_the_rounds(ratios, says):
    timings = [payoff.Timing((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), ratio) for ratio in ratios]
    assert says in verdict(dict(zip((1, 16), timings, strict=True)))


@pytest.fixture
def convolutions() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Weights and masks: one lacks half of its filters, one all, one single weights."""
    torch.manual_seed(0)
    weights = {name: torch.randn(64, 32, 3, 3) for name in ("half", "all", "single")}
    masks = {name: torch.ones(64, 32, 3, 3).bool() for name in weights}
    masks["half"][::2] = masks["all"][:] = masks["single"][:, 1:] = False
    return {n: w * masks[n] for n, w in weights.items()} | {"other": torch.ones(3)}, masks


def test_payoff_times_convolutions_without_the_filters_that_were_removed(convolutions, monkeypatch):
    compare, passes = payoff.compare, []

    def comparing(dense, pruned, *others):
        passes.append((dense(), pruned()))
        return compare(dense, pruned, *others)

    monkeypatch.setattr(payoff, "compare", comparing)
    said = []
    found = measure_layers(*convolutions, (1,), lambda *round_: said.append(round_))
    assert (found.linear, found.cut, found.dense) == ([], ["half", "all"], ["single"])
    layer = 4 * 64 * 32 * 9
    assert found.memory == (3 * layer, layer // 2 + layer)
    assert not found.times and found.cut_time.pruned[0] > 0
    assert {what for what, *_ in said} == {"convolutions"}
    (((half, all_), (cut,)),) = passes  # of the one without filters nothing is left to compute
    torch.testing.assert_close(cut, half[:, 1::2], rtol=1e-4, atol=1e-4)
    assert not half[:, ::2].any() and not all_.any()


def test_payoff_of_single_weights_of_convolutions_says_what_is_not_measured(convolutions):
    weights, masks = convolutions
    found = measure_layers(weights, {"single": masks["single"]}, (1,))
    assert (found.dense, found.times, found.cut_time) == (["single"], {}, None)
    assert found.memory[0] == found.memory[1]
    (said,) = verdicts(found, 0.25)
    assert said.startswith("The convolutions that stay dense, with 25.0 % of the prunable weights")


@pytest.mark.parametrize(
    ("ratio", "says"),
    [((1.5, 2.0, 2.1), "faster"), ((0.8, 0.9, 0.95), "slower"), ((0.9, 1.0, 1.1), "no clear")],
)
def test_what_is_said_of_cut_convolutions(ratio, says):
    timing = payoff.Timing((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), ratio)
    found = payoff.Payoff([], ["conv.weight"], [], (2, 1), cut_time=timing)
    (said,) = verdicts(found, 0.0)
    assert says in said


def test_payoff_of_rows_that_were_removed_is_that_of_smaller_matrices(saved):
    _, weights, masks = saved("channel", (512, 256, 64))
    found = measure_layers(weights, masks, (64,))
    kept = sum(int(mask.any(1).sum()) * mask.shape[1] for mask in masks.values())
    assert found.kernel.startswith("without the rows") and found.memory[1] == 4 * kept
    assert found.memory[1] < 0.6 * found.memory[0]


def test_2to4_of_convolutions(tmp_path):
    """Those of 1 × 1 pixel are matrices; others stay dense, and are named."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(64, 32, 1), nn.Conv2d(32, 64, 3))
    model = model.to(memory_format=torch.channels_last)
    plan = Schedule(0.5, 4, start=1, end=2)
    pruner = Pruner(prunable(model), plan, score="magnitude", pattern="2to4")
    pruner.attach(optimizer := torch.optim.SGD(model.parameters(), lr=0.01))
    for _ in range(3):
        model(torch.randn(2, 64, 4, 4)).square().mean().backward()
        optimizer.step()
    weights = {name: weight.detach() for name, weight in model.state_dict().items()}
    masks = {name: mask.bool() for name, mask in pruner.masks.items()}
    notes = FORMATS["2to4"][1](tmp_path / "model", weights, masks)
    assert notes == ["stays dense: 1.weight"]
    found = load_file(tmp_path / "model")
    dense = two_four.sparse_semi_structured_to_dense_cutlass(
        found["0.weight.packed"], found["0.weight.meta"]
    )
    assert dense.equal(weights["0.weight"].bfloat16().flatten(1))
    assert found["1.weight"].equal(weights["1.weight"].bfloat16())
