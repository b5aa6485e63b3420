# SPDX-License-Identifier: MIT
"""The weights of a model as Hugging Face keeps them, in one file or in several, here or on the hub.

    found = read("owner/name", "PRETRAINED")
    found.weights["wte.weight"], found.config.get("n_layer")

A directory has model.safetensors, or several files and model.safetensors.index.json, which says
which tensor is where. Imports torch.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..errors import Failure

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"


class Found(NamedTuple):
    """Tensors by their names in the files, in their own dtype; config.json, if it was there."""

    weights: dict[str, Tensor]
    config: dict[str, Any]


def read(source: str, setting: str) -> Found:
    """Read a local file or directory, or a model on the hub (owner/name).

    Raises Failure, which names `setting`, when anything is missing or damaged.
    """
    try:
        return Found(*_read(source))
    except Failure as error:
        raise Failure(f"{setting}: {error}") from error
    except (OSError, SafetensorError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Failure(f"{setting}: cannot read {source}: {reason}") from error


def _read(source: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    path = Path(source).expanduser()
    if not path.exists() and source.count("/") == 1 and not source.startswith((".", "/", "~")):
        return _from(source, lambda name: _download(source, name))
    if path.is_dir():
        return _from(source, lambda name: _in(path, name))
    if path.name.endswith(".index.json"):
        return _read(str(path.parent))
    return load_file(path), _config(_in(path.parent, CONFIG))


def _from(source: str, get: Callable[[str], Path | None]) -> tuple[dict[str, Tensor], dict]:
    """The same from what `get` gives the path of, by name; None if it is not there."""
    config = _config(get(CONFIG))
    if one := get(WEIGHTS):
        return load_file(one), config
    if index := get(INDEX):
        return dict(_parts(index, get)), config
    raise Failure(_nothing_in(source, get))


def _parts(index: Path, get: Callable[[str], Path | None]) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of all files that the index lists."""
    try:
        where = json.loads(index.read_bytes())["weight_map"]
        files = sorted({Path(name).name for name in where.values()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Failure(f"{index} is damaged: {error!r}") from error
    for file in files:
        path = get(file)
        if path is None:
            raise Failure(f"{index} names {file}, which is missing")
        found = load_file(path)
        if lacking := sorted(name for name in where if where[name] == file and name not in found):
            raise Failure(f"{path} lacks {lacking[0]}, which {index.name} says is there")
        yield from found.items()


def _config(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    config = json.loads(path.read_bytes())
    if not isinstance(config, dict):
        raise Failure(f"{path} is not a JSON object")
    return config


def _in(folder: Path, name: str) -> Path | None:
    return folder / name if (folder / name).is_file() else None


def _download(source: str, name: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(source, name))
    except EntryNotFoundError as error:
        if not isinstance(error, LocalEntryNotFoundError):  # the hub has no such file
            return None
        reason = error
    except Exception as error:  # its many others, and those of the HTTP library below it
        reason = error
    raise Failure(
        f"cannot download {source} from the Hugging Face hub ({type(reason).__name__}): bring its "
        "directory here and give the path"
    ) from reason


def _nothing_in(source: str, get: Callable[[str], Path | None]) -> str:
    if get("metadata.yaml"):
        return (
            f"{source} is a run, without an export of its weights: make export RUN={source} "
            f"FORMAT=hf, then give {source}/hf; or start from its checkpoint with INIT_FROM"
        )
    if get("pytorch_model.bin"):
        return f"{source} has pytorch_model.bin only: save it again as safetensors"
    return f"{source} has neither {WEIGHTS} nor {INDEX}"
