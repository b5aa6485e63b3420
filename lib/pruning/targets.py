# SPDX-License-Identifier: MIT
"""Which weights are prunable.

The weights of Linear and Conv2d layers, or of others that are named, in the order of the model.
Biases and norms are never pruned; embeddings, and heads that share their weight with one, only on
request. A weight that several layers share counts once, under its first name.
"""

from torch import nn
from torch.nn import Parameter


def prunable(
    model: nn.Module,
    *,
    exempt_first: bool = False,
    exempt_last: bool = False,
    embeddings: bool = False,
    layers: tuple[type[nn.Module], ...] = (nn.Linear, nn.Conv2d),
) -> dict[str, Parameter]:
    """The prunable weights of `model` by name, in order, without those that are frozen.

    exempt_first, exempt_last: leave out the first, the last of them. embeddings: include
    embeddings. layers: the types of layers whose `weight` is pruned; some models of transformers
    have Conv1D in place of Linear. Raises ValueError when nothing is left.
    """
    embedded = {m.weight for m in model.modules() if isinstance(m, nn.Embedding)}
    kinds = (*layers, nn.Embedding) if embeddings else layers
    found: dict[Parameter, str] = {}
    for name, module in model.named_modules():
        if isinstance(module, kinds) and (embeddings or module.weight not in embedded):
            found.setdefault(module.weight, f"{name}.weight" if name else "weight")
    weights = {name: weight for weight, name in found.items() if weight.requires_grad}
    names = list(weights)[int(exempt_first) : len(weights) - int(exempt_last)]
    if not names:
        raise ValueError(
            f"{type(model).__name__} has no prunable weight: {len(weights)} weights of "
            f"{' or '.join(kind.__name__ for kind in kinds)} layers were found before the first or "
            "the last was exempted; `layers` names other types"
        )
    return {name: weights[name] for name in names}
