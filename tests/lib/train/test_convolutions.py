# SPDX-License-Identifier: MIT
"""A convolutional network with batch norm, pruned while two ranks train it in channels_last."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from lib.optim import build_optimizer
from lib.pruning.pruner import Pruner
from lib.pruning.schedules import Schedule
from lib.pruning.targets import prunable
from lib.train.batch_norm import norm_layer
from lib.train.checkpoint.weights import AVERAGE
from lib.train.ema import average_from_settings
from lib.train.learner import Learner
from lib.train.ranks import replicate
from lib.train.runtime import Runtime
from tests.ranks import found_by_two_ranks

STEPS, EXAMPLES = 12, 8
CASES = {
    "adamwprune": {"name": "adamwprune"},
    "regrowth": {"name": "adamwprune", "regrowth": 0.3},
    "sgd": {"name": "sgd", "score": "magnitude"},
    "channel": {"name": "adamw", "pattern": "channel", "scope": "layer"},
    "2to4": {"name": "adamw", "pattern": "2to4"},
}


OWN_NORM = {"name": "adamw", "norm": "batch"}  # statistics of each rank's share


def network(norm: str) -> nn.Sequential:
    """Strided, 3 × 3 and 1 × 1 convolutions with batch norm, in float64."""
    torch.manual_seed(0)
    norm = norm_layer(norm)
    return nn.Sequential(
        *(nn.Conv2d(4, 8, 3, stride=2, bias=False), norm(8), nn.ReLU()),
        *(nn.Conv2d(8, 16, 3, padding=1, bias=False), norm(16), nn.ReLU()),
        *(nn.Conv2d(16, 8, 1, bias=False), norm(8), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)),
    ).double()


def train(given: dict, rank: int = 0, ranks: int = 1) -> dict[str, dict[str, Tensor]]:
    """Masks, weights and mean at the end; each rank has its share of the examples."""
    options = dict(given)
    model = network(options.pop("norm", "synced")).to(memory_format=torch.channels_last)
    schedule = Schedule(
        0.5, STEPS, start=3, end=9, frequency=2, regrowth=options.pop("regrowth", 0.0)
    )
    name = options.pop("name")
    pruner = Pruner(prunable(model), schedule, **options)
    optimizer = build_optimizer(
        model, name, lr=0.01, weight_decay=0.1, momentum=0.9, betas=(0.9, 0.99), eps=1e-8,
        pruner=pruner,
    )  # fmt: skip
    average = average_from_settings(SimpleNamespace(EMA_DECAY=0.9), model, pruner)
    trained = replicate(model, Runtime(torch.device("cpu"), "float32", rank, ranks))
    learner = Learner(trained, optimizer, pruner, lambda step: 0.01, 1.0, average)
    share = EXAMPLES // ranks
    for step in range(STEPS):
        torch.manual_seed(100 + step)
        x, y = torch.randn(EXAMPLES, 4, 9, 9).double(), torch.randint(4, (EXAMPLES,))
        rows = slice(rank * share, (rank + 1) * share)
        x = x.to(memory_format=torch.channels_last)
        nn.functional.cross_entropy(trained(x[rows]), y[rows]).backward()
        learner.update(0.01)
        pruner.verify()
    trained.eval()
    with learner.averaged(), torch.no_grad():
        evaluated = trained(x)
    return {
        "masks": pruner.masks,
        "weights": dict(model.state_dict()),
        "mean": {name: t.detach() for name, t in average.contents()[AVERAGE].items()},
        "evaluated": {"logits": evaluated},
    }


def work(rank: int) -> dict:
    found = {case: train(given, rank, 2) for case, given in CASES.items()}
    found["own norm"] = train(OWN_NORM, rank, 2)
    return found


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return found_by_two_ranks(work, tmp_path_factory.mktemp("ranks"))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_ranks_prune_train_and_average_as_one_does(ranks, case):
    alone = train(CASES[case])
    assert any((mask == 0).any() for mask in alone["masks"].values())
    for rank in ranks:
        for name, mask in alone["masks"].items():
            assert mask.equal(rank[case]["masks"][name]), name
            assert not rank[case]["mean"][name][mask == 0].any()
        for part in ("weights", "mean", "evaluated"):
            torch.testing.assert_close(rank[case][part], alone[part], rtol=1e-6, atol=1e-8)
    check_equal(*(rank[case] for rank in ranks))


def check_equal(first: dict, second: dict) -> None:
    for part in ("masks", "weights", "mean", "evaluated"):
        for name, tensor in first[part].items():
            assert tensor.equal(second[part][name]), name


@pytest.mark.slow
def test_ranks_with_norms_of_their_own_have_one_model_and_one_mean(ranks):
    """Their running statistics are averaged after each update."""
    check_equal(*(rank["own norm"] for rank in ranks))
    alone, whole = train(OWN_NORM)["weights"], ranks[0]["own norm"]["weights"]
    means = [name for name in alone if name.endswith("running_mean")]
    assert means and not any(whole[name].equal(alone[name]) for name in means)
