# SPDX-License-Identifier: MIT
"""A Program as an MLflow model that loads where only mlflow and torch are installed.

difference = save(program, folder, mlflow_run)
mlflow.pyfunc.load_model(folder).predict(images)

It is MLflow's own pytorch flavour in its form "pt2": torch.export's graph and the weights. Nothing
in it is pickled code, so loading runs none. Imports mlflow and torch.
"""

import logging
import os
import platform
import warnings
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import mlflow.pytorch
import numpy as np
import torch
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from ..errors import Failure
from .program import Program

TOLERANCE = 1e-5  # of the largest logit: another kernel may add up in another order


def save(program: Program, folder: Path, mlflow_run: str) -> float:
    """Write the model to `folder`, which must not exist, and load it again to compare.

    Returns the largest difference between its logits and those of the network itself, on the
    example; usually 0. Raises Failure when it is above TOLERANCE times the largest logit, or the
    network cannot be exported.
    """
    with torch.no_grad():
        expected = program.module(torch.from_numpy(program.example)).numpy()
    signature = ModelSignature(
        Schema([TensorSpec(program.example.dtype, program.inputs)]),
        Schema([TensorSpec(expected.dtype, program.outputs)]),
    )
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        try:
            mlflow.pytorch.save_model(
                program.module,
                str(folder),
                mlflow_model=Model(run_id=mlflow_run),
                signature=signature,
                input_example=program.example,
                serialization_format="pt2",
                pip_requirements=requirements(),
                metadata=program.about,
            )
        except (RuntimeError, torch._dynamo.exc.TorchDynamoException) as error:
            reason = str(error).strip().partition("\n")[0]
            raise Failure(f"torch.export cannot take this network: {reason}") from error
        found = mlflow.pyfunc.load_model(str(folder)).predict(program.example)
    return _compared(found, expected)


def requirements() -> list[str]:
    """What the model needs, in the versions of this environment, as pip names them."""
    return [f"{name}=={version(name).partition('+')[0]}" for name in ("mlflow", "torch", "numpy")]


def environment() -> str:
    """The same in one line, with Python."""
    return " ".join([f"python=={platform.python_version()}", *requirements()])


def _compared(found: np.ndarray, expected: np.ndarray) -> float:
    difference = float(np.abs(found - expected).max())
    if not difference <= TOLERANCE * float(np.abs(expected).max()):  # NaN, too
        raise Failure(
            f"the exported network differs from the trained one by {difference:.3g}, which is more "
            "than rounding: it is not registered"
        )
    return difference
