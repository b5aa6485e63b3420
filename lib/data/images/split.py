# SPDX-License-Identifier: MIT
"""Dividing labelled examples into two parts, each class in the same proportion."""

import numpy as np
import torch
from torch import Tensor

from ...errors import BadUse
from ..batches import Stream, generator


def hold_out(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """(indices that stay, indices held out), both ascending; a pure function of the arguments.

    `fraction` of each class in `labels` [n] is held out, rounded, chosen at random by `seed`.
    """
    random = generator(Stream.SPLIT, seed)
    held = np.zeros(len(labels), dtype=bool)
    for label in torch.unique(labels):
        members = random.permutation(torch.nonzero(labels == label).flatten().numpy())
        held[members[: round(fraction * len(members))]] = True
    return torch.from_numpy(np.flatnonzero(~held)), torch.from_numpy(np.flatnonzero(held))


def training_and_validation(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """As `hold_out`, for VAL_FRACTION. Raises BadUse when nothing is left on one of the sides."""
    train, val = hold_out(labels, fraction, seed)
    if not len(val) or not len(train):
        raise BadUse(
            f"a validation share of {fraction} leaves {len(train)} training and {len(val)} "
            f"validation images of {len(labels)}; neither can be 0"
        )
    return train, val
