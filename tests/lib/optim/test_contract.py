# SPDX-License-Identifier: MIT
"""Our optimizers do what torch.optim's do: state, groups, closures, GradScaler."""

import pytest
import torch
from torch import nn

from lib.optim import OPTIMIZERS, build_optimizer, describe_decay
from lib.optim.adamwprune import AdamWPrune
from lib.optim.adamwspam import AdamWSPAM, Spam
from lib.optim.update import apply_update
from lib.pruning.pruner import Pruner
from lib.pruning.schedules import Schedule
from lib.pruning.step_hooks import on_gradients
from lib.pruning.targets import prunable

SPAM = Spam(reset_every=3, grace=1, warmup=2)
STABLE = Spam(stable=True, reset_every=3, warmup=2)
PLAN = Schedule(0.5, 100, start=2, end=6, frequency=2)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.LayerNorm(5), nn.Linear(5, 3))


def prune(net, **options) -> AdamWPrune:
    return AdamWPrune(net.parameters(), Pruner(prunable(net), PLAN), **options)


OURS = {
    "spam": lambda net, **o: AdamWSPAM(net.parameters(), spam=SPAM, **o),
    "stable": lambda net, **o: AdamWSPAM(net.parameters(), spam=STABLE, **o),
    "prune": lambda net, **o: prune(net, **o),
    "prune-adv": lambda net, **o: prune(net, base="adamwadv", **o),
    "prune-spam": lambda net, **o: prune(net, base="adamwspam", spam=SPAM, **o),
    "prune-stable": lambda net, **o: prune(net, base="adamwspam", spam=STABLE, **o),
}


@pytest.fixture(params=OURS)
def make(request):
    return OURS[request.param]


def backward(net, step, scale=1.0) -> torch.Tensor:
    torch.manual_seed(step)
    loss = net(torch.randn(8, 6)).square().mean()
    (loss * scale).backward()
    return loss


def train(net, optimizer, steps, start=0):
    for step in range(start, steps):
        optimizer.zero_grad()
        backward(net, step)
        optimizer.step()


def weights(net):
    return [p.detach().clone() for p in net.parameters()]


