# SPDX-License-Identifier: MIT
"""List the registered models: versions, aliases, metrics, and the run each is of.

    make registry [NAME=digits] [FORMAT=table|json|csv]
    python -m scripts.registry.table [--output-dir DIR]

kept says whether the run is kept with DVC here; sha256 is that of the checkpoint. With NAME= the
history of promotions follows.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import csv
import json
import os
import sys
import time
from typing import Any

from lib import text
from lib.errors import BadUse
from lib.registry.kept import dvc_md5
from lib.registry.promotions import Promotion, history
from lib.registry.versions import Version, names, the_name, versions
from scripts.common import output_dir, parser
from scripts.registry.common import given_name, registry

FORMATS = ("table", "json", "csv")


def main() -> None:
    runs = output_dir(parser(__doc__).parse_args().output_dir)
    wanted = os.environ.get("FORMAT") or "table"
    if wanted not in FORMATS:
        raise BadUse(f"FORMAT={wanted}: want {', '.join(FORMATS)}")
    name = given_name() if os.environ.get("NAME") else ""
    with registry() as client:
        models = [the_name(client, name)] if name else names(client)
        found = versions(client, models)
    promotions = history(models[0]) if name else []
    if wanted == "json":
        print_json(found, promotions, runs)
    elif wanted == "csv":
        print_csv(found, runs)
    elif not found:
        print("nothing is registered yet: make register RUN=… NAME=…")
    else:
        print_table(found, promotions, runs)


def print_table(found: list[Version], promotions: list[Promotion], runs: str) -> None:
    metrics = sorted({metric for version in found for metric in version.metrics})
    rows = [["model", "version", "alias", *metrics, "run", "checkpoint", "kept", "sha256", "age"]]
    for version in found:
        values = version.metrics
        rows.append([
            version.name,
            str(version.number),
            " ".join(version.aliases),
            *(text.metric(m, values[m]) if m in values else "" for m in metrics),
            version.run_name or "not of a run",
            version.tags.get("checkpoint", ""),
            "yes" if _kept(version, runs) else "no",
            version.tags.get("checkpoint_sha256", "")[:12],
            text.age(time.time() - version.created),
        ])  # fmt: skip
    print(*text.columns(rows, right=(1, *range(3, 3 + len(metrics)))), sep="\n")
    if promotions:
        print()
        rows = [["when (UTC)", "alias", "version", "before", "by", "what", "why"]]
        rows += [
            [
                p.time[:19].replace("T", " "),
                p.alias,
                str(p.version),
                str(p.previous or ""),
                p.by,
                p.kind,
                p.why,
            ]
            for p in promotions
        ]
        print(*text.columns(rows, right=(2, 3)), sep="\n")


def print_json(found: list[Version], promotions: list[Promotion], runs: str) -> None:
    """One object: versions, and the promotions of the model that was named."""
    listed = [_fields(version, runs) for version in found]
    history_ = [vars(entry) for entry in promotions]
    print(json.dumps({"versions": listed, "promotions": history_}, indent=1, ensure_ascii=False))


def print_csv(found: list[Version], runs: str) -> None:
    """A line for each version; a column for each metric that one of them has."""
    metrics = sorted({metric for version in found for metric in version.metrics})
    columns = ["model", "version", "aliases", *metrics, "run_name", "run_id", "mlflow_run"]
    columns += ["checkpoint", "checkpoint_sha256", "git_commit", "dvc_md5", "kept", "created"]
    writer = csv.DictWriter(sys.stdout, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for version in found:
        fields = _fields(version, runs)
        aliases = " ".join(version.aliases)
        writer.writerow({**version.tags, **fields, **version.metrics, "aliases": aliases})


def _fields(version: Version, runs: str) -> dict[str, Any]:
    return {
        "model": version.name,
        "version": version.number,
        "aliases": [*version.aliases],
        "metrics": version.metrics,
        "run_name": version.run_name,
        "mlflow_run": version.mlflow_run,
        "kept": _kept(version, runs),
        "created": version.created,
        "uri": version.uri,
        "tags": {name: value for name, value in version.tags.items() if "/" not in name},
    }


def _kept(version: Version, runs: str) -> bool:
    return bool(version.run_name) and bool(dvc_md5(runs, version.run_name))


if __name__ == "__main__":
    run_main(main)
