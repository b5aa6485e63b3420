# SPDX-License-Identifier: MIT
"""The report of runs: the templates report.html and run.html, filled (lib/runs/report/html.py).

write_report(runs, Path("report.html"))
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..stored import StoredRun
from .comparison import comparison
from .curves import SECTIONS, Chart, charts
from .facts import Facts, facts_of
from .html import render_page, write_page
from .logged import read_journal
from .media import ALL_IMAGES, Budget, media_of

_HERE = Path(__file__).parent


def write_report(runs: Sequence[StoredRun], path: Path) -> None:
    """Write the report of `runs` to `path`, as `write_page` does. Raises OSError."""
    write_page(render(runs), path)


def render(runs: Sequence[StoredRun]) -> str:
    """The HTML of the report of at least one run."""
    logged = [read_journal(run.journal, run.metadata) for run in runs]
    facts = [facts_of(run, log) for run, log in zip(runs, logged, strict=True)]
    drawn = charts([fact.name for fact in facts], logged)
    media = [
        media_of(run.dir, log.media, Budget(ALL_IMAGES // len(runs)))
        for run, log in zip(runs, logged, strict=True)
    ]
    return render_page(
        _HERE / "report.html",
        _HERE / "report.js",
        page_data(runs, facts, drawn),
        runs=list(zip(facts, media, strict=True)),
        compared=comparison(runs) if len(runs) > 1 else None,
        charts=drawn,
        sections={key: title for key, title in SECTIONS.items() if _has(drawn, key)},
        epochs=all(_epoch(run) for run in runs),
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
