# SPDX-License-Identifier: MIT
"""One HTML file that needs nothing else, and loads nothing else: reports of runs and of sweeps.

    page = render_page(HERE / "report.html", HERE / "report.js", data, runs=…)
    write_page(page, Path("report.html"))

Styles, our scripts, plotly.js, the data (JSON) and the images are in the file. Its Content Security
Policy allows exactly these scripts, by their hashes, and no connection at all: a text from a
run that slipped through as markup could neither run nor load anything. Every text is escaped by
jinja2. The file is about 5 MB, nearly all of it plotly.js.
"""

import base64
import hashlib
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from ...files import atomic

_HERE = Path(__file__).parent


def write_page(page: str, path: Path) -> None:
    """Write the page to `path`, which is the old file or the whole new one.

    Like a run, it can be read by its owner only. Raises OSError.
    """
    with atomic(path) as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(page.encode("utf-8", "replace"))


def render_page(template: Path, script: Path, data: Any, **fields: Any) -> str:
    """The page of `template`, which extends base.html; `script` finds `data` in #data.

    charts.js runs before `script`.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    files = (_HERE / "charts.js", script)
    scripts = [get_plotlyjs().replace("\r\n", "\n"), *(f.read_text("utf-8") for f in files)]
    templates = Environment(
        loader=FileSystemLoader([template.parent, _HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template(template.name).render(
        policy=content_security_policy(scripts),
        style=Markup((_HERE / "report.css").read_text(encoding="utf-8")),
        scripts=[Markup(script) for script in scripts],
        data=Markup(_json(data)),
        written=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %z}",
        **fields,
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


def _json(value: Any) -> str:
    """JSON that can stand in a <script>: no character of it means anything in HTML."""
    text = orjson.dumps(value).decode()
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
