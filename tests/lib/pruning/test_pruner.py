# SPDX-License-Identifier: MIT
"""The Pruner on small networks: exact counts, zeros that stay zero, masks in checkpoints."""

import copy

import pytest
import torch
from torch import nn

from lib.optim import build_optimizer
from lib.optim.adamwspam import Spam
from lib.optim.update import apply_update
from lib.pruning.budgets import SCOPES
from lib.pruning.pruner import Pruner
from lib.pruning.schedules import Schedule
from lib.pruning.scores import SCORES
from lib.pruning.select import ScoreError
from lib.pruning.targets import prunable

STEPS = 24
# Resets and warm-up within the few steps of a test.
SPAM = Spam(reset_every=7, grace=2, warmup=3)
OPTIMIZERS = [
    ("sgd", {"momentum": 0.9}),
    ("adam", {}),
    ("adamw", {}),
    ("adamwadv", {}),
    ("adamwspam", {"spam": SPAM}),
    ("adamwspam", {"spam": Spam(reset_every=7, warmup=3, stable=True)}),
    ("adamwprune", {"base": "adamw"}),
    ("adamwprune", {"base": "adamwadv"}),
    ("adamwprune", {"base": "adamwspam", "spam": SPAM}),
]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4)
    )


def plan(target=0.8, **changes) -> Schedule:
    return Schedule(
        target, STEPS, **{"start": 3, "end": 15, "frequency": 3, "regrowth": 0.0, **changes}
    )


def optimizer_for(model, pruner, name="adamw", **options):
    options = {"betas": (0.9, 0.99), "eps": 1e-8, **options}
    if name == "sgd":
        options = {"momentum": 0.9}
    return build_optimizer(model, name, lr=0.01, weight_decay=0.1, pruner=pruner, **options)


def train(model, optimizer, pruner, steps=STEPS, start=0, clip=1.0, on_step=None) -> None:
    for step in range(start, steps):
        torch.manual_seed(1000 + step)
        x, y = torch.randn(16, 1, 6, 6), torch.randint(0, 4, (16,))
        nn.functional.cross_entropy(model(x), y).backward()
        apply_update(optimizer, lr=0.01, grad_clip=clip, pruner=pruner)
        if on_step:
            on_step(step + 1)


def assert_resumes(fresh, stop: int) -> None:
    """A training that goes on in other objects ends bit-equal. fresh: model, optimizer, pruner."""
    whole, stopped, resumed = fresh(), fresh(), fresh()
    train(*whole)
    train(*stopped, steps=stop)
    for before, after in zip(stopped[:2], resumed[:2], strict=True):  # model, optimizer
        after.load_state_dict(copy.deepcopy(before.state_dict()))
    train(*resumed, start=stop)
    for name, weight in whole[0].state_dict().items():
        assert weight.equal(resumed[0].state_dict()[name]), name
    assert all(mask.equal(resumed[2].masks[name]) for name, mask in whole[2].masks.items())


def moments(optimizer, weight):
    state = optimizer.state[weight].values()
    return [t for t in state if torch.is_tensor(t) and t.shape == weight.shape]


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_exactly_k_are_zero_and_stay_zero(name, options):
    """Through momentum, decay, SPAM's resets and AMSGrad's maximum; monotone."""
    model = network()
    score = "magnitude" if name == "sgd" else "bitter7"
    pruner = Pruner(prunable(model), plan(), score=score)
    optimizer = optimizer_for(model, pruner, name, **options)
    n, before = 36 + 1024 + 64, {}

    def check(step):
        k = sum(int((mask == 0).sum()) for mask in pruner.masks.values())
        done = max((s for s in range(step + 1) if pruner.schedule.due(s)), default=0)
        assert (k, pruner.total) == (round(pruner.schedule.sparsity_at(done) * n), n)
        assert pruner.sparsity == k / n
        for layer, weight in pruner.weights.items():
            dead = pruner.masks[layer] == 0
            assert not weight[dead].any()
            assert not any(t[dead].any() for t in moments(optimizer, weight))
            if layer in before:
                assert dead[before[layer]].all(), "a pruned weight came back"
            before[layer] = dead
        pruner.verify()

    train(model, optimizer, pruner, on_step=check)
    assert pruner.pruned == round(0.8 * n)


@pytest.mark.parametrize("score", SCORES)
def test_every_score_prunes_to_the_target(score):
    model = network()
    pruner = Pruner(prunable(model), plan(), score=score)
    train(model, optimizer_for(model, pruner), pruner)
    assert pruner.pruned == round(0.8 * pruner.total)
    pruner.verify()


