# SPDX-License-Identifier: MIT
"""The weights in the contents of a checkpoint, and the masks of a pruned training.

weights, masks = trained_weights(checkpoint.load("outputs/training/RUN/checkpoints/last.pt"))
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ...errors import Failure
from ...pruning.masks import unpack
from ...pruning.pruner import KEY

AVERAGE = "ema_state_dict"  # the running mean of the weights, if there is one (EMA_DECAY)
IS_AVERAGE = "the weights are their running mean over the training (EMA_DECAY)"


def evaluated_weights(state: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """The weights that evaluations measured: their running mean, if there is one.

    Raises KeyError when the state is not that of a training.
    """
    trained = state["model_state_dict"]
    return state.get(AVERAGE, trained)


def trained_weights(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(weights, masks) by name: `evaluated_weights`, the masks folded into them.

    masks: bool, of the pruned layers only; empty for a run that pruned nothing. Raises Failure when
    the state is not that of a training.
    """
    try:
        weights = {name: tensor.clone() for name, tensor in evaluated_weights(state).items()}
        packed = state.get("optimizer_state_dict", {}).get(KEY, {}).get("masks", {})
        masks = {name: unpack(bits, weights[name].shape).bool() for name, bits in packed.items()}
    except (KeyError, AttributeError, ValueError) as error:
        raise Failure(f"not the checkpoint of a training: {error!r}") from error
    for name, mask in masks.items():
        weights[name].masked_fill_(~mask, 0.0)
    return weights, masks
