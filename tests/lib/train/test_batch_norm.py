# SPDX-License-Identifier: MIT
"""Batch norm over ranks equals that of one process; two processes over gloo."""

import pytest
import torch
from torch import Tensor, nn

from lib.train.batch_finding import BatchPlan, try_step
from lib.train.batch_norm import FrozenBatchNorm2d, SyncedBatchNorm2d, norm_layer
from lib.train.ranks import average_buffers, reduce_gradients, replicate
from lib.train.runtime import Runtime
from tests.ranks import found_by_two_ranks

CPU = torch.device("cpu")
CHANNELS = 6
# Examples of each rank, dtype, mean of the input, memory format. A mean of 1e4 leaves three digits
# of float32 to the deviations from it, and none to a difference of squares.
CASES = {
    "float64": (4, 4, torch.float64, 0.0, torch.contiguous_format),
    "unequal": (3, 5, torch.float64, 0.0, torch.contiguous_format),
    "one each": (1, 1, torch.float64, 0.0, torch.contiguous_format),
    "channels_last": (4, 4, torch.float64, 0.0, torch.channels_last),
    "float32": (4, 4, torch.float32, 0.0, torch.contiguous_format),
    "far from zero": (4, 4, torch.float32, 1e4, torch.contiguous_format),
    "bfloat16": (4, 4, torch.bfloat16, 0.0, torch.contiguous_format),
}


def through(norm: nn.Module, case: str, rows: slice) -> dict[str, Tensor]:
    """What a step of `norm` on these examples gives; the loss weighs each output."""
    first, second, dtype, mean, layout = CASES[case]
    torch.manual_seed(1)
    shape = (first + second, CHANNELS, 5, 3)
    x = (torch.randn(shape, dtype=torch.float64) + mean).to(dtype)[rows]
    x = x.to(memory_format=layout).requires_grad_()
    weights = torch.randn(shape, dtype=torch.float64).to(dtype)[rows]
    norm.weight.data.uniform_(0.5, 2.0, generator=torch.Generator().manual_seed(2))
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        y = norm(x)
    y.backward(weights)
    return {"y": y.detach(), "dx": x.grad, **_state(norm)}


def _state(norm: nn.Module) -> dict[str, Tensor]:
    gradients = {f"d {name}": p.grad for name, p in norm.named_parameters()}
    return gradients | {name: buffer.clone() for name, buffer in norm.named_buffers()}


def wide(case: str) -> torch.dtype:
    return torch.promote_types(CASES[case][2], torch.float32)


class Network(nn.Module):
    """Two convolutions with a norm each, and a linear layer."""

    def __init__(self, norm: str) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 8, 3), norm_layer(norm)(8), nn.ReLU()),
            *(nn.Conv2d(8, CHANNELS, 3), norm_layer(norm)(CHANNELS), nn.ReLU()),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, 4)),
        )
        self.double()

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self(x), y)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def examples() -> tuple[Tensor, Tensor]:
    torch.manual_seed(4)
    return torch.randn(16, 3, 8, 8).double(), torch.randint(4, (16,))


def train(norm: str, ranks: int, micro: int, rank: int = 0) -> dict[str, Tensor]:
    """Weights and statistics after three steps on 16 examples, whose micro-steps mix the ranks.

    Alone, a micro-step has the examples that two ranks have in theirs together.
    """
    model = Network(norm)
    runtime = Runtime(CPU, "float32", rank, ranks)
    trained = replicate(model, runtime)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, y = examples()
    of_two = BatchPlan(16, 2, micro)
    for _ in range(3):
        for micro_step in range(of_two.micro_steps):
            shares = range(2) if ranks == 1 else [rank]
            rows = [i for r in shares for i in range(16)[of_two.rows(r, micro_step)]]
            with reduce_gradients(trained, micro_step == of_two.micro_steps - 1):
                loss = nn.functional.cross_entropy(trained(x[rows]), y[rows])
                (loss / of_two.micro_steps).backward()
        optimizer.step()
        optimizer.zero_grad()
    return dict(model.state_dict())


