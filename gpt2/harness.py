# SPDX-License-Identifier: MIT
"""A trained GPT-2 for the tasks of lm-evaluation-harness, through its own API.

    found = run_tasks(trained, ["hellaswag"], fewshot=5, limit=100)
    found["results"]["hellaswag"]["acc,none"]

Needs lm-eval, which this project does not: importing this module says how to install it.
"""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gpt2.generation import stream
from gpt2.perplexity import plain_losses, sequence_losses, usual_batch_size
from gpt2.trained import Trained
from lib.errors import BadUse, Failure, did_you_mean
from lib.text import one_line

try:
    import lm_eval
    from lm_eval.api.model import TemplateLM
    from lm_eval.tasks import TaskManager
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
except ModuleNotFoundError as error:
    raise BadUse(
        f"TASKS need lm-evaluation-harness, and {sys.executable} has no package {error.name}:\n"
        f"       {sys.executable} -m pip install -r requirements-reach.txt"
    ) from error

_NEW_TOKENS = 256  # at most, where a task does not say


class _Piece(NamedTuple):
    """Tokens of which the last `scored` are predicted, at most block_size; `request` is whose."""

    request: int
    tokens: list[int]
    scored: int


class Harness(TemplateLM):
    """The model as lm-eval sees it: text in, log-likelihoods and text out."""

    def __init__(self, trained: Trained, batch_size: int = 0) -> None:
        super().__init__()
        self.trained, self.model, self.coder = trained, trained.model, trained.tokenizer
        self.max_length = trained.model.config.block_size
        self._device = trained.device
        self.batch_size = batch_size or usual_batch_size(self.model)

    @property
    def eot_token_id(self) -> int:
        return self.coder.end_of_text

    @property
    def tokenizer_name(self) -> str:
        return self.coder.name

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list:
        """Its tokens; none is added in front."""
        return self.coder.encode(string).tolist()

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        """(log p, whether greedy choice gives it) of each continuation after its context.

        A context that does not fit loses its beginning. A continuation longer than the block is
        predicted in parts of a block.
        """
        pieces = []
        for request, (_texts, context, continuation) in enumerate(requests):
            whole = context + continuation
            for begin in range(len(context), len(whole), self.max_length):
                end = min(begin + self.max_length, len(whole))
                seen = whole[max(0, end - self.max_length - 1) : end]
                pieces.append(_Piece(request, seen, end - begin))
        return self._scored(pieces, len(requests))

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list:
        """log p of each whole text, in windows that do not overlap."""
        pieces = []
        for request, instance in enumerate(requests):
            (text,) = instance.args
            windows = get_rolling_token_windows(
                self.tok_encode(text),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            for context, predicted in map(make_disjoint_window, windows):
                pieces.append(_Piece(request, context + predicted, len(predicted)))
        return [nats for nats, _ in self._scored(pieces, len(requests))]

    def _scored(self, pieces: list[_Piece], requests: int) -> list[tuple[float, bool]]:
        """Each request's (log p, greedy), summed over its pieces; batches of like lengths."""
        totals, greedy = [0.0] * requests, [True] * requests
        ordered = sorted(pieces, key=lambda piece: -len(piece.tokens))
        for start in range(0, len(ordered), self.batch_size):
            batch = ordered[start : start + self.batch_size]
            found = self._losses(batch).split([piece.scored for piece in batch])
            for piece, losses in zip(batch, found, strict=True):
                totals[piece.request] -= losses[:, 0].double().sum().item()
                greedy[piece.request] &= bool(losses[:, 1].all())
        return list(zip(totals, greedy, strict=True))

    def _losses(self, batch: list[_Piece]) -> Tensor:
        """(n, 2) on the CPU: -log p of each predicted token, and 1 where it is the likeliest."""
        length = max(len(piece.tokens) for piece in batch)
        tokens = torch.zeros(len(batch), length, dtype=torch.long)  # later ones change nothing
        counted = torch.zeros(len(batch), length - 1, dtype=torch.bool)
        for row, mask, piece in zip(tokens, counted, batch, strict=True):
            n = len(piece.tokens)
            row[:n] = torch.tensor(piece.tokens)
            mask[n - 1 - piece.scored : n - 1] = True
        device = self._device
        return sequence_losses(self.model, tokens.to(device), counted.to(device), _with_rank).cpu()

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """What the model makes of each context, up to the first of its stop strings."""
        return [self._generated(*instance.args) for instance in requests]

    def _generated(self, context: str, how: dict[str, Any]) -> str:
        until = how.get("until") or []
        stops = [stop for stop in ([until] if isinstance(until, str) else until) if stop]
        start = self.tok_encode(context) or [self.prefix_token_id]
        drawn: list[int] = []
        for token in stream(
            self.model,
            torch.tensor([start], device=self._device),
            how.get("max_gen_toks", _NEW_TOKENS),
            temperature=how.get("temperature", 1.0) if how.get("do_sample") else 0.0,
            top_k=how.get("top_k", 0),
            top_p=how.get("top_p", 1.0),
        ):
            if int(token) == self.eot_token_id:
                break
            drawn.append(int(token))
            if any(stop in self.coder.decode(drawn) for stop in stops):
                break
        text = self.coder.decode(drawn)
        return text[: min((text.find(stop) for stop in stops if stop in text), default=len(text))]


def _with_rank(logits: Tensor, targets: Tensor) -> Tensor:
    likeliest = logits.argmax(-1) == targets
    return torch.stack((plain_losses(logits, targets), likeliest.float()), dim=1)


def run_tasks(
    trained: Trained,
    names: Sequence[str],
    *,
    include: str = "",
    fewshot: int | None = None,
    limit: int | None = None,
    batch_size: int = 0,
) -> dict[str, Any]:
    """{settings, results} of tasks: their metrics by name, such as acc,none and acc_stderr,none.

    `include` is a folder of task files beside those of lm-eval. Raises BadUse for a task that there
    is not, and Failure when a task cannot be run, as without its data.
    """
    manager = TaskManager(include_path=include or None)
    for name in names:
        if not manager.match_tasks([name]):
            hint = did_you_mean(name, manager.all_tasks)
            raise BadUse(f"TASKS: lm-eval {lm_eval.__version__} has no {one_line(name)}{hint}")
    try:
        found = lm_eval.simple_evaluate(
            model=Harness(trained, batch_size),
            tasks=manager.match_tasks(list(names)),
            num_fewshot=fewshot,
            limit=limit,
            task_manager=manager,
            log_samples=False,
        )
    except Exception as error:  # of as many kinds as there are tasks
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Failure(f"TASKS={' '.join(names)}: {type(error).__name__}: {reason}") from error
    settings = {"tasks": list(names), "lm_eval": lm_eval.__version__}
    settings |= {"fewshot": fewshot} if fewshot is not None else {}
    settings |= {"limit": limit} if limit else {}
    return {"settings": settings, "results": _metrics(found["results"])}


def _metrics(results: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """The numbers of each task; lm-eval says N/A where there is none."""
    return {
        task: {
            name: float(value)
            for name, value in metrics.items()
            if isinstance(value, int | float) and "," in name
        }
        for task, metrics in results.items()
    }
