# SPDX-License-Identifier: MIT
"""Predict with a registered model.

    make predict NAME=digits@production INPUT=digit.png
    make predict NAME=digits/3 INPUT=images.npy [OUT=logits.npy|guesses.json|guesses.csv]
    make predict NAME=writer@production INPUT="Once upon a"

INPUT is a file of numbers (.npy, .npz, .json, .csv), for a model of images also an image or a
folder of them, for a model of tokens also text or a text file. Prints the likeliest classes, or
next tokens, with their probabilities. OUT=….npy keeps all logits, .json and .csv what is printed.
The model is loaded from MLflow; nothing that it contains is run but its graph.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import argparse
import csv
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from lib import text
from lib.errors import BadUse, Failure, did_you_mean
from lib.files import write_atomic
from lib.registry.predicting import explained, read_inputs
from lib.registry.versions import the_name, the_version
from scripts.registry.common import given, registry

_URI = re.compile(r"(?:models:/)?([^@/]+)(?:@([^@/]+)|/(\d+))")
_OUT = (".npy", ".json", ".csv")
_SHOWN = 50  # lines


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    name = given("NAME", "a model with its alias or version, such as NAME=digits@production")
    wanted = given("INPUT", "a file, a folder of images, or text")
    out = Path(os.environ["OUT"]) if os.environ.get("OUT") else None
    if out and out.suffix not in _OUT:
        raise BadUse(f"OUT={out}: want a name that ends with {', '.join(_OUT)}")
    model, where = load(name)
    about = dict(model.metadata.metadata or {})
    shape = model.metadata.get_input_schema().inputs[0].shape
    inputs = read_inputs(wanted, about, shape)
    logits = np.concatenate([predict(model, batch) for batch in inputs.batches])
    rows = explained(logits, inputs.names, about)
    print(where)
    shown = [
        [row["input"], *(f"{g['label']!r} {100 * g['probability']:.1f} %" for g in row["best"])]
        for row in rows[:_SHOWN]
    ]
    print(*text.columns(shown), sep="\n")
    if len(rows) > _SHOWN:
        print(f"… and {len(rows) - _SHOWN} more; OUT=guesses.csv keeps them all")
    if out:
        keep(out, logits, rows)
        print(out)


def load(name: str) -> tuple[Any, str]:
    """The model and a line that says which. Raises BadUse, with what there is."""
    parts = _URI.fullmatch(name)
    if parts is None:
        raise BadUse(f"NAME={name}: which version? NAME=name@production, or NAME=name/3")
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"  # whoever has registered it
    with registry() as client:
        model = the_name(client, parts[1])
        if parts[2] and parts[2] not in model.aliases:
            known = ", ".join(f"{model.name}@{alias}" for alias in sorted(model.aliases))
            hint = did_you_mean(parts[2], model.aliases) or f"; there are: {known or 'none'}"
            raise BadUse(f"NAME={name}: no such alias{hint}")
        number = model.aliases[parts[2]] if parts[2] else int(parts[3])
        version = the_version(client, model, number)

        import mlflow.pyfunc

        loaded = mlflow.pyfunc.load_model(version.uri)
    schema = loaded.metadata.get_input_schema()
    if schema is None or not schema.is_tensor_spec() or not loaded.metadata.metadata:
        raise Failure(f"{version.uri} was not made by `make register`, so its input is not known")
    return loaded, f"{version.uri}, run {version.run_name}"


def predict(model: Any, batch: np.ndarray) -> np.ndarray:
    """Logits. Raises BadUse for what the model refuses, such as too many tokens."""
    try:
        return model.predict(batch)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise BadUse(f"the model refuses an input of shape {batch.shape}: {reason}") from error


def keep(out: Path, logits: np.ndarray, rows: list[dict[str, Any]]) -> None:
    """Write OUT whole or not at all. Raises Failure."""
    file: Any = io.BytesIO()
    if out.suffix == ".npy":
        np.save(file, logits)
    elif out.suffix == ".json":
        file.write(json.dumps(rows, indent=1, ensure_ascii=False).encode())
    else:
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(["input", "label", "probability"])
        for row in rows:
            writer.writerows([row["input"], g["label"], g["probability"]] for g in row["best"])
        file.write(lines.getvalue().encode())
    try:
        write_atomic(out, file.getvalue())
    except OSError as error:
        raise Failure(f"OUT={out}: {error.strerror}") from error


if __name__ == "__main__":
    run_main(main)
