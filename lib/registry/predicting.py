# SPDX-License-Identifier: MIT
"""Inputs for a registered model from files, and what its logits say.

    inputs = read_inputs("photos/", about, shape)
    for line in explained(logits, inputs, about): …

`about` is what lib/registry/program.py stored with the model, `shape` that of its signature, with
-1 for what is open.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadUse, Failure

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_ARRAYS = (".npy", ".npz", ".json", ".csv")
BEST = 3  # guesses that are shown


@dataclass(frozen=True)
class Inputs:
    """`batches` to predict one after the other, and a name for each of their rows."""

    batches: list[np.ndarray]
    names: list[str]


def read_inputs(given: str, about: dict[str, Any], shape: Sequence[int]) -> Inputs:
    """From a file of numbers, an image, a folder of images, or text for a model of tokens.

    .npy and .npz (its only array, or the one called x), .json (nested lists), .csv (an input a
    line). Pixels that are integers count from 0 to 255. Raises BadUse for what does not fit the
    model, Failure for a file that cannot be read.
    """
    path, kind = Path(given), about.get("kind")
    suffix = path.suffix.lower()
    try:
        if suffix in _ARRAYS and path.is_file():
            return _fitting(_numbers(path, suffix), given, about, shape)
        if kind == "images" and (path.is_dir() or suffix in IMAGES):
            return _images(path, about, shape)
        if kind == "tokens":
            return _text(path.read_text() if path.is_file() else given, about)
    except OSError as error:
        raise Failure(f"INPUT={given}: {error.strerror}") from error
    what = "an image or a folder of images" if kind == "images" else "text"
    lacks = "" if path.exists() else "there is no such file; "
    raise BadUse(f"INPUT={given}: {lacks}want {', '.join(_ARRAYS)}, {what}")


def _numbers(path: Path, suffix: str) -> np.ndarray:
    try:
        if suffix == ".csv":
            with path.open(newline="") as file:
                return np.array([[float(cell) for cell in row] for row in csv.reader(file) if row])
        if suffix == ".json":
            return np.array(json.loads(path.read_bytes()))
        found = np.load(path, allow_pickle=False)
        if suffix == ".npy":
            return found
        names = found.files
        if "x" not in names and len(names) != 1:
            raise BadUse(f"INPUT={path}: which of its arrays? {', '.join(names)}; call it x")
        return found["x" if "x" in names else names[0]]
    except BadUse:
        raise
    except (ValueError, TypeError, EOFError, KeyError) as error:
        raise BadUse(f"INPUT={path} is not {suffix} with numbers: {error}") from error


def _fitting(found: np.ndarray, given: str, about: dict[str, Any], shape: Sequence[int]) -> Inputs:
    """`found` in the form and type that the model takes."""
    if found.dtype.kind not in "biuf":
        raise BadUse(f"INPUT={given}: not numbers, or rows of different lengths")
    if about.get("kind") == "tokens":
        if not np.array_equal(found, np.floor(found)):
            raise BadUse(f"INPUT={given}: token ids are whole numbers")
        wanted, x = 2, found.astype(np.int64)
    else:
        x = found.astype(np.float32) / (255 if found.dtype.kind in "bui" else 1)
        wanted = len(shape)
        rest = tuple(shape[1:])
        if x.ndim == 2 and x.shape[1:] == (int(np.prod(rest)),):  # a line of a .csv
            x = x.reshape(-1, *rest)
    x = x[None] if x.ndim == wanted - 1 else x
    if x.ndim != wanted or any(s not in (-1, n) for s, n in zip(shape, x.shape, strict=True)):
        raise BadUse(f"INPUT={given} has shape {found.shape}; the model takes {tuple(shape)}")
    if not len(x) or not np.isfinite(x).all():
        raise BadUse(f"INPUT={given}: want at least one input, and finite numbers")
    return Inputs([x], [f"[{row}]" for row in range(len(x))])


def _images(path: Path, about: dict[str, Any], shape: Sequence[int]) -> Inputs:
    """As evaluation brought the images of the training set to size."""
    files = [path]
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() in IMAGES)
    if not files:
        raise BadUse(f"INPUT={path}: no images in this folder ({', '.join(IMAGES)})")
    _, channels, size, _ = shape
    batches = [_pixels(file, about.get("border"), channels, size) for file in files]
    return Inputs(batches, [file.name for file in files])


def _pixels(file: Path, border: int | None, channels: int, size: int) -> np.ndarray:
    """float32 [1, channels, size, size] in [0, 1]. Raises Failure naming a file that is broken."""
    import torch  # only here: numbers need none of it
    from torch.nn import functional as F

    from ..data.images.decode import BrokenImage, decode, middle
    from ..data.images.in_memory import canvas

    encoded = file.read_bytes()
    try:
        if border is None:
            rgb = middle(encoded, size)
        else:
            rgb = np.asarray(decode(encoded)).transpose(2, 0, 1)
    except BrokenImage as error:
        raise Failure(f"INPUT={file}: {error}") from error
    inner = size - 2 * (border or 0)
    x = canvas(torch.from_numpy(rgb.copy())[None], inner, channels)
    return F.pad(x, (border or 0,) * 4).contiguous().numpy()


def _text(text: str, about: dict[str, Any]) -> Inputs:
    """One row of token ids: the start of a document, then the text, its end if it is too long."""
    tokenizer = _tokenizer(about)
    ids = [tokenizer.end_of_text, *tokenizer.encode(text).tolist()]
    return Inputs([np.array([ids[-int(about["longest"]) :]], dtype=np.int64)], [text[-40:]])


def _tokenizer(about: dict[str, Any]) -> Any:
    from ..data.text.tokenizers import load_tokenizer

    return load_tokenizer(str(about.get("tokenizer")))


def explained(logits: np.ndarray, names: list[str], about: dict[str, Any]) -> list[dict[str, Any]]:
    """For each row its name, and the BEST classes or next tokens with their probabilities."""
    last = logits if logits.ndim == 2 else logits[:, -1]
    odds = np.exp(last - last.max(axis=1, keepdims=True), dtype=np.float64)
    odds /= odds.sum(axis=1, keepdims=True)
    best = np.argsort(-last, axis=1, kind="stable")[:, :BEST]
    if about.get("kind") == "tokens":
        tokenizer = _tokenizer(about)
        labels = {int(token): tokenizer.decode([int(token)]) for token in np.unique(best)}
    else:
        labels = dict(enumerate(about.get("classes", ())))
    return [
        {
            "input": name,
            "best": [
                {"label": labels.get(int(i), str(i)), "probability": round(float(p[i]), 6)}
                for i in row
            ],
        }
        for name, row, p in zip(names, best, odds, strict=True)
    ]