@pytest.mark.parametrize(("power", "score"), [(0.0, "magnitude"), (0.25, "bitter7")])
def test_powers_that_have_a_name(power, score):
    """Bit-equal: a table over p contains the scores that are in the other tables."""
    found = []
    for options in ({"score": score}, {"score": "v-power", "score_power": power}):
        model = network()
        pruner = Pruner(prunable(model), plan(regrowth=0.3), **options)
        train(model, optimizer_for(model, pruner), pruner)
        found.append([*model.state_dict().values(), *pruner.masks.values()])
    assert all(a.equal(b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("pattern", ["unstructured", "channel"])
def test_scopes_and_patterns(scope, pattern):
    model = network()
    pruner = Pruner(prunable(model), plan(0.5), scope=scope, pattern=pattern)
    train(model, optimizer_for(model, pruner), pruner)
    if pattern == "channel":
        rows = [mask.flatten(1) for mask in pruner.masks.values()]
        assert all(row.amax(1).equal(row.amin(1)) for row in rows)  # all of a channel or nothing
        assert sum(int((row.amax(1) == 0).sum()) for row in rows) == round(0.5 * (4 + 16 + 4))
    else:
        assert pruner.pruned == round(0.5 * pruner.total)
    if scope == "layer" and pattern == "unstructured":
        assert [row["pruned"] for row in pruner.layers()] == [18, 512, 32]


@pytest.mark.parametrize("score", ["magnitude", "v-power", "bitter9"])  # the last has negative ones
def test_two_of_four_along_the_input(score):
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(128, 4))
    weights = prunable(model)
    pruner = Pruner(weights, Schedule(0.5, 10, start=2, end=4), pattern="2to4", score=score)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    pruner.attach(optimizer)
    for _ in range(5):
        model(torch.randn(8, 4, 6, 6)).square().mean().backward()
        apply_update(optimizer, lr=0.1, grad_clip=0.0, pruner=pruner)
        fours = [m.movedim(1, -1).reshape(-1, 4).sum(1) for m in pruner.masks.values()]
        assert all(((kept == 2) | (kept == 4)).all() for kept in fours)
    assert all((kept == 2).all() for kept in fours)
    assert pruner.sparsity == 0.5


def test_two_of_four_needs_inputs_in_fours():
    with pytest.raises(ValueError, match=r"0.weight: 2:4 .* multiple of four, not 1"):
        Pruner(prunable(network()), plan(0.5), pattern="2to4")


def test_two_of_four_cannot_go_beyond_a_half():
    with pytest.raises(ValueError, match=r"at most 0\.5"):
        Pruner(prunable(nn.Linear(8, 4)), plan(0.6), pattern="2to4")


def test_the_norm_is_that_of_the_masked_gradient():
    model = network()
    pruner = Pruner(prunable(model), plan())
    optimizer = optimizer_for(model, pruner)
    train(model, optimizer, pruner)
    model(torch.randn(4, 1, 6, 6)).square().sum().backward()
    masked = [
        p.grad * pruner.masks[n] if n in pruner.masks else p.grad
        for n, p in model.named_parameters()
    ]
    expected = torch.linalg.vector_norm(torch.cat([g.flatten() for g in masked]))
    assert apply_update(optimizer, lr=0.01, grad_clip=1.0, pruner=pruner).allclose(expected)


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_alternating_phases(name, options):
    """Exactly k are zero, with their state, in a sparse phase; in a dense one all are trained."""
    model = network()
    schedule = plan(ramp="alternating", end=18, frequency=5)  # sparse from 8 to 12, and from 18 on
    score = "magnitude" if name == "sgd" else "bitter7"
    pruner = Pruner(prunable(model), schedule, score=score)
    optimizer = optimizer_for(model, pruner, name, **options)
    in_phase = {}

    def check(step):
        sparse = 8 <= step < 13 or step >= 18
        assert pruner.pruned == (round(0.8 * pruner.total) if sparse else 0)
        assert pruner.done == (step >= 18)
        pruner.verify()
        if step in (8, 18):
            in_phase.update({layer: mask == 0 for layer, mask in pruner.masks.items()})
        for layer, weight in pruner.weights.items():
            if sparse:
                assert (pruner.masks[layer] == 0).equal(in_phase[layer])
                assert not any(t[in_phase[layer]].any() for t in moments(optimizer, weight))
        if step == 17:
            # Not all of them, because those of dead units have no gradient.
            assert all(w[in_phase[n]].any() for n, w in pruner.weights.items())

    train(model, optimizer, pruner, on_step=check)


@pytest.mark.parametrize("pattern", ["channel", "2to4"])
def test_alternating_patterns(pattern):
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
    schedule = Schedule(0.5, 12, start=2, end=10, frequency=2, ramp="alternating")
    pruner = Pruner(prunable(model), schedule, score="magnitude", pattern=pattern)
    pruner.attach(torch.optim.SGD(model.parameters(), lr=0.1))
    found = []
    for _ in range(10):
        model(torch.randn(8, 8)).square().mean().backward()
        pruner._optimizer.step()
        found.append(pruner.pruned > 0)
    assert found == [False] + 2 * [True, True, False, False] + [True]
    if pattern == "2to4":
        assert pruner.sparsity == 0.5


@pytest.mark.parametrize("stop", [9, 14, 20])  # in a sparse phase, in a dense one, after the last
def test_resume_in_any_phase_is_bit_equal(stop):
    def fresh():
        model = network()
        schedule = plan(ramp="alternating", end=18, frequency=5)
        pruner = Pruner(prunable(model), schedule, score="bitter9")
        return model, optimizer_for(model, pruner), pruner

    assert_resumes(fresh, stop)


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
@pytest.mark.parametrize("stop", [2, 8, 20])
def test_resume_is_bit_equal(name, options, stop, tmp_path):
    def fresh():
        model = network()
        score = "movement" if name == "sgd" else "bitter9"
        pruner = Pruner(prunable(model), plan(regrowth=0.3), score=score)
        return model, optimizer_for(model, pruner, name, **options), pruner

    model, optimizer, pruner = fresh()
    train(model, optimizer, pruner, steps=stop)
    torch.save([model.state_dict(), optimizer.state_dict()], tmp_path / "checkpoint.pt")
    train(model, optimizer, pruner, start=stop)

    other, other_optimizer, other_pruner = fresh()
    weights, state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    other.load_state_dict(weights)
    other_optimizer.load_state_dict(state)
    assert other_pruner.step == stop
    train(other, other_optimizer, other_pruner, start=stop)

    for name_, weight in model.state_dict().items():
        assert weight.equal(other.state_dict()[name_]), name_
    for layer, mask in pruner.masks.items():
        assert mask.equal(other_pruner.masks[layer])


@pytest.mark.parametrize("score", ["lamp", "v-power"])
def test_resume_by_other_scores_is_bit_equal(score):
    def fresh():
        model = network()
        power = 0.5 if score == "v-power" else None
        pruner = Pruner(prunable(model), plan(regrowth=0.3), score=score, score_power=power)
        return model, optimizer_for(model, pruner), pruner

    assert_resumes(fresh, 8)


def test_masks_are_packed_in_the_state_dict():
    model = network()
    pruner = Pruner(prunable(model), plan())
    optimizer = optimizer_for(model, pruner)
    masks = optimizer.state_dict()["pruner"]["masks"]
    assert sum(bits.numel() for bits in masks.values()) == (36 + 7) // 8 + 1024 // 8 + 64 // 8


def test_state_of_an_unpruned_run_and_of_other_weights_is_refused():
    model = network()
    dense = optimizer_for(model, None).state_dict()
    optimizer = optimizer_for(model, Pruner(prunable(model), plan()))
    with pytest.raises(ValueError, match="no pruning masks: its run was not pruned"):
        optimizer.load_state_dict(dense)
    state = optimizer.state_dict()
    other = optimizer_for(model, Pruner(prunable(model, exempt_last=True), plan()))
    with pytest.raises(ValueError, match=r"masks belong to other weights: 5.weight"):
        other.load_state_dict(state)


def test_state_pruning_keeps_one_byte_a_weight_and_movement_four_more():
    def bytes_of(score):
        pruner = Pruner(prunable(network()), plan(), score=score)
        kept = [*pruner.masks.values(), *pruner.memory.values()]
        return sum(t.numel() * t.element_size() for t in kept) / pruner.total

    assert {score: bytes_of(score) for score in SCORES} == {
        score: 5.0 if score.startswith("movement") else 1.0 for score in SCORES
    }


def test_regrowth_exchanges_weights_at_constant_sparsity():
    model = network()
    pruner = Pruner(prunable(model), plan(0.5, regrowth=0.4), score="magnitude")
    optimizer = optimizer_for(model, pruner)
    revived = 0
    masks = {}

    def check(step):
        nonlocal revived
        if masks and step > 15:
            assert pruner.pruned == round(0.5 * pruner.total)
        revived += sum(int((pruner.masks[n] > masks[n]).sum()) for n in masks)
        masks.update(copy.deepcopy(pruner.masks))
        pruner.verify()

    train(model, optimizer, pruner, on_step=check)
    assert revived > 0


def test_regrown_are_those_with_the_largest_dense_gradient():
    layer = nn.Linear(8, 1, bias=False)
    pruner = Pruner(
        prunable(layer), Schedule(0.5, 3, start=1, end=1, regrowth=0.9), score="magnitude"
    )
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
    pruner.attach(optimizer)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2, 3, 4, 5, 6, 7, 8]]))
    layer.weight.grad = torch.tensor([[0.1, 9.0, -8.0, 0.2, 99.0, 99.0, 99.0, 99.0]])
    # Kept 4, of which round(4·0.9·(1 + cos π/3)/2) = 3 go: 5, 6, 7. Grown: |9|, |8| and |0.2|.
    optimizer.step()
    assert pruner.masks["weight"].tolist() == [[0, 1, 1, 1, 0, 0, 0, 1]]


