# SPDX-License-Identifier: MIT
"""The trainings that are killed: every offline model, with each setting that has state of its own.

A case fixes everything that the numbers depend on, so that one training that nobody disturbs is the
reference for all that are. How often and in which form checkpoints are written changes no number:
that is drawn anew for each training (`saving`).
"""

import random
from dataclasses import dataclass
from pathlib import Path

_TRACKED_STEPS = 150  # about as long as a forwarder takes to start

_LENET5 = ("--batch-size", "16")
_GPT2 = (
    *("--gpt2-size", "free", "--gpt2-n-layer", "2", "--gpt2-n-head", "2", "--gpt2-n-embd", "32"),
    *(
        "--gpt2-block-size",
        "32",
        "--batch-size",
        "4",
        "--dataset",
        "custom",
        "--tokenizer",
        "bytes",
    ),
    *("--val-fraction", "0.2", "--eval-windows", "9", "--sample-tokens", "0"),
    *("--num-workers", "1", "--warmup-steps", "2"),
)
_PRUNED = ("--pruning-start", "0.1", "--pruning-end", "0.7", "--pruning-frequency", "0.05")


@dataclass(frozen=True)
class Case:
    """A training: `flags` decide its numbers, `ranks` is its number of processes."""

    name: str
    model: str
    flags: tuple[str, ...] = ()
    ranks: int = 1
    steps: int = 24


def _lenet5(name: str, *flags: str, ranks: int = 1) -> Case:
    return Case(f"lenet5 {name}", "lenet5", (*_LENET5, *flags), ranks)


def _gpt2(name: str, *flags: str, ranks: int = 1) -> Case:
    return Case(f"gpt2 {name}", "gpt2", (*_GPT2, *flags), ranks)


_SPAM = ("--spam-reset-every", "7", "--spam-warmup", "3", "--spam-grace", "2")
CASES = (
    _lenet5("adamw", "--optimizer", "adamw"),
    _lenet5("adam", "--optimizer", "adam"),
    _lenet5("sgd, Nesterov", "--optimizer", "sgd", "--nesterov"),
    _lenet5("AMSGrad", "--optimizer", "adamwadv"),
    _lenet5("SPAM, resets", "--optimizer", "adamwspam", *_SPAM),
    _lenet5("adamwprune", "--optimizer", "adamwprune", *_PRUNED),
    _lenet5("adamwprune on SPAM", *("--optimizer", "adamwprune", "--adamwprune-base", "adamwspam"),
            *_SPAM, *_PRUNED),
    _lenet5("magnitude", "--pruning-method", "magnitude", *_PRUNED),
    _lenet5("magnitude, regrowth", "--pruning-method", "magnitude", "--regrowth", "0.5", *_PRUNED),
    _lenet5("movement", "--pruning-method", "movement", *_PRUNED),
    _lenet5("movement-from-start", "--pruning-method", "movement-from-start", *_PRUNED),
    _lenet5("channels", *("--pruning-method", "magnitude", "--pruning-pattern", "channel"),
            *_PRUNED),
    _lenet5("accumulation", "--batch-size", "8", "--grad-accum", "2"),
    _lenet5("bfloat16, augmentation", "--precision", "bfloat16", "--augment"),
    # The validation loss goes up and down, so that the best checkpoint is not always the last.
    _lenet5("large steps", "--learning-rate", "0.06"),
    _lenet5("large steps, accuracy", "--learning-rate", "0.04", "--checkpoint-metric",
            "val/accuracy", "--checkpoint-mode", "max"),
    _gpt2("large steps", "--learning-rate", "1.0"),
    _lenet5("early stop", "--early-stop", "2", "--checkpoint-metric", "val/accuracy",
            "--checkpoint-mode", "max"),
    _gpt2("adamw", "--optimizer", "adamw"),
    _gpt2("dropout", "--gpt2-dropout", "0.2"),
    _gpt2("accumulation, 2 data workers", "--grad-accum", "2", "--num-workers", "2"),
    _gpt2("bfloat16, dropout", "--precision", "bfloat16", "--gpt2-dropout", "0.1"),
    _gpt2("adamwprune", "--optimizer", "adamwprune", *_PRUNED),
    _gpt2("SPAM, clipping", "--optimizer", "adamwspam", "--grad-clip", "0.5", *_SPAM),
    _gpt2("AMSGrad, MAX_TIME", "--optimizer", "adamwadv", "--max-time", "3600"),
)  # fmt: skip
RANKS = (
    _lenet5("2 ranks", ranks=2),
    _lenet5("2 ranks, adamwprune", "--optimizer", "adamwprune", *_PRUNED, ranks=2),
    _gpt2("2 ranks, dropout", "--gpt2-dropout", "0.2", ranks=2),
    _gpt2("2 ranks, sharded", "--shard", ranks=2),
)
TRACKED = (
    Case("lenet5 tracked", "lenet5", _LENET5, steps=_TRACKED_STEPS),
    Case("gpt2 tracked", "gpt2", _GPT2, steps=_TRACKED_STEPS),
)


def flags(case: Case, root: Path, output: Path, *more: str) -> list[str]:
    """The command line of `case`: data below `root`, its run at `output`/run."""
    config = root / f"{case.model}.config"
    data = ["--data-dir", str(root / "data" / case.model)]
    if case.model == "gpt2":
        data += ["--data-files", str(root / "passages.txt")]
    return [
        *("--config", str(config), "--output-dir", str(output), "--tracker-run-name", "run"),
        *("--device", "cpu", "--precision", "float32", "--num-threads", "1", "--tracker", "none"),
        *("--max-steps", str(case.steps), "--log-interval", "1", "--eval-interval", "3"),
        *("--no-plots", "--rank-timeout", "20", *data, *case.flags, *more),
    ]


def saving(case: Case, chance: random.Random) -> list[str]:
    """How checkpoints are written: how often, how many are kept, compressed or not."""
    words = ["--checkpoint-interval", str(chance.choice((1, 2, 3, 5)))]
    words += ["--checkpoint-keep", str(chance.choice((1, 2, 3)))]
    if chance.random() < 0.3:
        words += ["--checkpoint-every", str(chance.choice((4, 7)))]
    if chance.random() < 0.25 and "--shard" not in case.flags:
        words += ["--checkpoint-compress"]
    return words


def changes(case: Case, chance: random.Random) -> list[str]:
    """Flags for a resumed training that change no number; mostly none."""
    if chance.random() > 0.25:
        return []
    words = saving(case, chance)
    if case.model == "gpt2":
        words += ["--num-workers", str(chance.choice((0, 1, 2, 3)))]
    return words


def write_data(root: Path) -> None:
    """The corpus and the files that choose the models; always the same."""
    words, chance = (
        ("a", "bird", "cat", "in", "mat", "on", "sang", "sat", "the", "tree"),
        random.Random(0),
    )
    passages = (" ".join(chance.choice(words) for _ in range(40)) for _ in range(200))
    (root / "passages.txt").write_text("\n\n".join(passages))
    for model in ("lenet5", "gpt2"):
        (root / f"{model}.config").write_text(f"CONFIG_MODEL_{model.upper()}=y\n")
