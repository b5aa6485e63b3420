# SPDX-License-Identifier: MIT
"""AdamWPrune: AdamW that prunes the model from its own state while it trains.

    pruner = Pruner(prunable(model), Schedule(0.9, total_steps=1000, end=700, frequency=10))
    optimizer = AdamWPrune(model.parameters(), pruner, lr=0.001)
    …
    loss.backward()
    optimizer.step()

It is AdamW, AdamW with AMSGrad, or AdamWSPAM with a Pruner attached (lib/pruning/pruner.py), and
gives the same results as these, bit for bit.
"""

from typing import Any

from ..pruning.pruner import Pruner
from .adamwspam import AdamWSPAM, Spam

BASES = ("adamw", "adamwadv", "adamwspam")


class AdamWPrune(AdamWSPAM):
    """AdamW with `pruner` attached.

    base: one of BASES; spam: for the base adamwspam; further arguments are torch.optim.AdamW's.
    Raises ValueError for an unknown base, and what Pruner.attach raises.
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
        pruner.attach(self)  # before SPAM, which then sees masked gradients
        if base == "adamwspam":
            self.tame_by(spam)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "pruner": self.pruner}
