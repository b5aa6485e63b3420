# SPDX-License-Identifier: MIT
"""AdamWPrune: AdamW that prunes the model from its own state while it trains.

    pruner = Pruner(prunable(model), Schedule(0.9, total_steps=1000, end=700, frequency=10))
    optimizer = AdamWPrune(model.parameters(), pruner, lr=0.001)
    …
    loss.backward()
    optimizer.step()

It is one of three optimizers with a Pruner attached (lib/pruning/pruner.py), and takes and gives
bit for bit the same as these: adamw, adamwadv (AMSGrad) or adamwspam.
"""

from typing import Any

from lib.optim.adamwspam import AdamWSPAM, Spam
from lib.pruning.pruner import Pruner

BASES = ("adamw", "adamwadv", "adamwspam")


class AdamWPrune(AdamWSPAM):
    """`base` is one of BASES, `spam` for adamwspam; other arguments as torch.optim.AdamW.

    Raises ValueError for an unknown base, and as Pruner.attach does.
    """

    def __init__(
        self,
        params: Any,
        pruner: Pruner,
        *,
        base: str = "adamw",
        spam: Spam = Spam(),  # noqa: B008, frozen
        **adamw: Any,
    ):
        if base not in BASES:
            raise ValueError(f"base {base!r} is unknown: {', '.join(BASES)}")
        super().__init__(params, spam=None, amsgrad=base == "adamwadv", **adamw)
        self.pruner = pruner
        pruner.attach(self)  # first, so that norms and spikes are those of masked gradients
        if base == "adamwspam":
            self.tame_by(spam)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "pruner": self.pruner}