def test_scores_without_state_name_the_layer():
    model = network()
    pruner = Pruner(prunable(model), Schedule(0.5, 9, start=1, end=1))
    optimizer = optimizer_for(model, pruner)
    with pytest.raises(ScoreError, match=r"0.weight: the optimizer has no exp_avg_sq .* no step"):
        train(model, optimizer, pruner, steps=1)


def test_nan_in_the_state_names_the_layer():
    model = network()
    pruner = Pruner(prunable(model), plan(ramp="one-shot"))
    optimizer = optimizer_for(model, pruner)
    train(model, optimizer, pruner, steps=2)
    optimizer.state[model[3].weight]["exp_avg_sq"][0, 0] = float("nan")
    with pytest.raises(ScoreError, match=r"3.weight: 1 of its scores are infinite or NaN"):
        train(model, optimizer, pruner, start=2)


def test_verify_finds_a_revived_weight():
    model = network()
    pruner = Pruner(prunable(model), plan())
    train(model, optimizer_for(model, pruner), pruner)
    with torch.no_grad():
        model[3].weight.add_(1.0)
    with pytest.raises(RuntimeError, match=r"3.weight: \d+ pruned weights are not zero"):
        pruner.verify()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": "bitter10"}, "score 'bitter10' is unknown: magnitude"),
        ({"scope": "local"}, "scope 'local' is unknown: global"),
        ({"pattern": "1to4"}, "pattern '1to4' is unknown: unstructured"),
    ],
)
def test_unknown_names(changes, message):
    with pytest.raises(ValueError, match=message):
        Pruner(prunable(network()), plan(), **changes)


