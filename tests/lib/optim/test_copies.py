# SPDX-License-Identifier: MIT
"""Copied, pickled and restored optimizers go on as the original does, bit for bit."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

from lib.optim import build_optimizer
from lib.optim.adamwprune import AdamWPrune
from lib.optim.adamwspam import AdamWSPAM, Spam
from lib.pruning.pruner import Pruner
from lib.pruning.schedules import Schedule
from lib.pruning.targets import prunable

SPAM = Spam(reset_every=3, grace=1, warmup=2)
STABLE = Spam(stable=True, reset_every=3, warmup=2)
PLAN = Schedule(0.5, 100, start=2, end=8, frequency=2)


def network(dtype=torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).to(dtype)


def train(net, optimizer, start, stop) -> None:
    for step in range(start, stop):
        torch.manual_seed(step)
        optimizer.zero_grad()
        net(torch.randn(8, 6, dtype=net[0].weight.dtype)).square().mean().backward()
        optimizer.step()


def attached_to(kind, **options):
    def make(net):
        optimizer = kind(net.parameters(), lr=0.01, **options)
        Pruner(prunable(net), PLAN, score="movement").attach(optimizer)
        return optimizer

    return make


def pruned_by(base, spam):
    return lambda net: AdamWPrune(
        net.parameters(),
        Pruner(prunable(net), PLAN),
        base=base,
        spam=spam,
        lr=0.01,
        eps=1e-4,  # not zero in float16
    )


MAKERS = {
    "spam": lambda net: AdamWSPAM(net.parameters(), spam=SPAM),
    "stable": lambda net: AdamWSPAM(net.parameters(), spam=STABLE, fused=True),
    "sgd": attached_to(torch.optim.SGD, momentum=0.9),
    "adamw": attached_to(torch.optim.AdamW, fused=True),
    "prune": pruned_by("adamw", SPAM),
    "prune-spam": pruned_by("adamwspam", SPAM),
    "prune-stable": pruned_by("adamwspam", STABLE),
}


def saved_whole(both):
    """As programs do that save the optimizer itself, and not its state_dict."""
    torch.save(both, buffer := io.BytesIO())
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda both: pickle.loads(pickle.dumps(both)),
    "torch.save": saved_whole,
    "copy of a copy": lambda both: copy.deepcopy(pickle.loads(pickle.dumps(both))),
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("stop", [0, 4])
def test_a_copy_goes_on_as_the_original_does(maker, way, stop):
    net = network()
    optimizer = MAKERS[maker](net)
    train(net, optimizer, 0, stop)
    other, other_optimizer = COPIES[way]((net, optimizer))
    before = [p.clone() for p in net.parameters()]
    train(other, other_optimizer, stop, 12)
    assert all(map(torch.equal, before, net.parameters())), "the copy trains the original"
    train(net, optimizer, stop, 12)
    assert all(map(torch.equal, other.parameters(), net.parameters()))
    state, other_state = optimizer.state_dict(), other_optimizer.state_dict()
    assert state.keys() == other_state.keys()
    if "pruner" in state:
        masks, other_masks = state["pruner"]["masks"], other_state["pruner"]["masks"]
        assert all(masks[name].equal(other_masks[name]) for name in masks)
        assert int((other[0].weight == 0).sum() + (other[2].weight == 0).sum()) == round(0.5 * 45)


@pytest.mark.parametrize("maker", ["prune-spam", "adamw"])
def test_a_trainer_can_be_copied_whole(maker):
    """A module that holds its optimizer, as in Lightning, or an optimizer copied alone."""
    net = network()
    net.trainer = {"optimizer": MAKERS[maker](net)}
    train(net, net.trainer["optimizer"], 0, 4)
    other = copy.deepcopy(net)
    assert {*other.parameters()} == {
        p for group in other.trainer["optimizer"].param_groups for p in group["params"]
    }
    alone = copy.deepcopy(net.trainer["optimizer"])
    weights = [p for group in alone.param_groups for p in group["params"]]
    for each, optimizer in ((net, net.trainer["optimizer"]), (other, other.trainer["optimizer"])):
        train(each, optimizer, 4, 12)
    assert all(map(torch.equal, net.parameters(), other.parameters()))
    for step in range(4, 12):  # the copy alone prunes its own copies of the weights
        torch.manual_seed(step)
        for p in weights:
            p.grad = torch.randn_like(p)
        alone.step()
    assert sum(int((p == 0).sum()) for p in weights) == round(0.5 * 45)


def test_a_pickled_optimizer_takes_hooks_of_others_beside_its_own():
    """PyTorch numbers hooks from 0 in each process; a later one must not replace ours."""
    net = network()
    net, optimizer = pickle.loads(pickle.dumps((net, MAKERS["prune"](net))))
    calls = []
    torch.utils.hooks.RemovableHandle.next_id = 0
    for _ in range(3):
        optimizer.register_step_pre_hook(lambda *_: calls.append(1))
    train(net, optimizer, 0, 9)
    assert len(calls) == 27
    assert optimizer.pruner.pruned == round(0.5 * 45)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("maker", ["stable", "prune-stable", "sgd", "prune"])
def test_resume_in_any_dtype_is_bit_equal(maker, dtype, tmp_path):
    net = network(dtype)
    optimizer = MAKERS[maker](net)
    train(net, optimizer, 0, 4)
    torch.save([net.state_dict(), optimizer.state_dict()], tmp_path / "state.pt")
    resumed = network(dtype)
    resumed_optimizer = MAKERS[maker](resumed)
    model, state = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed.load_state_dict(model)
    resumed_optimizer.load_state_dict(state)
    for a, b in zip(optimizer.state.values(), resumed_optimizer.state.values(), strict=True):
        assert {k: t.dtype for k, t in a.items()} == {k: t.dtype for k, t in b.items()}
    train(net, optimizer, 4, 12)
    train(resumed, resumed_optimizer, 4, 12)
    assert all(map(torch.equal, resumed.parameters(), net.parameters()))


def test_a_restored_optimizer_does_not_write_into_the_state_it_was_given():
    net = network()
    optimizer = MAKERS["stable"](net)
    train(net, optimizer, 0, 2)
    state = copy.deepcopy(optimizer.state_dict())
    before = state["state"][0]["spam_norms"].clone()
    optimizer.load_state_dict(state)
    train(net, optimizer, 2, 4)
    assert state["state"][0]["spam_norms"].equal(before)


def test_a_pruner_is_attached_once():
    net = network()
    pruner = Pruner(prunable(net), PLAN, score="magnitude")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    pruner.attach(optimizer)
    for again in (optimizer, torch.optim.SGD(net.parameters(), lr=0.1)):
        with pytest.raises(ValueError, match="this pruner is attached to an SGD already"):
            pruner.attach(again)
    with pytest.raises(ValueError, match="another pruner is attached to this SGD already"):
        Pruner(prunable(net), PLAN, score="magnitude").attach(optimizer)


def damaged(state, how):
    state = copy.deepcopy(state)
    pruner = state["pruner"]
    if how == "masks":
        pruner["masks"]["2.weight"] = pruner["masks"]["2.weight"][:-1]
    elif how == "memory":
        pruner["memory"]["2.weight"] = torch.zeros(1)
    elif how == "step":
        del pruner["step"]
    else:
        state["param_groups"][0]["params"] = [0]
    pruner["masks"]["0.weight"] = torch.zeros_like(pruner["masks"]["0.weight"])
    return state


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("masks", "2.weight: 1 packed bytes do not make a mask"),
        ("memory", "2.weight: the memory of its score has the shape"),
        ("step", "the pruning state lacks step"),
        ("groups", "doesn't match the size of optimizer's group"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(how, message):
    net = network()
    optimizer = attached_to(torch.optim.SGD)(net)
    train(net, optimizer, 0, 6)
    state = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(damaged(state, how))
    after = optimizer.state_dict()["pruner"]
    for kind in ("masks", "memory"):
        assert all(after[kind][name].equal(state["pruner"][kind][name]) for name in after[kind])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_sgd_is_the_same_with_any_kernel(dtype):
    """On a CPU the fused kernel is wrong in low precision."""
    net, other = network(dtype), network(dtype)
    optimizer = build_optimizer(net, "sgd", lr=0.1, weight_decay=0.01, momentum=0.9)
    groups = [{**group, "fused": False, "foreach": False} for group in optimizer.param_groups]
    names = {id(p): i for i, p in enumerate(net.parameters())}
    for group in groups:
        group["params"] = [list(other.parameters())[names[id(p)]] for p in group["params"]]
    reference = torch.optim.SGD(groups)
    train(net, optimizer, 0, 20)
    train(other, reference, 0, 20)
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6 if dtype == torch.float32 else 0, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("maker", ["spam", "prune-stable", "adamw"])
def test_a_compiled_step_gives_what_a_plain_one_gives(maker):
    net, other = network(), network()
    optimizer, other_optimizer = MAKERS[maker](net), MAKERS[maker](other)
    torch._dynamo.reset()
    other_optimizer.step = torch.compile(other_optimizer.step, backend="eager")
    train(net, optimizer, 0, 10)
    train(other, other_optimizer, 0, 10)
    assert optimizer.param_groups[0]["lr"] == other_optimizer.param_groups[0]["lr"]
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q)
    torch._dynamo.reset()
