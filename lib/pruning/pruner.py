# SPDX-License-Identifier: MIT
"""The Pruner: masks for the weights of a model, attached to any torch.optim.Optimizer.

    pruner = Pruner(prunable(model), Schedule(0.9, total_steps=1000, end=700, frequency=10))
    pruner.attach(optimizer)
    …
    optimizer.step()        # prunes when the schedule says so, and keeps the pruned at zero

A step begins with the masks: when an update is due, the weights are ranked by score and the
smallest are set to zero, together with their optimizer state. Then the gradients are masked. Where
w = m = v = 0 a zero gradient changes nothing under SGD, Adam and decoupled decay, so between
updates only the gradients need masking. lib/optim/update.py calls `prepare` before it clips, so
that the norm is that of the masked gradient; a plain `optimizer.step()` calls it by itself.

The step and the masks, packed to bits, are part of `optimizer.state_dict()`.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import Parameter

from .budgets import SCOPES, budgets
from .masks import apply_mask, count
from .memory import accumulate, new_memory
from .patterns import PATTERNS, check_fits
from .ranking import scored, scored_units, units_pruned
from .regrowth import exchange
from .schedules import Schedule
from .scores import SCORES, score_of
from .select import prune_smallest
from .shards import totals, whole_shapes
from .slices import count_kept
from .state import checked, packed
from .step_hooks import attach_hooks, attached, on_gradients

KEY = "pruner"  # in the optimizer's state_dict


class Pruner:
    """Prunes `weights` (name → parameter, see lib/pruning/targets.py) along a schedule.

    score: a key of SCORES; score_power: the exponent of a score that has one. scope: one of SCOPES;
    scores with a ramp of their own ignore it. pattern: a key of PATTERNS. group: the process group
    over which the weights are sharded, each rank holding some rows (dim 0) of every weight, or
    none; None when each rank holds whole weights, as under DistributedDataParallel, where equal
    state gives equal masks without communication. Raises ValueError for unknown names, an exponent
    that the score does not have, scores of whole layers where weights are sharded, and when
    schedule, pattern and shapes do not fit together.

    Attributes: step, the number of steps begun; masks, uint8 by name, 1 = kept; total and pruned,
    numbers of weights over all ranks; sparsity, pruned / total, in [0, 1).
    """

    def __init__(
        self,
        weights: Mapping[str, Parameter],
        schedule: Schedule,
        *,
        score: str = "bitter7",
        score_power: float | None = None,
        scope: str = "global",
        pattern: str = "unstructured",
        group: dist.ProcessGroup | None = None,
    ):
        _check_known(score=(score, SCORES), scope=(scope, SCOPES), pattern=(pattern, PATTERNS))
        self.weights = dict(weights)
        self.schedule = schedule
        self.score = score_of(score, score_power)
        if self.score.whole and group is not None:
            raise ValueError(f"{score} needs whole layers, and their weights are sharded")
        self.scope = "ramp" if self.score.ramp else scope
        self.pattern = PATTERNS[pattern]
        self.group = group
        self.step = 0
        self.histogram: Tensor | None = None  # of the scores at the last update, see select.py
        self.masks = {
            name: torch.ones(weight.shape, dtype=torch.uint8, device=weight.device)
            for name, weight in self.weights.items()
        }
        self.memory = new_memory(self.score, self.weights)
        self._optimizer: torch.optim.Optimizer | None = None
        self._prepared = False
        self._incoming: dict[str, Any] | None = None  # a state that is being loaded
        self._companions: Mapping[Parameter, Tensor] = {}
        if self.pattern is not None:
            check_fits(self.pattern, self.weights, schedule)
        self._count()

    # ------------------------------------------------------------ the optimizer

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Prune in every `optimizer.step()`, and keep the masks in the optimizer's state_dict.

        Copies and pickles of the optimizer prune as well. Raises ValueError when the optimizer
        lacks the state that the score needs or does not train some of the weights, and when either
        of the two is attached already: every step would count twice.
        """
        kind = type(optimizer).__name__
        if self._optimizer is not None:
            raise ValueError(
                f"this pruner is attached to an {type(self._optimizer).__name__} already: "
                "each optimizer needs a Pruner of its own"
            )
        if attached(optimizer, Pruner):
            raise ValueError(f"another pruner is attached to this {kind} already")
        if self.score.state and not isinstance(optimizer, (torch.optim.Adam, torch.optim.AdamW)):
            raise ValueError(
                f"the score needs {' and '.join(self.score.state)}, which "
                f"{kind} does not keep: use an optimizer of the Adam family"
            )
        owned = {p for group in optimizer.param_groups for p in group["params"]}
        if missing := [name for name, weight in self.weights.items() if weight not in owned]:
            raise ValueError(f"the optimizer does not train {', '.join(missing)}")
        self._optimizer = optimizer
        attach_hooks(
            optimizer,
            step_pre=self._before_step,
            state_dict_post=self._save,
            load_state_dict_pre=self._before_load,
            load_state_dict_post=self._after_load,
        )

    def also_zero(self, companions: Mapping[Parameter, Tensor]) -> None:
        """From now on, zero these tensors where their weights are pruned, when the masks change.

        By weight, in its shape; others than the prunable weights may be among them.
        """
        self._companions = companions

    def prepare(self) -> None:
        """Begin a step: update the masks if an update is due, and mask the gradients.

        Called before `optimizer.step()`, with unscaled gradients, or else by it. Raises ScoreError
        as `update` does, and RuntimeError when the optimizer no longer trains the weights.
        """
        self._follow()
        self.step += 1
        if self.schedule.due(self.step):
            self.update()
        self.mask_gradients()
        self._prepared = True

    def _follow(self) -> None:
        """Bring masks and memory to the device of the weights, which may have moved since.

        Frameworks take the model to its device after the optimizer was made, or put other
        parameters in the place of these, which would be trained dense.
        """
        owned = self._param_groups() if self._optimizer is not None else set(self.weights.values())
        if missing := [name for name, weight in self.weights.items() if weight not in owned]:
            raise RuntimeError(
                f"the optimizer no longer trains {', '.join(missing)}: others were put in their "
                "place after the pruner was attached; make both from those that it trains now"
            )
        for tensors in (self.masks, self.memory):
            for name, tensor in tensors.items():
                if tensor.device != self.weights[name].device:
                    tensors[name] = tensor.to(self.weights[name].device)

    def _before_step(self, _: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        return on_gradients(self._on_gradients, args, kwargs)

    def _on_gradients(self) -> None:
        if not self._prepared:
            self.prepare()
        self._prepared = False
        if self.score.memory == "accumulated":
            accumulate(self.memory, self.weights, self._param_groups())

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Zero the gradients of pruned weights."""
        if not self.pruned:
            return
        for name, weight in self.weights.items():
            if weight.grad is not None:
                apply_mask(self.masks[name], [weight.grad])

    def _param_groups(self) -> dict[Parameter, dict[str, Any]]:
        return {p: group for group in self._optimizer.param_groups for p in group["params"]}

    # -------------------------------------------------------------- the masks

    @torch.no_grad()
    def update(self) -> None:
        """Rank the weights and prune to the schedule's sparsity at the current step.

        Raises ScoreError naming the layer when scores are not finite or all zero, or when the
        optimizer has no state for it yet.
        """
        if sparsity := self.schedule.sparsity_at(self.step):
            self._prune_to(sparsity)
            self._count()
        elif self.schedule.alternating:
            for mask in self.masks.values():
                mask.fill_(1)  # what was pruned is trained again, from zero
            self._count()
        regrowth = self.schedule.regrowth_at(self.step)
        if regrowth and self.pruned:
            gradients = {name: weight.grad for name, weight in self.weights.items()}
            exchange(self._scored(), gradients, regrowth, self.group)

    def _tensors(self, name: str) -> list[Tensor]:
        """What is zero where a weight is pruned: it, its optimizer state, memory and companion."""
        weight = self.weights[name]
        state = self._optimizer.state.get(weight, {}).values()
        moments = [t for t in state if torch.is_tensor(t) and t.shape == weight.shape]
        remembered = [self.memory[name]] if name in self.memory else []
        beside = [self._companions[weight]] if weight in self._companions else []
        return [weight.detach(), *moments, *remembered, *beside]

    def _prune_to(self, sparsity: float) -> None:
        items = self._scored() if self.pattern is None else self._scored_units()
        units = self._totals([item.mask.numel() for item in items])
        pruned = self._totals([units_pruned(item) for item in items])
        share = 1.0 if self.pattern is None else self.pattern.share
        k = max(round(sparsity / share * sum(units)), sum(pruned))
        if k == sum(pruned):
            return
        if self.scope == "global":
            self.histogram = prune_smallest(items, k, group=self.group)
        else:
            shapes = whole_shapes(self.weights.values(), self.group)
            ks = budgets(self.scope, shapes, units, k, pruned)
            each = zip(items, ks, strict=True)
            histograms = [prune_smallest([item], n, group=self.group) for item, n in each]
            self.histogram = torch.stack(histograms).sum(0)
        if self.pattern is not None:
            for item in items:
                item.prune_weights()
                apply_mask(self.masks[item.name], self._tensors(item.name))

    def _scored(self):
        param_groups = self._param_groups()
        return [
            scored(
                name,
                weight,
                self.masks[name],
                self.score,
                state=self._optimizer.state.get(weight, {}),
                param_group=param_groups[weight],
                memory=self.memory.get(name),
                tensors=self._tensors(name),
                group=self.group,
            )
            for name, weight in self.weights.items()
        ]

    def _scored_units(self):
        return [scored_units(item, self.masks[item.name], self.pattern) for item in self._scored()]

    # ----------------------------------------------------- counting and checking

    def _count(self) -> None:
        masks = self.masks.values()
        self.total = sum(self._totals([mask.numel() for mask in masks]))
        self.pruned = self.total - sum(self._totals([count_kept(mask) for mask in masks]))

    def _totals(self, counts: list[int]) -> list[int]:
        return totals(counts, next(iter(self.weights.values())).device, self.group)

    @property
    def done(self) -> bool:
        """Whether the target sparsity is reached."""
        return self.step >= self.schedule.end

    def metrics(self) -> dict[str, float]:
        """By name: what a run logs at its intervals."""
        return {"sparsity": self.sparsity}

    @property
    def sparsity(self) -> float:
        """Pruned share of the prunable weights (not of all parameters)."""
        return self.pruned / self.total

    def layers(self) -> list[dict[str, Any]]:
        """Per layer, counted on this rank: name, shape, pruned, total, sparsity."""
        return [count(name, mask) for name, mask in self.masks.items()]

    @torch.no_grad()
    def verify(self) -> None:
        """Raise RuntimeError naming a layer in which a pruned weight is not zero."""
        for name, weight in self.weights.items():
            if revived := int(torch.count_nonzero(weight[self.masks[name] == 0])):
                raise RuntimeError(f"{name}: {revived} pruned weights are not zero")

    # ------------------------------------------------------------- checkpoints

    def state_dict(self) -> dict[str, Any]:
        """The step, the masks packed to bits and the memory, as tensors and plain values."""
        return packed(self.step, self.masks, self.memory)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave; a state that does not fit changes nothing.

        Raises ValueError naming what is missing or belongs to other weights.
        """
        self._restore(checked(state, self.masks, self.memory))

    def _restore(self, state: Mapping[str, Any]) -> None:
        for kind, own in (("masks", self.masks), ("memory", self.memory)):
            for name, tensor in own.items():
                tensor.copy_(state[kind][name])
        self.step = state["step"]
        self._count()

    def _save(self, _: torch.optim.Optimizer, state_dict: dict[str, Any]) -> None:
        state_dict[KEY] = self.state_dict()

    def _before_load(self, _: torch.optim.Optimizer, state_dict: dict[str, Any]) -> None:
        if KEY not in state_dict:
            raise ValueError("this optimizer state has no pruning masks: its run was not pruned")
        self._incoming = checked(state_dict[KEY], self.masks, self.memory)

    def _after_load(self, _: torch.optim.Optimizer) -> None:
        # Not before, because the optimizer may refuse its own part.
        self._restore(self._incoming)
        self._incoming = None

    def __getstate__(self) -> dict[str, Any]:
        if self.group is not None:
            raise TypeError(
                "a pruner of sharded weights cannot be copied or pickled, because its process "
                "group cannot: use the optimizer's state_dict()"
            )
        return self.__dict__


def _check_known(**named: tuple[str, Any]) -> None:
    for what, (value, known) in named.items():
        if value not in known:
            raise ValueError(f"{what} {value!r} is unknown: {', '.join(known)}")