def same(a, b) -> bool:
    return all(x.equal(y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_state_dict_round_trip_is_bit_equal(make, stop, tmp_path):
    net = model()
    optimizer = make(net)
    train(net, optimizer, stop)
    torch.save([net.state_dict(), optimizer.state_dict()], tmp_path / "state.pt")
    train(net, optimizer, 9, start=stop)

    other = model()
    other_optimizer = make(other)
    state, optimizer_state = torch.load(tmp_path / "state.pt", weights_only=True)
    other.load_state_dict(state)
    other_optimizer.load_state_dict(optimizer_state)
    train(other, other_optimizer, 9, start=stop)
    assert same(weights(net), weights(other))


def test_a_closure_gives_the_same_as_backward_before(make):
    net, other = model(), model()
    optimizer, other_optimizer = make(net), make(other)
    train(net, optimizer, 9)
    for step in range(9):

        def closure(step=step):
            other_optimizer.zero_grad()
            return backward(other, step)

        loss = other_optimizer.step(closure)
        assert isinstance(loss, torch.Tensor) and loss.ndim == 0
    assert same(weights(net), weights(other))


def test_parameters_without_gradient_stay(make):
    net = model()
    optimizer = make(net)
    train(net, optimizer, 4)
    before = weights(net)
    backward(net, 5)
    net[2].weight.grad = net[2].bias.grad = None
    optimizer.step()
    after = weights(net)
    assert same(before[2:4], after[2:4]) and not same(before[4:], after[4:])


def test_add_param_group(make):
    net = model()
    optimizer = make(net)
    train(net, optimizer, 2)
    late = nn.Parameter(torch.ones(4))
    optimizer.add_param_group({"params": [late], "lr": 0.1})
    for step in range(2, 7):
        backward(net, step)
        late.grad = torch.ones(4)
        optimizer.step()
    assert (late < 1.0).all()
    copied = make(model())
    copied.add_param_group({"params": [nn.Parameter(torch.ones(4))], "lr": 0.1})
    copied.load_state_dict(optimizer.state_dict())
    assert copied.param_groups[-1]["lr"] == 0.1


def test_groups_keep_their_own_learning_rate_and_decay():
    net = model()
    parameters = list(net.parameters())
    optimizer = AdamWSPAM(
        [{"params": parameters[:3], "lr": 0.0}, {"params": parameters[3:], "lr": 0.1}], spam=SPAM
    )
    before = weights(net)
    train(net, optimizer, 5)
    after = weights(net)
    assert same(before[:3], after[:3]) and not any(map(torch.equal, before[4:], after[4:]))


@pytest.mark.parametrize("fused", [False, True])
def test_grad_scaler_gives_what_unscaled_training_gives(make, fused):
    """Scaling by a power of two is exact, so the results are bit-equal."""
    results = []
    for scale in (1.0, 1024.0):
        net = model()
        optimizer = make(net, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1000)
        for step in range(8):
            backward(net, step, float(scaler.scale(torch.ones(()))))
            pruner = getattr(optimizer, "pruner", None)
            apply_update(optimizer, lr=1e-3, grad_clip=1.0, scaler=scaler, pruner=pruner)
        results.append(weights(net))
    assert same(*results)


@pytest.mark.parametrize("fused", [False, True])
def test_a_grad_scaler_that_was_not_asked_to_unscale(make, fused):
    """It leaves that to a fused kernel, but spikes are judged on unscaled gradients."""
    results = []
    for scale in (1.0, 65536.0):
        net = model()
        optimizer = make(net, fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1000)
        for step in range(8):
            optimizer.zero_grad()
            backward(net, step, scale)
            scaler.scale(torch.ones(()))
            scaler.step(optimizer)
            scaler.update()
        results.append(weights(net))
    assert same(*results)


def test_movement_under_a_grad_scaler_is_that_of_true_gradients():
    memories = []
    for scale in (1.0, 65536.0):
        net = model()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, fused=True)
        pruner = Pruner(prunable(net), PLAN, score="movement")
        pruner.attach(optimizer)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        backward(net, 0, float(scaler.scale(torch.ones(()))))
        scaler.step(optimizer)
        memories.append(list(pruner.memory.values()))
    assert same(*memories) and memories[0][0].any()


def test_sparse_gradients_are_unscaled_as_dense_ones_are():
    """The scale is taken from the optimizer, so no gradient may be left undivided."""
    table, dense = nn.Embedding(4, 2, sparse=True), nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([table.weight, dense], lr=0.1)
    (table(torch.tensor([1, 1])).sum() * 8.0).backward()
    dense.grad = torch.full((3,), 8.0)
    optimizer.grad_scale = torch.tensor(8.0)
    on_gradients(lambda: None, (optimizer,), {})
    assert optimizer.grad_scale is None
    assert table.weight.grad.to_dense()[1].tolist() == [2.0, 2.0]
    assert dense.grad.tolist() == [1.0, 1.0, 1.0]


def test_float16_gradients_are_not_unscaled():
    """A quotient below 6e-5 loses digits in float16, and one below 3e-8 becomes zero."""
    p = nn.Parameter(torch.ones(3, dtype=torch.float16))
    optimizer = AdamWSPAM([p], spam=SPAM, fused=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
    p.grad = torch.ones(3, dtype=torch.float16)
    scaler.scale(torch.ones(()))
    with pytest.raises(ValueError, match="float16 gradients become zero when they are unscaled"):
        scaler.step(optimizer)
    assert p.grad.eq(1.0).all() and p.eq(1.0).all()


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_with_an_infinite_gradient_is_skipped_by_the_scaler(make, fused):
    net = model()
    optimizer = make(net, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    pruner = getattr(optimizer, "pruner", None)

    def step(i, spike=0.0):
        backward(net, i, float(scaler.scale(torch.ones(()))))
        net[0].weight.grad[0, 0] += spike
        apply_update(optimizer, lr=1e-3, grad_clip=1.0, scaler=scaler, pruner=pruner)

    for i in range(6):
        step(i)
    before = weights(net)
    step(6, float("inf"))  # not an update of the masks: that was the last one
    assert same(before, weights(net)) and scaler.get_scale() == 2.0
    step(7)
    assert all(torch.isfinite(w).all() for w in weights(net))
    assert not same(before, weights(net))


@pytest.mark.parametrize("base", ["adamw", "adamwadv"])
def test_adamwprune_that_prunes_nothing_is_bit_equal_to_torch(base):
    net, other = model(), model()
    pruner = Pruner(prunable(net), Schedule(0.0, 100))
    train(net, AdamWPrune(net.parameters(), pruner, base=base, fused=True), 9)
    reference = torch.optim.AdamW(other.parameters(), amsgrad=base == "adamwadv", fused=True)
    train(other, reference, 9)
    assert same(weights(net), weights(other))


@pytest.mark.parametrize("base", ["adamw", "adamwadv", "adamwspam"])
def test_adamwprune_is_its_base_with_a_pruner(base):
    net, other = model(), model()
    train(net, prune(net, base=base, spam=SPAM), 9)
    pruner = Pruner(prunable(other), PLAN)
    options = {"lr": 1e-3, "weight_decay": 0.01}
    if base == "adamwspam":
        attached = AdamWSPAM(other.parameters(), spam=None, **options)
        pruner.attach(attached)
        attached.tame_by(SPAM)
    else:
        attached = torch.optim.AdamW(other.parameters(), amsgrad=base == "adamwadv", **options)
        pruner.attach(attached)
    train(other, attached, 9)
    assert pruner.pruned == round(0.5 * (30 + 15))
    assert same(weights(net), weights(other))


def test_a_plain_step_prunes_as_apply_update_does():
    net, other = model(), model()
    train(net, prune(net), 9)
    optimizer = prune(other)
    for step in range(9):
        backward(other, step)
        apply_update(optimizer, lr=1e-3, grad_clip=0.0, pruner=optimizer.pruner)
    assert same(weights(net), weights(other))


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
@pytest.mark.parametrize("kind", ["prune", "prune-spam", "prune-stable"])
def test_a_gradient_of_a_pruned_weight_may_be_anything(kind, bad):
    """It is masked, although 0·inf is NaN."""
    net = model()
    optimizer = OURS[kind](net)
    train(net, optimizer, 7)
    backward(net, 7)
    pruner = optimizer.pruner
    net[0].weight.grad[pruner.masks["0.weight"] == 0] = bad
    assert apply_update(optimizer, lr=1e-3, grad_clip=1.0, pruner=pruner).isfinite()
    assert all(p.isfinite().all() for p in net.parameters())
    pruner.verify()


def test_unknown_base():
    with pytest.raises(ValueError, match="base 'sgd' is unknown: adamw, adamwadv, adamwspam"):
        prune(model(), base="sgd")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_biases_and_norms_never_decay(name):
    net = model()
    pruner = Pruner(prunable(net), PLAN) if name == "adamwprune" else None
    optimizer = build_optimizer(
        net,
        name,
        lr=0.1,
        weight_decay=0.5,
        momentum=0.9,
        betas=(0.9, 0.99),
        eps=1e-8,
        pruner=pruner,
    )
    decay = {p: g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert {n: decay[p] for n, p in net.named_parameters()} == {
        **dict.fromkeys(("0.bias", "2.weight", "2.bias", "3.bias"), 0.0),
        **dict.fromkeys(("0.weight", "3.weight"), 0.5),
    }
    assert describe_decay(optimizer) == (
        "weight decay: 0.5 on 45 parameters in 2 tensors, 0 on 18 parameters in 4 tensors"
    )
