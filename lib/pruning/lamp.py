# SPDX-License-Identifier: MIT
"""Layer-adaptive magnitude (Lee et al. 2021, arXiv:2010.07611).

    score(u) = w_u² / Σ w_v² over the v of the same layer with |w_v| ≥ |w_u|

Within a layer it ranks like magnitude. Between layers, a weight competes by its share of what would
be left if it was the next to go: the largest of each layer scores 1, so that no layer vanishes.
"""

import sys

import numpy as np
import torch
from torch import Tensor


def layer_adaptive(w: Tensor) -> Tensor:
    """The scores of one whole layer `w`, float32, 1-D: in [0, 1], equal where |w| is.

    Zero where w is, NaN where w or a larger one is not finite. Needs 40 bytes a weight meanwhile.
    """
    sizes = w.abs()
    ascending, order = sizes.sort()
    # On the CPU, where numbers are added in their order: a GPU's order, and so the sum, varies.
    ranked = torch.from_numpy(_ranked(ascending.cpu().numpy()))
    sizes[order] = ranked.to(w.device)
    return sizes


def _ranked(ascending: np.ndarray) -> np.ndarray:
    """The scores of these sizes."""
    squares = np.square(ascending, dtype=np.float64)
    rest = np.cumsum(squares[::-1])[::-1]
    np.maximum(rest, sys.float_info.min, out=rest)  # 0 in a layer of zeros
    with np.errstate(invalid="ignore"):  # inf/inf: the selection names the layer
        scores = np.divide(squares, rest, out=squares).astype(np.float32)
    # Of equal sizes, the first has all of them in its sum.
    scores[1:][ascending[1:] == ascending[:-1]] = 0.0
    return np.maximum.accumulate(scores, out=scores)
