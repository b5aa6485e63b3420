# SPDX-License-Identifier: MIT
"""The report: one HTML file that needs nothing else, and loads nothing else.

    write_report(runs, Path("report.html"))

Styles, our script, plotly.js, the data (JSON) and the images are in the file. Its Content Security
Policy allows exactly these two scripts, by their hashes, and no connection at all: a text from a
run that slipped through as markup could neither run nor load anything. Every text is escaped by
jinja2. The file is about 5 MB, nearly all of it plotly.js.
"""

import base64
import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from lib.files import atomic
from lib.runs.report.comparison import comparison
from lib.runs.report.curves import SECTIONS, Chart, charts
from lib.runs.report.facts import Facts, facts_of
from lib.runs.report.logged import read_journal
from lib.runs.report.media import ALL_IMAGES, Budget, media_of
from lib.runs.stored import StoredRun

_HERE = Path(__file__).parent


def write_report(runs: Sequence[StoredRun], path: Path) -> None:
    """Write the report of `runs` to `path`, which is the old file or the whole new one.

    Like a run, it can be read by its owner only. Raises OSError.
    """
    page = render(runs).encode("utf-8", "replace")
    with atomic(path) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(page)


def render(runs: Sequence[StoredRun]) -> str:
    """The HTML of the report of at least one run."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    logged = [read_journal(run.journal, run.metadata) for run in runs]
    facts = [facts_of(run, log) for run, log in zip(runs, logged, strict=True)]
    drawn = charts([fact.name for fact in facts], logged)
    media = [
        media_of(run.dir, log.media, Budget(ALL_IMAGES // len(runs)))
        for run, log in zip(runs, logged, strict=True)
    ]
    scripts = [get_plotlyjs().replace("\r\n", "\n"), _source("report.js")]
    templates = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template("report.html").render(
        policy=content_security_policy(scripts),
        style=Markup(_source("report.css")),
        scripts=[Markup(script) for script in scripts],
        data=Markup(_json(page_data(runs, facts, drawn))),
        runs=list(zip(facts, media, strict=True)),
        compared=comparison(runs) if len(runs) > 1 else None,
        charts=drawn,
        sections={key: title for key, title in SECTIONS.items() if _has(drawn, key)},
        epochs=all(_epoch(run) for run in runs),
        written=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %z}",
    )


def content_security_policy(scripts: Sequence[str]) -> str:
    """Nothing is loaded or sent; of scripts only these run. Plotly sets styles of elements.

    blob: and data: are within the page; blob: is for saving a chart as an image.
    """
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def page_data(
    runs: Sequence[StoredRun], facts: Sequence[Facts], drawn: Sequence[Chart]
) -> dict[str, Any]:
    """What the script gets: the charts, and of each run its name, its best step, and how many steps
    an epoch has, null where that is not known.
    """
    return {
        "runs": [
            {
                "name": fact.name,
                "best": fact.best.step if fact.best else None,
                "epoch": _epoch(run),
            }
            for run, fact in zip(runs, facts, strict=True)
        ],
        "charts": [asdict(chart) for chart in drawn],
    }


def _epoch(run: StoredRun) -> int | None:
    steps = run.metadata.get("steps_per_epoch")
    return steps if type(steps) is int and steps > 0 else None


def _has(drawn: Sequence[Chart], section: str) -> bool:
    return any(chart.section == section for chart in drawn)


def _source(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _json(value: Any) -> str:
    """JSON that can stand in a <script>: no character of it means anything in HTML."""
    text = orjson.dumps(value).decode()
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
