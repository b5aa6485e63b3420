#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Generate text with a trained GPT-2.

    make sample [RUN=name] [PROMPT="def main"]
    python gpt2/sample.py RUN                       from the start of a document
    python gpt2/sample.py RUN --prompt "def main"   continues the prompt
    … --tokens 500 --temperature 0.7 --top-k 50 --seed 1 --checkpoint last

RUN is a name, its unique beginning, or a path; without it, the latest run. Uses the run's own
configuration and its best checkpoint, and computes on the CPU. Control characters are replaced by
U+FFFD in what is printed, also in a pipe.
"""

import argparse
import math
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a script run by its path

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import torch

from gpt2.generation import generate
from gpt2.model import GPT, GPTConfig
from lib.config import configpy, store
from lib.config.settings import Settings, load_settings
from lib.data.text.tokenizers import Tokenizer, load_tokenizer
from lib.errors import BadUse, Failure
from lib.files import ROOT, write_atomic
from lib.runs.run import NullRun, Run
from lib.runs.stored import resolve
from lib.text import printable
from lib.train import checkpoint
from lib.train.checkpoint.find import named
from lib.train.checkpoint.weights import AVERAGE, IS_AVERAGE, evaluated_weights
from lib.train.runtime import Runtime


def continue_text(
    model: GPT,
    tokenizer: Tokenizer,
    prompt: str,
    count: int,
    *,
    temperature: float,
    top_k: int,
    seed: int,
) -> str:
    """`prompt`, continued by `count` tokens of the model."""
    device = model.wte.weight.device
    start = [tokenizer.end_of_text, *tokenizer.encode(prompt).tolist()]
    generator = torch.Generator(device).manual_seed(seed)
    model.eval()
    tokens = generate(
        model,
        torch.tensor([start], device=device),
        count,
        temperature=temperature,
        top_k=top_k,
        generator=generator,
    )
    model.train()
    return tokenizer.decode(tokens[0, 1:].tolist())


def write_sample(
    settings: Settings,
    run: Run | NullRun,
    model: GPT,
    tokenizer: Tokenizer,
    runtime: Runtime,
    step: int,
) -> None:
    """Print a sample and keep it as media/sample.txt. All ranks call: a model may be sharded.

    The file has the text as the model wrote it; what is printed has no control characters. When
    the file cannot be written, the run goes on without it.
    """
    text = continue_text(
        model,
        tokenizer,
        settings.SAMPLE_PROMPT,
        settings.SAMPLE_TOKENS,
        temperature=settings.SAMPLE_TEMPERATURE,
        top_k=settings.SAMPLE_TOP_K,
        seed=settings.SEED,
    )
    if runtime.is_main:
        try:
            write_atomic(run.dir / "media" / "sample.txt", text)
        except OSError as error:
            run.say(f"warning: media/sample.txt was not written: {error.strerror}")
        run.log_text("sample", text, step)
        run.say(f"sample (media/sample.txt):\n{printable(text)}")


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


def chosen_run(given: str) -> Path:
    """The directory of the run that is named, in the OUTPUT_DIR that the tree is configured for."""
    configured = store.CONFIG_PY.exists() and configpy.read(store.CONFIG_PY)[0].get("OUTPUT_DIR")
    return resolve(ROOT / str(configured or "outputs/training"), given)


def main() -> None:
    """The program; see the top of the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", nargs="?", default=os.environ.get("RUN", ""))
    parser.add_argument("--prompt", default=os.environ.get("PROMPT", ""))
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--top-k", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", choices=("last", "best"), default="best")
    given = parser.parse_args()
    if given.tokens < 0 or given.top_k < 0 or not 0 <= given.temperature < math.inf:
        raise BadUse("--tokens, --top-k and --temperature are numbers from 0 on")
    if not 0 <= given.seed < 2**63:
        raise BadUse(f"--seed {given.seed}: want a number in [0, 2^63)")
    run = chosen_run(given.run)
    settings = load_settings("gpt2", ["--config", str(run / ".config")])
    tokenizer = load_tokenizer(settings.TOKENIZER)
    model = GPT(model_config(settings, tokenizer.vocab_size))
    path = named(run / "checkpoints", given.checkpoint)
    try:
        state = checkpoint.load(path)
        model.load_state_dict(evaluated_weights(state))
    except (KeyError, RuntimeError) as error:  # other weights than the configuration describes
        raise Failure(f"{path} is not of the model that {run}/.config describes") from error
    if AVERAGE in state:
        print(IS_AVERAGE, file=sys.stderr)
    text = continue_text(
        model,
        tokenizer,
        given.prompt,
        given.tokens,
        temperature=given.temperature,
        top_k=given.top_k,
        seed=given.seed,
    )
    print(printable(text))


if __name__ == "__main__":
    run_main(main)
