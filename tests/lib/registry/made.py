# SPDX-License-Identifier: MIT
"""Runs with random weights for the registry's tests, made in milliseconds, and their MLflow models.

    python -m tests.lib.registry.made FOLDER

writes FOLDER/<model>/: the run, `package` (the MLflow model), inputs_*.npy and outputs_*.npy, what
the network itself makes of them. A process of its own, since a training in the same process leaves
settings of PyTorch behind with which nothing can be exported.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpt2.model import GPT, GPTConfig
from lenet5.model import LeNet5
from lib.config.settings import load_settings
from lib.pruning.masks import pack
from lib.runs.run import Run
from lib.runs.stored import load_run
from lib.train.checkpoint.weights import AVERAGE
from lib.train.checkpoint.writer import Writer
from resnet50.model import ResNet

METRICS = {"train/loss": 0.5, "val/loss": 0.25, "val/accuracy": 0.75}
TRACKED = "Tracking:\n  TRACKER_PROJECT: digits-00000\n"
TINY = (
    "CONFIG_GPT2_SIZE_FREE=y\nCONFIG_GPT2_N_LAYER=1\nCONFIG_GPT2_N_HEAD=2\nCONFIG_GPT2_N_EMBD=16\n"
)
TINY += "CONFIG_GPT2_BLOCK_SIZE=128\nCONFIG_TOKENIZER_BYTES=y\n"
IMAGES = {"normalization": {"mean": [0.25], "std": [0.5]}, "name": "digits"}
COLOURS = {"normalization": {"mean": [0.25] * 3, "std": [0.5, 0.4, 0.3]}, "name": "digits"}


def make_run(
    folder: Path,
    name: str,
    model: str,
    network: nn.Module,
    config: str = "",
    about: dict[str, Any] | None = None,
    dataset: dict[str, Any] | None = None,
    **more: Any,
) -> Path:
    """A completed run of two logged steps whose one checkpoint has the weights of `network`."""
    files = {".config": f"CONFIG_MODEL_{model.upper()}=y\n{config}", "config.yaml": TRACKED}
    info = {"model": {"name": model, **(about or {})}, "dataset": dataset or {}, "seed": 7}
    info |= {"science_hash": "0123456789abcdef", "description": "of the tests"}
    with Run.create(folder, name, files=files, info=info) as run:
        run.log({"train/loss": 1.0}, 1)
        run.log(METRICS, 2)
        state = {"model_state_dict": network.state_dict(), "optimizer_state_dict": {}}
        contents = {**state, "step": 2, **more}
        writer = Writer(run.dir / "checkpoints", keep=2, every=0, compress=False)
        writer.write(contents, step=2, metrics=METRICS, best=True, nbytes=2**20)
    return run.dir


def lenet(folder: Path, name: str = "run") -> Path:
    """A pruned one: the checkpoint has weights where the mask says that there are none."""
    torch.manual_seed(len(name))
    network = LeNet5()
    mask = torch.rand_like(network.fc1.weight) < 0.5
    pruner = {"pruner": {"masks": {"fc1.weight": pack(mask)}}}
    run = make_run(
        folder, name, "lenet5", network, about={"classes": 10}, dataset=IMAGES,
        optimizer_state_dict=pruner,
    )  # fmt: skip
    (run / "classes.json").write_text('["zero","one","two","3","4","5","6","7","8","nine"]')
    return run


def resnet(folder: Path) -> Path:
    """One with a running mean of its weights, which differs from them."""
    torch.manual_seed(1)
    last, average = (ResNet(18, 10, 4, "cifar") for _ in range(2))
    for norm in (m for m in average.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_mean)
        nn.init.uniform_(norm.weight)
    config = "CONFIG_RESNET_DEPTH_18=y\nCONFIG_RESNET_WIDTH=4\nCONFIG_RESNET_STEM_CIFAR=y\n"
    return make_run(
        folder, "run", "resnet50", last, config + "CONFIG_IMAGE_SIZE=16\n",
        about={"classes": 10}, dataset=COLOURS, **{AVERAGE: average.state_dict()},
    )  # fmt: skip


def gpt(folder: Path) -> Path:
    torch.manual_seed(2)
    network = GPT(GPTConfig(257, 128, 1, 2, 16))
    return make_run(folder, "run", "gpt2", network, TINY, about={"vocab_size": 257})


MODELS = {"lenet5": lenet, "resnet50": resnet, "gpt2": gpt}


def examples(shape: tuple[int, ...], vocab_size: int) -> list[Tensor]:
    """Inputs of other sizes than the one that was traced, a single row too."""
    if len(shape) == 2:
        return [torch.randint(vocab_size, size) for size in ((1, 1), (3, 128), (1, 70))]
    return [torch.rand(n, *shape[1:]) for n in (1, 5)]


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    from lib.registry.package import save
    from scripts.pruning.weights import export_module, load_weights

    for model, make in MODELS.items():
        run_dir = make(folder / model)
        settings = load_settings(model, ["--config", str(run_dir / ".config")])
        weights, _ = load_weights(run_dir / "checkpoints" / "best.pt")
        program = export_module(model).program(settings, load_run(run_dir), weights)
        save(program, folder / model / "package", "0" * 32)
        for i, x in enumerate(examples(program.inputs, 257)):
            with torch.no_grad():
                np.save(folder / model / f"inputs_{i}.npy", x.numpy())
                np.save(folder / model / f"outputs_{i}.npy", program.module(x).numpy())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