def work(rank: int) -> dict:
    found: dict = {}
    for case, (first, second, *_) in CASES.items():
        rows = slice(0, first) if rank == 0 else slice(first, first + second)
        found[case] = through(SyncedBatchNorm2d(CHANNELS).to(wide(case)), case, rows)
    for micro in (8, 2):
        found[f"synced {micro}"] = train("synced", 2, micro, rank)
    model = Network("synced")
    if rank == 1:  # alone: it would wait for the other one for ever
        try_step(model, lambda: model.loss(*examples()), CPU)
        model.eval()
        found["evaluated"] = model(examples()[0]).detach()
    averaged = Network("batch")
    averaged.loss(*(part[8 * rank : 8 * rank + 8] for part in examples())).backward()
    found["before"] = {name: buffer.clone() for name, buffer in averaged.named_buffers()}
    average_buffers(averaged)
    found["averaged"] = {name: buffer.clone() for name, buffer in averaged.named_buffers()}
    average_buffers(averaged)
    found["again"] = dict(averaged.named_buffers())
    return found


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return found_by_two_ranks(work, tmp_path_factory.mktemp("ranks"))


TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 2e-2}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_outputs_gradients_and_statistics_are_those_of_the_whole_batch(ranks, case):
    dtype, mean = CASES[case][2:4]
    whole = through(nn.BatchNorm2d(CHANNELS).to(wide(case)), case, slice(None))
    found = {name: torch.cat([rank[case][name] for rank in ranks]) for name in ("y", "dx")}
    found |= {f"d {n}": sum(rank[case][f"d {n}"] for rank in ranks) for n in ("weight", "bias")}
    assert found["y"].dtype == found["dx"].dtype == dtype
    # Each input is rounded to 2⁻²⁴ of its size, which is a share of 6e-4 of the deviations here.
    tolerance = 2e-3 if mean else TOLERANCE[dtype]
    for name, value in found.items():
        torch.testing.assert_close(value, whole[name], rtol=tolerance, atol=tolerance, msg=name)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        first, second = (rank[case][name] for rank in ranks)
        assert first.equal(second) and first.dtype == whole[name].dtype
        torch.testing.assert_close(first, whole[name], rtol=2e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("micro", [8, 2])
def test_a_network_trains_as_one_process_does(ranks, micro):
    alone = train("batch", 1, micro)
    for rank in ranks:
        torch.testing.assert_close(rank[f"synced {micro}"], alone, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_an_evaluation_asks_no_rank_and_follows_a_trial_as_if_there_had_been_none(ranks):
    fresh = Network("synced").eval()
    assert ranks[1]["evaluated"].equal(fresh(examples()[0]))


@pytest.mark.slow
def test_running_statistics_are_averaged_over_the_ranks(ranks):
    for name, value in ranks[0]["averaged"].items():
        first, second = (rank["before"][name] for rank in ranks)
        assert value.equal(ranks[1]["averaged"][name])
        if name.endswith("tracked"):
            assert value == first == 1
        else:
            assert not first.equal(second)
            torch.testing.assert_close(value, (first + second) / 2)
        assert value.equal(ranks[0]["again"][name])


def test_alone_the_synced_norm_is_batch_norm():
    found = [through(norm(CHANNELS), "float32", slice(None)) for norm in (
        SyncedBatchNorm2d, nn.BatchNorm2d
    )]  # fmt: skip
    assert all(found[0][name].equal(value) for name, value in found[1].items())


def test_frozen_statistics_are_used_and_stay_while_gain_and_bias_are_trained():
    norm, reference = FrozenBatchNorm2d(CHANNELS), nn.BatchNorm2d(CHANNELS).eval()
    for module in (norm, reference):
        module.running_mean.fill_(0.5)
        module.running_var.fill_(4.0)
    assert norm.training
    found, expected = (through(module, "float32", slice(None)) for module in (norm, reference))
    assert found.keys() == expected.keys() and found["d weight"].any()
    assert all(found[name].equal(value) for name, value in expected.items())


@pytest.mark.parametrize("name", ["batch", "synced", "frozen"])
def test_each_loads_the_state_of_batch_norm(name):
    norm, state = norm_layer(name)(3), nn.BatchNorm2d(3).state_dict()
    norm.load_state_dict(state)
    assert list(norm.state_dict()) == list(state)


def test_an_unknown_norm_is_named():
    with pytest.raises(ValueError, match="'group' is unknown: batch, synced, frozen"):
        norm_layer("group")


def test_one_value_a_channel_cannot_be_normalised():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        norm_layer("synced")(3)(torch.zeros(1, 3, 1, 1))
