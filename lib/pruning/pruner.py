# SPDX-License-Identifier: MIT
"""The Pruner: masks for the weights of a model, attached to any torch.optim.Optimizer.

    pruner = Pruner(prunable(model), Schedule(0.9, total_steps=1000, end=700, frequency=10))
    pruner.attach(optimizer)
    …
    optimizer.step()        # prunes when the schedule says so, and keeps the pruned at zero

A step begins with the masks: when an update is due, scores are ranked and the smallest weights go,
together with their optimizer state. Then the gradients are masked. For w = m = v = 0 a zero
gradient changes nothing under SGD, Adam and decoupled decay, so between updates the gradients are
all that needs masking. lib/optim/update.py calls `prepare` before it clips, so that the norm is
that of the masked gradient; a plain `optimizer.step()` does it by itself.

The masks, packed to bits, and the step travel in `optimizer.state_dict()`.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import Parameter

from lib.pruning.budgets import SCOPES, budgets
from lib.pruning.masks import apply_mask, pack, unpack
from lib.pruning.patterns import PATTERNS
from lib.pruning.ranking import scored, scored_units, units_pruned
from lib.pruning.regrowth import exchange
from lib.pruning.schedules import Schedule
from lib.pruning.scores import SCORES
from lib.pruning.select import prune_smallest
from lib.pruning.slices import count_kept
from lib.pruning.step_hooks import attach_hooks, attached, on_gradients

KEY = "pruner"  # in the optimizer's state_dict


class Pruner:
    """Prunes `weights` (name → parameter, see lib/pruning/targets.py) along a schedule.

    score: a name of SCORES; scope: global, layer or erk; pattern: a name of PATTERNS. group: the
    process group over which the weights are sharded, each rank holding its part of every weight
    (dim 0); None when each rank holds them whole, as under DistributedDataParallel, where equal
    state gives equal masks without communication. Raises ValueError for what does not fit.

    step: how many steps have begun. sparsity: pruned share of `total` prunable weights.
    """

    def __init__(
        self,
        weights: Mapping[str, Parameter],
        schedule: Schedule,
        *,
        score: str = "bitter7",
        scope: str = "global",
        pattern: str = "unstructured",
        group: dist.ProcessGroup | None = None,
    ):
        for value, known, what in (
            (score, SCORES, "score"),
            (scope, SCOPES, "scope"),
            (pattern, PATTERNS, "pattern"),
        ):
            if value not in known:
                raise ValueError(f"{what} {value!r} is unknown: {', '.join(known)}")
        self.weights = dict(weights)
        self.schedule = schedule
        self.score = SCORES[score]
        self.scope = "ramp" if self.score.ramp else scope
        self.pattern = PATTERNS[pattern]
        self.group = group
        self.step = 0
        self.histogram: Tensor | None = None  # of the scores at the last update, see select.py
        self.masks = {
            name: torch.ones(weight.shape, dtype=torch.uint8, device=weight.device)
            for name, weight in self.weights.items()
        }
        self.memory = self._new_memory()
        self._optimizer: torch.optim.Optimizer | None = None
        self._prepared = False
        self._incoming: dict[str, Any] | None = None  # a state that is being loaded
        self._check_pattern()
        self._count()

    def _check_pattern(self) -> None:
        if self.pattern is None:
            return
        for name, weight in self.weights.items():
            self.pattern.check(name, weight.shape)
        if self.schedule.target > self.pattern.share:
            raise ValueError(
                f"target sparsity {self.schedule.target}: this pattern prunes at most "
                f"{self.pattern.share}"
            )
        if self.schedule.regrowth:
            raise ValueError("regrowth is defined for the unstructured pattern only")

    def _new_memory(self) -> dict[str, Tensor]:
        if self.score.memory is None:
            return {}
        if self.score.memory == "initial":
            return {
                name: torch.empty(w.shape, dtype=torch.float32, device=w.device).copy_(w.detach())
                for name, w in self.weights.items()
            }
        return {
            name: torch.zeros(w.shape, dtype=torch.float32, device=w.device)
            for name, w in self.weights.items()
        }

    # ------------------------------------------------------------ the optimizer

    def attach(self, optimizer: torch.optim.Optimizer) -> None:
        """Make every `optimizer.step()` a pruned one, and carry the masks in its state_dict.

        Copies and pickles of the optimizer prune as well. Raises ValueError when the optimizer
        lacks the state that the score needs, or some of the weights, and where either of the two is
        attached already: every step would count twice.
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

    def prepare(self) -> None:
        """Begin a step: update the masks if that is due, and mask the gradients."""
        self.step += 1
        if self.schedule.due(self.step):
            self.update()
        self.mask_gradients()
        self._prepared = True

    def _before_step(
        self, _: torch.optim.Optimizer, args: tuple, kwargs: dict
    ) -> tuple[tuple, dict]:
        return on_gradients(self._on_gradients, args, kwargs)

    def _on_gradients(self) -> None:
        if not self._prepared:
            self.prepare()
        self._prepared = False
        if self.score.memory == "accumulated":
            self._accumulate_movement()

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Zero the gradients of pruned weights."""
        if not self.pruned:
            return
        for name, weight in self.weights.items():
            if weight.grad is not None:
                apply_mask(self.masks[name], [weight.grad])

    @torch.no_grad()
    def _accumulate_movement(self) -> None:
        """Σ -lr·g·w, with the gradient (clipped, masked) and the weight this step starts from."""
        groups = self._groups()
        for name, weight in self.weights.items():
            if weight.grad is not None:
                self.memory[name].addcmul_(weight.grad, weight, value=-float(groups[weight]["lr"]))

    def _groups(self) -> dict[Parameter, dict[str, Any]]:
        return {p: group for group in self._optimizer.param_groups for p in group["params"]}

    # -------------------------------------------------------------- the masks

    @torch.no_grad()
    def update(self) -> None:
        """Rank the weights and prune to the schedule's sparsity at the present step.

        Raises ScoreError naming a layer whose scores are not finite or all zero.
        """
        if sparsity := self.schedule.sparsity_at(self.step):
            self._prune_to(sparsity)
            self._count()
        regrowth = self.schedule.regrowth_at(self.step)
        if regrowth and self.pruned:
            gradients = {name: weight.grad for name, weight in self.weights.items()}
            exchange(self._scored(), gradients, regrowth, self.group)

    def _tensors(self, name: str) -> list[Tensor]:
        """What is zero where a weight is pruned: it, its optimizer state, what its score keeps."""
        weight = self.weights[name]
        state = self._optimizer.state.get(weight, {}).values()
        moments = [t for t in state if torch.is_tensor(t) and t.shape == weight.shape]
        remembered = [self.memory[name]] if name in self.memory else []
        return [weight.detach(), *moments, *remembered]

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
            ks = budgets(self.scope, self._whole_shapes(), units, k, pruned)
            histograms = [
                prune_smallest([item], n, group=self.group)
                for item, n in zip(items, ks, strict=True)
            ]
            self.histogram = torch.stack(histograms).sum(0)
        if self.pattern is not None:
            for item in items:
                item.prune_weights()
                apply_mask(self.masks[item.name], self._tensors(item.name))

    def _whole_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the weights as one, where each rank holds some of their rows."""
        weights = self.weights.values()
        rows = self._totals([weight.shape[0] for weight in weights])
        return [(n, *weight.shape[1:]) for n, weight in zip(rows, weights, strict=True)]

    def _scored(self):
        groups = self._groups()
        return [
            scored(
                name,
                weight,
                self.masks[name],
                self.score,
                self._optimizer.state.get(weight, {}),
                groups[weight],
                self.memory.get(name),
                self._tensors(name),
                self.group,
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
        if self.group is None:
            return counts
        tensor = torch.tensor(counts, device=next(iter(self.weights.values())).device)
        dist.all_reduce(tensor, group=self.group)
        return tensor.tolist()

    @property
    def done(self) -> bool:
        """Whether the target is reached: from here on the network is as sparse as it will be."""
        return self.step >= self.schedule.end

    def metrics(self) -> dict[str, float]:
        """What to log at an interval."""
        return {"sparsity": self.sparsity}

    @property
    def sparsity(self) -> float:
        """Share of the prunable weights (not of all parameters) that is pruned."""
        return self.pruned / self.total

    def layers(self) -> list[dict[str, Any]]:
        """Per layer, as this rank holds it: name, shape, pruned, total, sparsity."""
        rows = []
        for name, mask in self.masks.items():
            pruned, total = mask.numel() - count_kept(mask), mask.numel()
            row = {"name": name, "shape": list(mask.shape), "pruned": pruned, "total": total}
            rows.append({**row, "sparsity": pruned / total if total else 0.0})
        return rows

    @torch.no_grad()
    def verify(self) -> None:
        """Raise RuntimeError naming a layer in which a pruned weight is not zero."""
        for name, weight in self.weights.items():
            if revived := int(torch.count_nonzero(weight[self.masks[name] == 0])):
                raise RuntimeError(f"{name}: {revived} pruned weights are not zero")

    # ------------------------------------------------------------- checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values: step, masks packed to bits, and what the score remembers."""
        return {
            "step": self.step,
            "masks": {name: pack(mask) for name, mask in self.masks.items()},
            "memory": dict(self.memory),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` gave, all of it or, when it does not fit, nothing.

        Raises ValueError saying what is of other weights.
        """
        self._restore(self._checked(state))

    def _checked(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The same with its masks unpacked; ValueError where it does not fit these weights."""
        for kind, own in (("masks", self.masks), ("memory", self.memory)):
            if state[kind].keys() != own.keys():
                differing = ", ".join(sorted(state[kind].keys() ^ own.keys()))
                raise ValueError(f"these pruning {kind} are of other weights: {differing}")
        masks = {}
        for name, mask in self.masks.items():
            try:
                masks[name] = unpack(state["masks"][name], mask.shape)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        for name, memory in self.memory.items():
            if (shape := state["memory"][name].shape) != memory.shape:
                raise ValueError(
                    f"{name}: the memory of its score has the shape {tuple(shape)}, "
                    f"not {tuple(memory.shape)}"
                )
        return {"step": int(state["step"]), "masks": masks, "memory": state["memory"]}

    def _restore(self, checked: Mapping[str, Any]) -> None:
        for kind, own in (("masks", self.masks), ("memory", self.memory)):
            for name, tensor in own.items():
                tensor.copy_(checked[kind][name])
        self.step = checked["step"]
        self._count()

    def _save(self, _: torch.optim.Optimizer, state_dict: dict[str, Any]) -> None:
        state_dict[KEY] = self.state_dict()

    def __getstate__(self) -> dict[str, Any]:
        if self.group is not None:
            raise TypeError(
                "a pruner of sharded weights cannot be copied or pickled, since its process group "
                "cannot: use the optimizer's state_dict()"
            )
        return self.__dict__

    def _before_load(self, _: torch.optim.Optimizer, state_dict: dict[str, Any]) -> None:
        if KEY not in state_dict:
            raise ValueError("this optimizer state has no pruning masks: it is of an unpruned run")
        self._incoming = self._checked(state_dict[KEY])

    def _after_load(self, _: torch.optim.Optimizer) -> None:
        # Only now, since the optimizer may have refused its own part.
        self._restore(self._incoming)
        self._incoming = None
