# SPDX-License-Identifier: MIT
"""Send made-up metrics through the real journal and forwarder into real trackers; read them back.

    make wandb-test | trackio-test | mlflow-test | tensorboard-test | tracker-test
    python -m scripts.tracking.selftest NAMES

No model and no network: Weights & Biases runs offline unless you are logged in. The run stays, in
the project `tracker-test`, to be looked at. Exit code 0 only when everything came back.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import math
import os
import random
import time
from pathlib import Path
from typing import Any

from lib.config.trackers import parse_trackers
from lib.errors import Failure
from lib.runs.journal import read_rows
from lib.runs.run import Run
from lib.tracking.wandb_login import wandb_mode
from scripts.tracking.pages import setting

STEPS = 100
CLASSES = 10
_HELD_BACK_S = 60


def settings() -> dict[str, Any]:
    """What the run's config.yaml says; the places are those of this tree's configuration."""
    places = ("MLFLOW_TRACKING_URI", "WANDB_ENTITY", "WANDB_OFFLINE")
    return {
        **{name: setting(name) for name in places},
        "TRACKER_PROJECT": "tracker-test",
        "TRACKER_NOTES": "made-up metrics of make tracker-test",
        "TRACKER_FINISH_TIMEOUT": _HELD_BACK_S,
        "SYSTEM_METRICS_INTERVAL": 0,
    }


def fake_training(run: Run) -> None:
    """A loss that falls with noise, a warm-up and cosine, a cubic sparsity ramp; some media."""
    import numpy as np

    chance, noise = random.Random(0), np.random.default_rng(0)
    for step in range(STEPS):
        t = step / (STEPS - 1)
        loss = 0.2 + 2.1 * math.exp(-4 * t) + chance.gauss(0, 0.03)
        lr = 1e-3 * min(1, step / 10) * 0.5 * (1 + math.cos(math.pi * t))
        run.log({"train/loss": loss, "lr": lr, "sparsity": 0.9 * (1 - (1 - t) ** 3)}, step)
    confusion = np.diag(noise.integers(80, 100, CLASSES)) + noise.integers(0, 4, (CLASSES, CLASSES))
    run.log_image("val/sample", noise.random((28, 28)), STEPS, caption="noise")
    run.log_histogram("weights/conv1", noise.normal(0, 0.1, 2400), STEPS)
    run.log_table("val/wrong", ["index", "label", "predicted"], [[3, 4, 9], [8, 7, 1]], STEPS)
    run.log_confusion_matrix("val/confusion", confusion, STEPS)
    run.summary({"final/best_val_loss": 0.25})


def compare(tracker: str, run_dir: Path) -> list[str]:
    """What is missing, doubled or different in the tracker; empty when all came back."""
    from scripts.tracking.read_back import read

    stored = read(tracker, run_dir)
    problems = []
    expected: dict[str, list[tuple[int, float]]] = {}
    for row, _ in read_rows(run_dir / "logs" / "metrics.jsonl"):
        for name in row.get("media", ()):
            wanted = (name, name.replace("/", "~"))  # the second is how MLflow names files
            if not any(text in medium for text in wanted for medium in stored.media):
                problems.append(f"{name} is missing")
        if "event" not in row:
            for name, value in row.get("metrics", {}).items():
                expected.setdefault(name, []).append((row["step"], value))
    for name, points in expected.items():
        got = sorted(stored.metrics.get(name, []))
        if len(got) != len(points):
            problems.append(f"{name}: {len(got)} values instead of {len(points)}")
        elif not all(map(_same, got, points)):
            problems.append(f"{name}: other values than those that were logged")
    if not problems:
        values = sum(map(len, expected.values()))
        print(f"{tracker}: all {values} values and {len(stored.media)} media or files came back")
    return problems


def _same(stored: tuple[int, float], logged: tuple[int, float]) -> bool:
    """Equal steps, and values equal to single precision, which is what TensorBoard has."""
    return stored[0] == logged[0] and math.isclose(stored[1], logged[1], rel_tol=1e-6)


def main() -> int:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("trackers", metavar="NAMES", help="wandb, trackio, mlflow, tensorboard, all")
    trackers = parse_trackers(flags.parse_args().trackers, "NAMES")
    import yaml

    started, values = time.monotonic(), settings()
    if "wandb" in trackers:
        mode, why = wandb_mode(bool(values["WANDB_OFFLINE"]))
        print(f"wandb: {mode} ({why})")
        if mode == "disabled":
            raise Failure(f"{why}: unset it to test W&B")
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):  # one process, whatever launched it
        os.environ.pop(name, None)
    files = {"config.yaml": yaml.safe_dump({"Experiment Tracking": values})}
    info = {"seed": 0, "model": {"name": "made-up"}, "tags": ["test"], "optimizer": "none"}
    name = f"tracker-test_{time.strftime('%Y%m%d-%H%M%S')}"
    run = Run.create("outputs/tracker-test", name, files=files, info=info)
    assert isinstance(run, Run)
    with run:
        run.track(trackers, values)
        fake_training(run)
    problems = [f"{name}: {text}" for name in trackers for text in compare(name, run.dir)]
    if problems:
        raise Failure("\n  ".join(["not everything came back:", *problems]))
    print(f"passed in {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    run_main(main)