def test_state_scores_need_an_adam():
    model = network()
    with pytest.raises(ValueError, match="exp_avg_sq, which SGD does not keep"):
        optimizer_for(model, Pruner(prunable(model), plan()), "sgd")


def test_the_optimizer_must_train_the_weights():
    model = network()
    optimizer = torch.optim.AdamW(model[0].parameters())
    with pytest.raises(ValueError, match=r"does not train 3.weight, 5.weight"):
        Pruner(prunable(model), plan()).attach(optimizer)


def test_nothing_is_exchanged_by_a_gradient_that_is_not_finite():
    layer = nn.Linear(4, 1, bias=False)
    schedule = Schedule(0.5, 3, start=1, end=1, regrowth=0.9)
    pruner = Pruner(prunable(layer), schedule, score="magnitude")
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
    pruner.attach(optimizer)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2, 3, 4]]))
    layer.weight.grad = torch.tensor([[9.0, 9.0, float("inf"), 0.0]])
    pruner.prepare()
    assert pruner.masks["weight"].tolist() == [[0, 0, 1, 1]]


def test_regrowth_without_a_gradient_names_the_layer():
    layer = nn.Linear(4, 1, bias=False)
    schedule = Schedule(0.5, 3, start=1, end=1, regrowth=0.9)
    pruner = Pruner(prunable(layer), schedule, score="magnitude")
    pruner.attach(torch.optim.SGD(layer.parameters(), lr=0.1))
    with pytest.raises(ScoreError, match="weight: regrowth needs a gradient, and there is none"):
        pruner.prepare()
