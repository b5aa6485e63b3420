# SPDX-License-Identifier: MIT
"""One training of benchmarks/pruning_quality.py: the networks, the methods, and the steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.pruning_tables import DENSE, Cell
from lenet5.model import LeNet5
from lib.config.settings import Settings, load_settings
from lib.data.images.datasets import ImageData, Images
from lib.data.images.from_settings import images_from_settings
from lib.optim.from_settings import optimizer_from_settings, schedule_from_settings
from lib.optim.update import apply_update
from lib.pruning.ranking import scored
from lib.pruning.scores import SCORES
from lib.pruning.targets import prunable
from resnet50.prepare import build_model

STATE_SCORES = tuple(name for name in SCORES if name.startswith("bitter"))


class Network(NamedTuple):
    """What is pruned: the folder of a model and flags of its train.py, beside its defconfig.

    `build` makes it from the settings and the number of classes, for images of these `channels`.
    """

    model: str
    channels: int
    build: Callable[[Settings, int], nn.Module]
    flags: tuple[str, ...] = ()


NETWORKS = {
    network.model: network
    for network in (
        Network("lenet5", 1, lambda _, classes: LeNet5(classes)),
        # With the 16 channels of its defconfig it loses nothing at 98 %, by any method.
        Network("resnet50", 3, build_model, ("--resnet-width", "8")),
    )
}


class Method(NamedTuple):
    """A row of the table: flags of train.py, and a factor on the length of training."""

    flags: tuple[str, ...]
    longer: float = 1.0


_STATE = ("--pruning-method", "state", "--pruning-score")

METHODS: dict[str, Method] = {
    "magnitude": Method(("--pruning-method", "magnitude")),
    "movement": Method(("--pruning-method", "movement")),
    "movement-from-start": Method(("--pruning-method", "movement-from-start")),
    **{name: Method((*_STATE, name)) for name in STATE_SCORES},
    **{
        f"v-power {p}": Method((*_STATE, "v-power", "--pruning-score-power", str(p)))
        for p in (0.125, 0.5)
    },
    "lamp": Method(("--pruning-method", "lamp")),
    "GraNet-style": Method(("--pruning-method", "magnitude", "--regrowth", "0.5")),
    "AC/DC": Method(("--pruning-method", "magnitude", "--pruning-schedule", "alternating")),
    "magnitude, erk": Method(("--pruning-method", "magnitude", "--pruning-scope", "erk")),
    # The original bitter2 is magnitude with more steps; not comparable with the other rows.
    "bitter2, 1.21× the steps": Method(
        ("--pruning-method", "state", "--pruning-score", "bitter2"), longer=1.21
    ),
}


def settings_of(network: Network, cell: Cell) -> tuple[Settings, float]:
    """The settings of a training and the factor on its length."""
    method = METHODS.get(cell.method, Method(()))
    flags = ["--config", f"defconfigs/{network.model}-digits", *network.flags, *method.flags]
    if method.flags:
        flags += ["--target-sparsity", str(cell.sparsity)]
    flags += ["--seed", str(cell.seed), "--num-epochs", str(cell.epochs), "--device", "cpu"]
    return load_settings(network.model, flags), method.longer


def train(name: str, cell: Cell) -> dict[str, Any]:
    """One training of the network `name`: {"accuracy", "sparsity", "steps"}.

    For the dense network "correlations" as well.
    """
    network = NETWORKS[name]
    settings, longer = settings_of(network, cell)
    torch.set_num_threads(1)
    torch.manual_seed(settings.SEED)
    data = images_from_settings(settings, channels=network.channels)
    total_steps = round(longer * cell.epochs * (len(data.train) // settings.BATCH_SIZE))
    model = network.build(settings, len(data.classes))
    optimizer, sparsity = fit(settings, model, data.train, total_steps)
    result = {
        "accuracy": accuracy(model, data),
        "sparsity": sparsity,
        "steps": total_steps,
    }
    if cell.method == DENSE:
        result["correlations"] = correlations(model, optimizer)
    return result


def fit(
    settings: Settings, model: nn.Module, images: Images, total_steps: int
) -> tuple[torch.optim.Optimizer, float]:
    """Train `model`; returns its optimizer and its sparsity."""
    optimizer, pruner = optimizer_from_settings(settings, model, total_steps)
    learning_rate = schedule_from_settings(settings, total_steps)
    whole = slice(0, settings.BATCH_SIZE)
    batches = images.training(((step, whole) for step in range(total_steps)), settings.BATCH_SIZE)
    for step, (x, y) in enumerate(batches):
        F.cross_entropy(model(x), y).backward()
        lr = learning_rate(step)
        apply_update(optimizer, lr=lr, grad_clip=settings.GRAD_CLIP, pruner=pruner)
    return optimizer, pruner.metrics().get("sparsity", 0.0)


@torch.inference_mode()
def accuracy(model: nn.Module, data: ImageData) -> float:
    """The share of the images never trained on that are classified rightly."""
    model.eval()
    right, unseen = 0, [data.val, data.test]
    for images in unseen:
        for x, y in images.in_order([slice(0, len(images))]):
            right += int((model(x).argmax(1) == y).sum())
    return right / sum(len(images) for images in unseen)


def correlations(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """Spearman's rank correlation with |w| over all prunable weights, for each state score."""
    weights = prunable(model)
    groups = {p: group for group in optimizer.param_groups for p in group["params"]}
    magnitude = torch.cat([w.detach().abs().flatten() for w in weights.values()])
    found = {}
    for name in STATE_SCORES:
        parts = []
        for layer, w in weights.items():
            mask = torch.ones(w.shape, dtype=torch.uint8)
            state, group = optimizer.state[w], groups[w]
            item = scored(layer, w, mask, SCORES[name], state=state, param_group=group)
            parts.append(item.score(0, w.numel()))
        found[name] = spearman(torch.cat(parts), magnitude)
    return found


def spearman(a: torch.Tensor, b: torch.Tensor) -> float:
    """Pearson's correlation of the ranks of two 1-D tensors; ties in the order they come."""
    ranks = torch.stack([x.argsort(stable=True).argsort() for x in (a, b)]).double()
    return float(torch.corrcoef(ranks)[0, 1])
