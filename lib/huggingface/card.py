# SPDX-License-Identifier: MIT
"""README.md of a directory for others: what the model is, of which run, and how good.

    text = model_card(run, release, exported)

It is made from metadata.yaml, config.yaml and the journal. Secrets are redacted, and the folders of
paths are left out.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from ..config import config_yaml
from ..config.science import is_science
from ..errors import Failure
from ..runs.redact import redact, redact_named
from ..runs.stored import StoredRun
from ..text import metric, one_line
from .directory import Release

_PATH = re.compile(r"[~/.]?[^\s,]*/")  # all but the last part of one


class Exported(NamedTuple):
    """What is exported: which checkpoint ("last", "best") after how many updates, and its masks.

    averaged: the weights are their running mean.
    """

    checkpoint: str
    step: int
    averaged: bool
    masks: Mapping[str, Tensor]


def model_card(run: StoredRun, release: Release, exported: Exported) -> str:
    """Markdown, with the front matter that the hub reads."""
    sections = {
        "Use": f"```python\n{release.use.strip()}\n```",
        "Data": _list(_data(run)),
        "Results": _results(run, exported),
        "Sparsity": _sparsity(run, release, exported),
        "Training": _training(run),
    }
    parts = [_front(release, exported), f"# {one_line(redact(run.name))}", _about(run, exported)]
    parts += [f"## {title}\n\n{text}" for title, text in sections.items() if text]
    return "\n\n".join(parts) + "\n"


def _front(release: Release, exported: Exported) -> str:
    tags = [release.config["model_type"], "adamwprune", *(["pruned"] if exported.masks else [])]
    lines = ["library_name: transformers", "pipeline_tag: text-generation", "tags:"]
    return "\n".join(["---", *lines, *(f"- {tag}" for tag in tags), "---"])


def _about(run: StoredRun, exported: Exported) -> str:
    fields = run.metadata
    described = [one_line(redact(str(fields.get("description") or "")))]
    mean = ", as their running mean over the training," if exported.averaged else ""
    described.append(
        f"The weights after {exported.step:,} updates{mean} of the run "
        f"`{one_line(redact(run.name))}` ({fields.get('run_id')}; status: {run.status}): its "
        f"{exported.checkpoint} checkpoint."
    )
    return "\n\n".join(filter(None, described))


def _data(run: StoredRun) -> Iterator[tuple[str, Any]]:
    data = run.part("dataset")
    sizes = data.get("sizes")
    yield "data set", data.get("name")
    if isinstance(sizes, dict):
        yield from ((f"{part} size", size) for part, size in sizes.items())
    yield "fingerprint", data.get("fingerprint")
    yield "tokenizer", run.setting("TOKENIZER")


def _results(run: StoredRun, exported: Exported) -> str:
    """What was measured at the step of the checkpoint, and what the run ended with."""
    rows = []
    for name in run.metric_names:
        if name.startswith(("val/", "test/")):
            series = run.metric(name)
            at_step = series.values[series.steps == exported.step]
            rows += [(name, metric(name, float(value))) for value in at_step[-1:]]
    if run.status == "completed":
        rows += [(name, metric(name, value)) for name, value in run.part("final_metrics").items()]
    return _table(("metric", "value"), rows)


def _sparsity(run: StoredRun, release: Release, exported: Exported) -> str:
    if not exported.masks:
        return ""
    n = sum(mask.numel() for mask in exported.masks.values())
    kept = sum(int(mask.count_nonzero()) for mask in exported.masks.values())
    return (
        f"{n - kept:,} of the {n:,} weights in the pruned layers are zero ({1 - kept / n:.2%}), "
        f"by {run.setting('PRUNING_METHOD')}."
    )


def _training(run: StoredRun) -> str:
    """The settings that change a run's numbers."""
    try:
        menus = config_yaml.load(run.dir / "config.yaml")
    except (OSError, ValueError) as error:
        raise Failure(f"cannot read the settings of {run.name}: {error}") from error
    rows = [
        (name, _without_folders(redact_named(name, _written(value))))
        for menu, settings in menus.items()
        for name, value in settings.items()
        if is_science(name, tuple(menu.split(" / "))) and value != ""
    ]
    packages = run.part("environment")
    made = f"PyTorch {packages.get('torch')}, Python {packages.get('python')}."
    table = _table(("setting", "value"), rows)
    return f"{made}\n\n<details><summary>Settings</summary>\n\n{table}\n\n</details>"


def _written(value: Any) -> str:
    return ("n", "y")[value] if isinstance(value, bool) else str(value)


def _without_folders(value: str) -> str:
    return value if re.fullmatch(r"[a-z]+/[a-z_]+", value) else _PATH.sub("", value)


def _list(items: Iterator[tuple[str, Any]]) -> str:
    said = ((name, redact(one_line(value))) for name, value in items if value not in (None, ""))
    return "\n".join(f"- {name}: {_without_folders(value)}" for name, value in said)


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    if not rows:
        return ""
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    lines += [f"| {name} | {one_line(value).replace('|', chr(92) + '|')} |" for name, value in rows]
    return "\n".join(lines)
