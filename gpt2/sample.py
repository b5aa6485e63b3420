#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Text from a trained GPT-2, shown as it is made.

    make sample [RUN=name] [PROMPT="def main"]
    python gpt2/sample.py RUN                       from the start of a document
    python gpt2/sample.py RUN --prompt "def main"   continues the prompt
    … --prompt @FILE, or - for what comes on stdin; @@ for a prompt that begins with @
    … --tokens 500 --temperature 0.7 --top-k 50 --top-p 0.9 --seed 1
    … --samples 3                                   with the seeds 1, 2 and 3
    … --checkpoint last|best|STEP --device auto|cpu|cuda|mps
    … --precision auto|float32|bfloat16|float16

Each flag is a variable of make, too: TOP_K=50. RUN is a name, its unique beginning, or a path;
without it, the latest run of this model. Uses the run's own configuration, its best checkpoint, and
the GPU if there is one. Prompt and text may be longer than the block size (gpt2/generation.py).
Control characters are replaced by U+FFFD, also in a pipe. The speed is printed on stderr.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for a script run by its path

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

from lib.train.openmp import spin_briefly

if __name__ == "__main__":
    spin_briefly()  # before PyTorch is imported

import argparse
import codecs
import time
from collections.abc import Iterable, Iterator

import torch

from gpt2.generation import generate, stream
from gpt2.model import GPT
from gpt2.trained import Trained, add, flags, load_trained, number
from lib.config.settings import Settings
from lib.data.text.tokenizers import Tokenizer
from lib.errors import BadUse
from lib.files import write_atomic
from lib.runs.run import NullRun, Run
from lib.text import printable
from lib.train.runtime import Runtime


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
    device = model.wte.weight.device
    model.eval()
    tokens = generate(
        model,
        beginning(tokenizer, settings.SAMPLE_PROMPT, device),
        settings.SAMPLE_TOKENS,
        temperature=settings.SAMPLE_TEMPERATURE,
        top_k=settings.SAMPLE_TOP_K,
        generator=torch.Generator(device).manual_seed(settings.SEED),
    )
    model.train()
    if runtime.is_main:
        text = tokenizer.decode(tokens[0, 1:].tolist())
        try:
            write_atomic(run.dir / "media" / "sample.txt", text)
        except OSError as error:
            run.say(f"warning: media/sample.txt was not written: {error.strerror}")
        run.log_text("sample", text, step)
        run.say(f"sample (media/sample.txt):\n{printable(text)}")


def beginning(tokenizer: Tokenizer, prompt: str, device: torch.device) -> torch.Tensor:
    """The tokens of a document that begins with `prompt`, (1, length)."""
    start = [tokenizer.end_of_text, *tokenizer.encode(prompt).tolist()]
    return torch.tensor([start], device=device)


def pieces(tokenizer: Tokenizer, tokens: Iterable[int]) -> Iterator[str]:
    """The text of `tokens`, each piece as soon as its last character is complete.

    A token may be part of a character. Bytes that are not UTF-8 become U+FFFD.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for token in tokens:
        if piece := decoder.decode(tokenizer.token_bytes(token)):
            yield piece
    if rest := decoder.decode(b"", final=True):
        yield rest


def read_prompt(given: str) -> str:
    """The prompt that PROMPT says: @FILE, - for stdin, else the text itself. Raises BadUse."""
    if given.startswith("@@"):
        return given[1:]
    if given != "-" and not given.startswith("@"):
        return given
    try:
        raw = sys.stdin.buffer.read() if given == "-" else Path(given[1:]).read_bytes()
        return raw.decode()
    except OSError as error:
        raise BadUse(
            f"PROMPT={given}: {error.strerror}; a prompt that begins with @ itself: PROMPT=@{given}"
        ) from error
    except UnicodeDecodeError as error:
        raise BadUse(f"PROMPT={given}: not UTF-8 text ({error.reason})") from error


class Speed:
    """Tokens generated, and the time that took."""

    def __init__(self) -> None:
        self.tokens, self.seconds = 0, 0.0

    def counted(self, drawn: Iterable[torch.Tensor]) -> Iterator[int]:
        """Each of the tokens `drawn` for one text; what is done with them does not count."""
        iterator, start = iter(drawn), time.perf_counter()
        while (token := next(iterator, None)) is not None:
            value = int(token)  # waits for a GPU
            self.seconds += time.perf_counter() - start
            self.tokens += 1
            yield value
            start = time.perf_counter()

    def line(self, trained: Trained) -> str:
        rate = f": {self.tokens / self.seconds:,.0f} tokens/s" if self.tokens else ""
        what = f"{self.tokens:,} token{'s' * (self.tokens != 1)} in {self.seconds:.2f} s{rate}"
        return f"{what} ({trained.device}, {trained.precision})"


def show_sample(
    trained: Trained, prompt: str, options: argparse.Namespace, seed: int, speed: Speed
) -> None:
    """Print the prompt and what the model makes of it."""
    print(printable(prompt), end="", flush=True)
    drawn = stream(
        trained.model,
        beginning(trained.tokenizer, prompt, trained.device),
        options.tokens,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        generator=torch.Generator(trained.device).manual_seed(seed),
    )
    for piece in pieces(trained.tokenizer, speed.counted(drawn)):
        print(printable(piece), end="", flush=True)
    print(flush=True)


def parsed() -> argparse.Namespace:
    """The options. Raises BadUse."""
    parser = flags(__doc__, checkpoint="best")
    parser.add_argument("--prompt", default=os.environ.get("PROMPT", ""))
    add(parser, "tokens", number("TOKENS"), "256")
    add(parser, "temperature", number("TEMPERATURE", float), "0.8")
    add(parser, "top-k", number("TOP_K"), "200")
    add(parser, "top-p", number("TOP_P", float, least=0.01, most=1), "1")
    add(parser, "samples", number("SAMPLES", least=1), "1")
    return parser.parse_args()


def main() -> int:
    """The program; see the top of the file."""
    options = parsed()
    prompt = read_prompt(options.prompt)
    trained, speed = load_trained(options), Speed()
    code = 0
    try:
        for seed in range(options.seed, options.seed + options.samples):
            if options.samples > 1:
                print(f"──── seed {seed}")
            show_sample(trained, prompt, options, seed % 2**63, speed)
    except KeyboardInterrupt:
        print(flush=True)
        code = 130
    print(speed.line(trained), file=sys.stderr)
    return code


if __name__ == "__main__":
    run_main(main)
