# SPDX-License-Identifier: MIT
"""AdamW that removes spikes from the gradients and resets its moments at intervals.

    AdamWSPAM(params, lr=0.001)                           # SPAM, Huang et al. 2025
    AdamWSPAM(params, lr=0.001, spam=Spam(stable=True))   # Stable-SPAM, Huang et al. 2025

Hooks tame the gradients before each step; the step itself is PyTorch's fused AdamW. The warm-up
after a reset scales a group's `lr` during the step and restores it afterwards, so that learning
rate schedules compose with it. Gradients are tamed as the optimizer gets them: after clipping by
norm. docs/optimizers.md lists what differs from the authors' program.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import Parameter

from ..pruning.step_hooks import attach_hooks, on_gradients


@dataclass(frozen=True)
class Spam:
    """The parameters of SPAM; the defaults are the published values.

    theta: |g| is limited to √(theta·v). grace: steps without that limit, from a reset on and at the
    start, which counts as step 0. reset_every: steps between resets of m, v and max_v to zero (0:
    never); Adam's step count goes on. warmup: steps from a reset on in which the learning rate
    rises from a hundredth to its full value, along half a cosine.

    stable: tame as Stable-SPAM does, without theta and grace: |g| of a tensor is limited to a
    running mean (`gamma3`) of its largest |g|, and its norm set to the ratio of a running mean of
    the norm (`gamma1`) to the root of one of its square (`gamma2`). Published with a `reset_every`
    of 1000.

    Steps count from 1, as in the authors' program: the first reset is at step 500.
    """

    theta: float = 5000.0
    reset_every: int = 500
    grace: int = 20
    warmup: int = 150
    stable: bool = False
    gamma1: float = 0.7
    gamma2: float = 0.9
    gamma3: float = 0.999

    def _since_reset(self, step: int) -> int:
        return step % self.reset_every if self.reset_every else step

    def resets(self, step: int) -> bool:
        """Whether this step begins by setting the moments to zero."""
        return bool(self.reset_every) and self._since_reset(step) == 0

    def clips(self, step: int) -> bool:
        """Whether this step limits |g| to √(theta·v)."""
        return self._since_reset(step) >= self.grace

    def lr_scale(self, step: int) -> float:
        """Factor on the learning rate, in [0.01, 1]: 1 except in the warm-up after a reset."""
        since = self._since_reset(step)
        if not self.reset_every or step < self.reset_every or since >= self.warmup:
            return 1.0
        # As published: the cosine is one step longer than the warm-up, which cuts it off.
        return 1.0 - 0.99 * 0.5 * (1.0 + math.cos(math.pi * since / (self.warmup + 1)))


class AdamWSPAM(torch.optim.AdamW):
    """torch.optim.AdamW on tamed gradients. `spam=None`: plain AdamW.

    Takes the arguments of torch.optim.AdamW. An entry with v = 0 is not clipped: the published rule
    would set its gradient to zero, and v would stay zero, as in a row of an embedding that does not
    occur in the first steps. `step` raises RuntimeError for sparse gradients.
    """

    spam: Spam | None = None
    _rates: "list[tuple[Any, float]] | None" = None  # lr and weight decay to restore, by group

    def __init__(self, params: Any, *, spam: Spam | None = Spam(), **adamw: Any):
        super().__init__(params, **adamw)
        if spam is not None:
            self.tame_by(spam)

    def tame_by(self, spam: Spam) -> None:
        """Tame the gradients of all further steps; hooks that are registered already come first.

        Raises ValueError when the gradients are tamed already.
        """
        if self.spam is not None:
            raise ValueError(f"the gradients are tamed already, by {self.spam}")
        self.spam = spam
        for group in self.param_groups:
            group.setdefault("spam_step", 0)
        self.defaults["spam_step"] = 0  # for groups that are added later
        attach_hooks(
            self,
            step_pre=self._begin,
            step_post=self._end,
            state_dict_pre=self._restore_rates,
            load_state_dict_pre=self._before_load,
            load_state_dict_post=self._after_load,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "spam": self.spam, "_rates": self._rates}

    def _begin(self, _: torch.optim.Optimizer, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        self._restore_rates()
        self._new_norms: dict[Parameter, Tensor] = {}
        return on_gradients(self._on_gradients, args, kwargs)

    @torch.no_grad()
    def _on_gradients(self) -> None:
        self._check_dense()
        self._rates = [(group["lr"], group["weight_decay"]) for group in self.param_groups]
        for group in self.param_groups:
            group["spam_step"] += 1
            scale = self.spam.lr_scale(group["spam_step"])
            group["lr"] = group["lr"] * scale
            group["weight_decay"] = group["weight_decay"] / scale  # decay has no warm-up
            self._tame(group)

    def _end(self, *_: Any) -> None:
        self._restore_rates()
        for p, norms in self._new_norms.items():
            self.state[p]["spam_norms"] = norms

    def _restore_rates(self, *_: Any) -> None:
        # Called before steps and state_dict, too: the last step may have ended in an exception.
        for group, rates in zip(self.param_groups, self._rates or (), strict=False):
            group["lr"], group["weight_decay"] = rates
        self._rates = None

    def _before_load(self, _: torch.optim.Optimizer, state_dict: dict[str, Any]) -> None:
        groups = state_dict["param_groups"]
        if any("spam_step" not in group for group in groups):
            raise ValueError("this optimizer state comes from a run without SPAM")
        # The optimizer would cast the norms to the dtype of the parameter, and a step count in
        # bfloat16 ends at 256.
        states = [state_dict["state"].get(i, {}) for group in groups for i in group["params"]]
        self._incoming_norms = [state.get("spam_norms") for state in states]
        for i, norms in enumerate(self._incoming_norms):
            if norms is not None and (not torch.is_tensor(norms) or norms.shape != (4,)):
                raise ValueError(f"parameter {i}: its spam_norms are not a tensor of 4 numbers")

    def _after_load(self, _: torch.optim.Optimizer) -> None:
        parameters = [p for group in self.param_groups for p in group["params"]]
        for p, norms in zip(parameters, self._incoming_norms, strict=True):
            if norms is not None:
                self.state[p]["spam_norms"] = norms.to(p.device, copy=True)

    def _reset_moments(self, group: dict[str, Any]) -> None:
        for p in group["params"]:
            for key in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"):
                if key in self.state.get(p, {}):
                    self.state[p][key].zero_()

    def _check_dense(self) -> None:
        for p in (p for group in self.param_groups for p in group["params"]):
            if p.grad is not None and p.grad.layout != torch.strided:
                raise RuntimeError(
                    f"{type(self).__name__} needs dense gradients, and that of a parameter of "
                    f"shape {tuple(p.shape)} is sparse: make its layer with sparse=False"
                )

    def _tame(self, group: dict[str, Any]) -> None:
        if self.spam.resets(group["spam_step"]):
            self._reset_moments(group)
        for p in group["params"]:
            if p.grad is not None and p.grad.numel():
                self._tame_one(p, self.state.get(p, {}), group)

    def _tame_one(self, p: Parameter, state: dict[str, Any], group: dict[str, Any]) -> None:
        if self.spam.stable:
            norms = state.get("spam_norms")
            if norms is None:
                # Adam initialises a parameter whose state is empty, so the norms of a new one are
                # stored after the step.
                norms = torch.zeros(4, dtype=torch.float32, device=p.device)
                self._new_norms[p] = norms
            steady_(p.grad, norms, self.spam, group["eps"])
        elif self.spam.clips(group["spam_step"]) and "exp_avg_sq" in state:
            clip_spikes_(p.grad, state["exp_avg_sq"], self.spam.theta)


def clip_spikes_(grad: Tensor, v: Tensor, theta: float) -> None:
    """Limit |grad| to √(theta·v) in place, elementwise, where v > 0 (SPAM, algorithm 1).

    grad, v: tensors of one shape.
    """
    bound = v.mul(theta).sqrt_()
    bound.masked_fill_(v == 0, math.inf)
    torch.minimum(grad, bound, out=grad)
    torch.maximum(grad, bound.neg_(), out=grad)


def steady_(grad: Tensor, norms: Tensor, spam: Spam, eps: float) -> None:
    """AdaClip, then AdaGN (Stable-SPAM), on a gradient that is not empty, in place.

    norms: (4,) float32, updated in place: steps so far, and the running means of max|g|, ‖g‖ and
    ‖g‖². eps: added to √‖g‖². The norms are of the whole gradient, also of one that is sharded:
    then all ranks must call.
    """
    gammas = norms.new_tensor([0.0, spam.gamma3, spam.gamma1, spam.gamma2])
    steps = norms[0] + 1.0
    corrections = 1.0 - gammas**steps

    largest = _largest(grad).float()
    running = spam.gamma3 * norms[1] + (1.0 - spam.gamma3) * largest
    limit = running / corrections[1]
    # All spikes are scaled by limit / largest, which keeps their proportions.
    scaled = grad * (limit / largest).to(grad.dtype)
    grad.copy_(torch.where(grad.abs() > limit.to(grad.dtype), scaled, grad))

    # contiguous: rounding depends on the order of a sum. Wide: float16 overflows at 65,504.
    wide = torch.promote_types(grad.dtype, torch.float32)
    norm = torch.linalg.vector_norm(grad.contiguous(), dtype=wide)
    norm = (norm.full_tensor() if hasattr(norm, "full_tensor") else norm).float()
    mean = spam.gamma1 * norms[2] + (1.0 - spam.gamma1) * norm
    square = spam.gamma2 * norms[3] + (1.0 - spam.gamma2) * norm**2
    wanted = mean / corrections[2] / ((square / corrections[3]).sqrt() + eps)
    grad.mul_(torch.where(norm > 0, wanted / norm, 1.0).to(grad.dtype))
    norms.copy_(torch.stack([steps, running, mean, square]))


def _largest(grad: Tensor) -> Tensor:
    """The largest |g|."""
    if not hasattr(grad, "to_local"):
        return grad.abs().max()
    part = grad.to_local()  # of a small tensor some ranks have nothing
    largest = part.abs().max() if part.numel() else part.new_zeros(())
    dist.all_reduce(largest, dist.ReduceOp.MAX, grad.device_mesh.get_group())
    return largest
