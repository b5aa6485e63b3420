# SPDX-License-Identifier: MIT
"""Show one run: what it is, its results, how it differs from the defaults, its files.

    make show [RUN=name]
    python -m scripts.runs.show [--output-dir DIR] [RUN]

RUN is the name of a run, its unique beginning, or a path; without it, the latest run. Of a run that
is kept elsewhere, it shows what NAME.summary.yaml says.
"""

from lib.cli import begin, run_main

if __name__ == "__main__":
    begin()

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lib import text
from lib.runs import evaluations
from lib.runs.stored import StoredRun, disk_usage, last_metrics, load_run, run_named
from lib.runs.words import entries
from lib.safe_yaml import load_mapping
from scripts.common import output_dir, run_parser

# Shown in sections of their own, or by another field.
_ELSEWHERE = {"run_name", "final_metrics", "results", "environment"}
_ELSEWHERE |= {"notes", "tag_changes", "conclusion", "earlier_conclusions", "evaluations"}
_MANY_FILES = 30


def show(run: StoredRun) -> None:
    """Print the sections that are not empty."""
    fields = run.metadata
    about = {key: value for key, value in fields.items() if key not in _ELSEWHERE}
    machine = dict(run.part("environment"))
    packages = machine.get("packages")
    if isinstance(packages, dict):
        machine["packages"] = [f"{name} {version}" for name, version in packages.items()]
    print_section(run.name, _flat(about))
    print_section("Result", _metrics(run.part("final_metrics")), _flat(run.part("results")))
    print_section("Evaluations", evaluations.as_rows(fields))
    print_section("Conclusion", _flat(run.part("conclusion")))
    notes = entries(fields, "notes")
    print_section("Notes", [(str(note.get("time")), str(note.get("text"))) for note in notes])
    logged = last_metrics(run.journal).items()
    print_section("Last logged", _metrics({k: v for k, v in logged if not k.startswith("final/")}))
    if run.of_script:  # whose settings have no defaults
        print_section("Configuration", _flat(run.settings))
    print_section("Not the default", _changed_settings(run.dir / "origins.yaml"))
    print_section("Environment", _flat(machine))
    if run.status == "kept":
        print(f"\nIts files are not here: make pull RUN={text.one_line(run.name)}")
    else:
        print_section(f"Files in {run.dir}", _files(run.dir))


def print_section(title: str, *parts: Iterable[tuple[str, str]]) -> None:
    """A title and `name value` lines; nothing if there are no lines."""
    rows = [row for part in parts for row in part]
    if rows:
        print("", text.one_line(title), *(f"  {line}" for line in text.columns(rows)), sep="\n")


def _flat(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of nested mappings with dotted names; empty ones are left out."""
    for key, value in fields.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            if value:
                yield f"{prefix}{key}", ", ".join(map(str, value))
        elif value is not None and value != "":
            yield f"{prefix}{key}", str(value)


def _metrics(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in metrics.items():
        yield name, text.metric(name, value)


def _changed_settings(path: Path) -> Iterator[tuple[str, str]]:
    """Every setting that differs from its Kconfig default, and where it was set."""
    try:
        changed = load_mapping(path)
    except (OSError, ValueError):
        return
    for name, entry in changed.items():
        if isinstance(entry, dict):
            yield name, f"{entry.get('value')}  ({entry.get('origin')})"


def _files(directory: Path) -> Iterator[tuple[str, str]]:
    files = sorted(p for p in directory.rglob("*") if p.is_file() and p.name != ".lock")
    for path in files[:_MANY_FILES]:
        with contextlib.suppress(OSError):  # gone meanwhile
            yield str(path.relative_to(directory)), text.size(path.stat().st_size)
    if len(files) > _MANY_FILES:
        yield f"and {len(files) - _MANY_FILES} more", ""
    yield "total", text.size(disk_usage(directory))


def main() -> int:
    options = run_parser(__doc__).parse_args()
    show(load_run(run_named(output_dir(options.output_dir), options.run)))
    return 0


if __name__ == "__main__":
    run_main(main)
