# SPDX-License-Identifier: MIT
"""Equal masks on every rank and for any number of ranks: two processes over gloo."""

import pytest
import torch
import torch.distributed as dist
from torch import nn

from lib.optim.adamwprune import AdamWPrune
from lib.pruning.pruner import Pruner
from lib.pruning.schedules import Schedule
from lib.pruning.select import Scored, ScoreError, prune_smallest
from lib.pruning.targets import prunable
from tests.ranks import found_by_two_ranks

ROWS, WIDTH, LAYERS = 6, 8, 3
SCORES = ["magnitude", "bitter7", "bitter9", "movement"]


def full_scores() -> list[torch.Tensor]:
    """Few different values, so that most decisions are about ties."""
    torch.manual_seed(0)
    return [torch.randint(-2, 3, (ROWS, WIDTH)).float() for _ in range(LAYERS)]


def scored(name: str, shard: torch.Tensor) -> Scored:
    mask = torch.ones(shard.numel(), dtype=torch.uint8)
    return Scored(name, mask, lambda a, b: shard.flatten()[a:b].clone())


def select(shards: list[torch.Tensor], k: int, group) -> list[torch.Tensor]:
    items = [scored(f"layer{i}", shard) for i, shard in enumerate(shards)]
    prune_smallest(items, k, group=group)
    return [item.mask.view_as(shard) for item, shard in zip(items, shards, strict=True)]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))


def train(model: nn.Module, score: str, group=None, reduce=False) -> Pruner:
    """Four examples a step; each of two ranks sees two of them, and gradients are averaged."""
    schedule = Schedule(0.7, 12, start=2, end=8, frequency=2, regrowth=0.2)
    pruner = Pruner(prunable(model), schedule, score=score, group=group)
    optimizer = AdamWPrune(model.parameters(), pruner, lr=0.01)
    for step in range(12):
        torch.manual_seed(step)
        x = torch.randn(4, 6)
        x = x[2 * dist.get_rank() :][:2] if reduce else x
        model(x).square().mean().backward()
        if reduce:
            for p in model.parameters():
                dist.all_reduce(p.grad)
                p.grad /= dist.get_world_size()
        optimizer.step()
        optimizer.zero_grad()
    return pruner


SHARDS = {0: slice(0, 2), 1: slice(2, ROWS)}  # of unequal size
EQUAL = {0: slice(0, 3), 1: slice(3, ROWS)}
PLANS = [("global", "unstructured"), ("erk", "unstructured"), ("layer", "channel"), ("erk", "2to4")]


def train_rows(rows: slice, scope: str, pattern: str, group=None) -> dict[str, torch.Tensor]:
    """Masks of these rows of three matrices, whose gradients depend on the step only."""
    torch.manual_seed(0)
    widths = (4, 32, 8)
    weights = {f"w{n}": nn.Parameter(torch.randn(ROWS, n)[rows].clone()) for n in widths}
    optimizer = torch.optim.AdamW(weights.values(), lr=0.05)
    plan = Schedule(0.4, 8, start=2, end=6, frequency=2)
    pruner = Pruner(weights, plan, score="bitter9", scope=scope, pattern=pattern, group=group)
    pruner.attach(optimizer)
    for _ in range(8):
        for n, p in zip(widths, weights.values(), strict=True):
            p.grad = torch.randn(ROWS, n)[rows].clone()
        optimizer.step()
    return pruner.masks


def work(rank: int) -> dict:
    shards = [scores[SHARDS[rank]] for scores in full_scores()]
    found = {"sharded": [select(shards, k, dist.group.WORLD) for k in range(0, 144, 7)]}
    shards[1][0, 0] = float("nan")
    try:
        select(shards, 5, dist.group.WORLD)
    except ScoreError as error:  # on both ranks, though only shards of layer1 have it
        found["error"] = str(error)
    for score in SCORES:
        found[score] = train(network(), score, reduce=True).masks
    for plan in PLANS:
        found[str(plan)] = train_rows(SHARDS[rank], *plan, group=dist.group.WORLD)
    found["equal"] = train_rows(EQUAL[rank], "erk", "unstructured", dist.group.WORLD)
    empty = slice(0, 0) if rank == 0 else slice(0, ROWS)
    found["empty"] = train_rows(empty, "erk", "unstructured", dist.group.WORLD)
    return found


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return found_by_two_ranks(work, tmp_path_factory.mktemp("ranks"))


@pytest.mark.slow
def test_sharded_selection_equals_the_whole(ranks):
    for i, k in enumerate(range(0, 144, 7)):
        expected = select(full_scores(), k, None)
        whole = [torch.cat(parts) for parts in zip(*(r["sharded"][i] for r in ranks), strict=True)]
        assert sum(int((mask == 0).sum()) for mask in whole) == k
        assert all(a.equal(b) for a, b in zip(whole, expected, strict=True)), k


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_sharded_training_prunes_as_the_whole_does(ranks, plan):
    """Budgets by layer are those of the whole shapes, whatever rows a rank holds."""
    expected = train_rows(slice(0, ROWS), *plan)
    assert not all(mask.all() for mask in expected.values())
    for name, mask in expected.items():
        assert torch.cat([rank[str(plan)][name] for rank in ranks]).equal(mask)


@pytest.mark.slow
@pytest.mark.parametrize("shards", ["equal", "empty"])  # empty: rank 0 holds no rows
def test_shards_of_other_sizes(ranks, shards):
    for name, mask in train_rows(slice(0, ROWS), "erk", "unstructured").items():
        assert torch.cat([rank[shards][name] for rank in ranks]).equal(mask)


@pytest.mark.slow
def test_a_bad_score_on_any_rank_stops_all(ranks):
    assert {r["error"] for r in ranks} == {"layer1: 2 of its scores are infinite or NaN"}


@pytest.mark.slow
@pytest.mark.parametrize("score", SCORES)
def test_replicas_choose_the_same_weights(ranks, score):
    first, second = (r[score] for r in ranks)
    assert all(first[name].equal(second[name]) for name in first)
    assert any((mask == 0).any() for mask in first.values())


@pytest.mark.parametrize("score", SCORES)
def test_the_number_of_threads_does_not_matter(score):
    before = torch.get_num_threads()
    masks = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        masks.append(train(network(), score).masks)
    torch.set_num_threads(before)
    assert all(masks[0][name].equal(masks[1][name]) for name in masks[0])
