# SPDX-License-Identifier: MIT
"""The first steps of every offline defconfig, against stored values.

They reveal a change of results: in the order of the data, initial weights, optimizer, schedule or
pruning. If the change is intended, regenerate them and say why in the commit:

    python -m tests.test_golden             of all models, in tests/<model>/golden_losses.json
    python -m tests.test_golden lenet5      of these
"""

import json
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from lib.config.settings import load_settings
from tests.models import MODELS, ROOT, Finished, SmallModel, traits

# Relative. Other instruction sets (tried: AVX-512, AVX2, SSE4) sum in another order. Losses then
# differ by up to 2e-5, and the norm of a gradient by 1e-3 where pruning breaks a tie differently.
# Another schedule, seed or order of the data changes losses by 1e-3 and more.
TOLERANCE = {"train/loss": 2e-4, "val/loss": 2e-4, "grad_norm": 1e-2, "lr": 1e-9, "sparsity": 1e-9}

OFFLINE = sorted(
    path.name
    for path in (ROOT / "defconfigs").iterdir()
    if path.name.split("-")[1] in traits(path.name.split("-")[0]).FIXED_DATA
)


def stored(model: str) -> Path:
    """The file with the values of a model."""
    return ROOT / "tests" / model / "golden_losses.json"


def first_steps(defconfig: str, folder: Path) -> dict[str, list[float]]:
    """What six steps of `defconfig` log, in float32 on one thread."""
    name, dataset = defconfig.split("-")[:2]
    fixed = traits(name).FIXED_DATA[dataset](folder)
    model = SmallModel(name, folder, folder)
    model.small = [*fixed, "--data-dir", str(folder / "data"), "--num-threads", "1"]
    flags = model.flags(defconfig, "--config", str(ROOT / "defconfigs" / defconfig))
    model.program.train(load_settings(name, flags))
    run = Finished(folder / defconfig)
    return {name: list(values.values()) for name in TOLERANCE if (values := run.rows(name))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("golden")


@pytest.mark.parametrize("defconfig", OFFLINE)
def test_the_first_steps_are_what_they_were(defconfig, folder):
    threads = torch.get_num_threads()
    try:
        found = first_steps(defconfig, folder)
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
    expected = json.loads(stored(defconfig.split("-")[0]).read_text())[defconfig]
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=TOLERANCE[name]), name


def test_every_model_has_an_offline_defconfig_among_them():
    assert {name.split("-")[0] for name in OFFLINE} == set(MODELS)


def main(models: list[str]) -> None:
    """Store the values that this machine computes."""
    for model in models:
        names = [name for name in OFFLINE if name.split("-")[0] == model]
        with tempfile.TemporaryDirectory() as folder:
            golden = {name: first_steps(name, Path(folder)) for name in names}
        stored(model).write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:] or MODELS)
