# SPDX-License-Identifier: MIT
"""Which weights count as prunable.

All weights of Linear and Conv2d layers, in the order of the model. Biases and norms never;
embeddings, and heads whose weight is an embedding's, only when asked. A weight that several
layers share counts once, under the name it has first.
"""

from torch import nn
from torch.nn import Parameter


def prunable(
    model: nn.Module,
    *,
    exempt_first: bool = False,
    exempt_last: bool = False,
    embeddings: bool = False,
) -> dict[str, Parameter]:
    """Name → weight. `exempt_first` and `exempt_last` leave out the first and the last of them.

    Raises ValueError when nothing is left.
    """
    embedded = {m.weight for m in model.modules() if isinstance(m, nn.Embedding)}
    kinds = (nn.Linear, nn.Conv2d, nn.Embedding) if embeddings else (nn.Linear, nn.Conv2d)
    found: dict[Parameter, str] = {}
    for name, module in model.named_modules():
        if isinstance(module, kinds) and (embeddings or module.weight not in embedded):
            found.setdefault(module.weight, f"{name}.weight" if name else "weight")
    weights = {name: weight for weight, name in found.items() if weight.requires_grad}
    names = list(weights)[int(exempt_first) : len(weights) - int(exempt_last)]
    if not names:
        raise ValueError(
            f"{type(model).__name__} has no prunable weight: {len(weights)} Linear or Conv2d "
            "weights were found, before the first and the last were exempted"
        )
    return {name: weights[name] for name in names}
