# SPDX-License-Identifier: MIT
"""A trained GPT-2, read from its run; and the flags of the programs that use one.

    options = flags(__doc__, checkpoint="best").parse_args()
    trained = load_trained(options)
    logits = trained.model(tokens)

A value that is left out comes from the environment, where make puts it: --top-k 5 is TOP_K=5.
"""

import argparse
import math
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from gpt2.model import GPT, GPTConfig
from lib.config import configpy, store
from lib.config.settings import Settings, load_settings
from lib.data.text.tokenizers import Tokenizer, load_tokenizer
from lib.errors import BadUse, Failure, did_you_mean
from lib.files import ROOT
from lib.runs.open import open_runs
from lib.runs.stored import StoredRun, load_run, resolve
from lib.text import one_line
from lib.train import checkpoint
from lib.train.checkpoint.find import named, steps_on_disk
from lib.train.checkpoint.weights import AVERAGE, IS_AVERAGE, trained_weights
from lib.train.runtime import setup

MODEL = "gpt2"


class Trained(NamedTuple):
    """A model in evaluation mode on its device, its weights in the precision it computes in."""

    model: GPT
    tokenizer: Tokenizer
    settings: Settings
    run: StoredRun
    checkpoint: Path
    step: int

    @property
    def device(self) -> torch.device:
        return self.model.wte.weight.device

    @property
    def precision(self) -> str:
        """ "float32", "bfloat16" or "float16"."""
        return str(self.model.arithmetic.dtype).removeprefix("torch.")


def model_config(settings: Settings, vocab_size: int) -> GPTConfig:
    """The model that the settings describe. Raises BadUse when its numbers do not fit together."""
    try:
        return GPTConfig(
            vocab_size=vocab_size,
            block_size=settings.GPT2_BLOCK_SIZE,
            n_layer=settings.GPT2_N_LAYER,
            n_head=settings.GPT2_N_HEAD,
            n_embd=settings.GPT2_N_EMBD,
            dropout=settings.GPT2_DROPOUT,
            bias=settings.GPT2_BIAS,
        )
    except ValueError as error:
        raise BadUse(str(error)) from error


def flags(doc: str | None, **defaults: str) -> argparse.ArgumentParser:
    """The flags that `load_trained` reads, under `doc` as their help."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", nargs="?", default=os.environ.get("RUN", ""))
    add(parser, "checkpoint", str, defaults.get("checkpoint", "best"))
    add(parser, "device", one_of("DEVICE", "auto", "cpu", "cuda", "mps"), "auto")
    precisions = one_of("PRECISION", "auto", "float32", "bfloat16", "float16")
    add(parser, "precision", precisions, defaults.get("precision", "auto"))
    add(parser, "seed", number("SEED", most=2**63 - 1), "0")
    return parser


def add(parser: argparse.ArgumentParser, name: str, kind: Callable, default: str | None) -> None:
    """The flag --name, whose default is NAME in the environment, else `default`."""
    variable = name.upper().replace("-", "_")
    value = os.environ.get(variable) or default
    parser.add_argument(f"--{name}", metavar=variable, type=kind, default=value)


def number(
    name: str, kind: type = int, *, least: float = 0, most: float = math.inf
) -> Callable[[str], float]:
    """Parses a finite number of a `kind` in [least, most]; anything else is BadUse."""
    upper = "on" if most == math.inf else f"to {most}"
    what = f"a {'whole ' * (kind is int)}number from {least} {upper}"

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if least <= value <= most and value != math.inf:
            return value
        raise BadUse(f"{name}={one_line(text)}: want {what}")

    return parse


def one_of(name: str, *allowed: str) -> Callable[[str], str]:
    """Parses one of the words in `allowed`; else BadUse."""

    def parse(text: str) -> str:
        if text in allowed:
            return text
        hint = did_you_mean(text, allowed)
        raise BadUse(f"{name}={one_line(text)}: want one of {', '.join(allowed)}{hint}")

    return parse


def load_trained(options: argparse.Namespace) -> Trained:
    """The model that the options of `flags` select.

    Its weights are those that evaluations measured (the running mean, if there is one), the pruned
    ones zero. Raises BadUse when there is no such run or checkpoint, Failure when the checkpoint
    cannot be used.
    """
    run = load_run(chosen_run(options.run))
    if run.model not in ("", MODEL):
        raise BadUse(
            f"{one_line(run.name)} is a run of {one_line(run.model)}, this needs one of {MODEL}: "
            f"make runs WHERE=model={MODEL}"
        )
    path = chosen_checkpoint(run, options.checkpoint)
    settings = load_settings(MODEL, ["--config", str(run.dir / ".config")])
    tokenizer = load_tokenizer(settings.TOKENIZER)
    runtime = setup(options.seed, options.device, options.precision, threads=0)
    if options.precision == "auto" and runtime.device.type == "cpu":
        runtime = replace(runtime, precision="float32")  # as fast for the one row of a token
    dtype = getattr(torch, runtime.precision)
    model = GPT(model_config(settings, tokenizer.vocab_size), dtype)
    state = checkpoint.load(path)
    try:
        model.load_state_dict(trained_weights(state)[0])
    except (Failure, RuntimeError) as error:  # other weights than the configuration describes
        raise Failure(f"{path} is not of the model that {run.dir}/.config describes") from error
    if AVERAGE in state:
        print(IS_AVERAGE, file=sys.stderr)
    model.to(runtime.device).eval().requires_grad_(False)
    for module in model.modules():  # cast once; norms compute with float32 parameters
        if isinstance(module, nn.Linear | nn.Embedding):
            module.to(dtype)
    return Trained(model, tokenizer, settings, run, path, int(state.get("step", 0)))


def chosen_run(given: str) -> Path:
    """The absolute path of the run that is named, in the OUTPUT_DIR that the tree is set to.

    Without a name, that of the latest run of this model.
    """
    configured = store.CONFIG_PY.exists() and configpy.read(store.CONFIG_PY)[0].get("OUTPUT_DIR")
    output_dir = ROOT / str(configured or "outputs/training")
    if given:
        return resolve(output_dir, given).absolute()  # programs may change their directory
    runs = [run for run in open_runs(output_dir, f"model={MODEL}") if run.status != "kept"]
    if not runs:
        raise BadUse(f"no runs of {MODEL} in {output_dir}: make defconfig-gpt2-pystdlib && make")
    return runs[-1].dir


def chosen_checkpoint(run: StoredRun, which: str) -> Path:
    """The checkpoint `which` of the run: last, best, or its step. Raises BadUse."""
    folder = run.dir / "checkpoints"
    steps = steps_on_disk(folder)
    step = int(which) if which.isascii() and which.isdigit() else None
    path = steps.get(step) if step is not None else None
    if step is None and which in ("last", "best"):
        path = named(folder, which)
    if path is None or not path.exists():
        there = ", ".join(["last", "best", *map(str, steps)]) if steps else "none yet"
        raise BadUse(f"CHECKPOINT={one_line(which)}: {one_line(run.name)} has {there}")
    return path
