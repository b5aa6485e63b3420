# SPDX-License-Identifier: MIT
"""The file: what it says, what it escapes, and that broken runs have a report, too."""

import base64
import hashlib
import json
import re
import stat
from collections import deque
from html.parser import HTMLParser
from pathlib import Path

import orjson
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plotly.offline import get_plotlyjs

from lib.runs.report.logged import Media
from lib.runs.report.media import Budget, media_of
from lib.runs.report.page import render, write_report
from lib.runs.run import Run
from lib.runs.stored import StoredRun, load_run
from tests.lib.runs.report.conftest import HOSTILE, make_run


class Page(HTMLParser):
    """Tags, attributes and texts of a page, as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._in_script = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._in_script = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._in_script = False

    def handle_data(self, data):
        if not self._in_script:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def html(run) -> str:
    return render([run])


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


def test_everything_is_said(page):
    for said in (
        "hypothesis a smaller rate ends lower", "conclusion: verdict refuted", "best val loss 0.1",
        "best step 60", "best epoch 3", "device cpu", "precision float32", "seed 7", "baseline",
        "LEARNING_RATE 0.002 SET", "1 is not at its default", "git checkout 0123abc",
        "make replay RUN=alpha", "logged 10 times, the latest 4 shown", "14 of 15 right",
        "100 values, mean 49.5", "the end", "commit 0123abc", "step 70",
    ):  # fmt: skip
        assert said in page.text, said


def test_markup_in_texts_is_text(page):
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    assert page.text.count(HOSTILE) >= 9  # description, tag, note, diff, samples, log, table, …
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 4


def test_nothing_refers_to_another_place(html, page):
    for _, attributes in page.tags:
        for name in ("src", "href", "action", "srcset", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), value
    style = html.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style and "@import" not in style


def test_the_policy_names_exactly_the_scripts_of_the_page(html, page):
    (policy,) = [
        attributes["content"]
        for _, attributes in page.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    scripts = re.findall(r"<script>(.*?)</script>", html, re.S)
    assert len(scripts) == 3
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    assert policy.startswith(f"default-src 'none'; script-src {allowed};")
    assert "unsafe-eval" not in policy and "http" not in policy


def test_the_data_are_json_that_cannot_end_its_element(html):
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)[1]
    assert not set("<>&") & set(text)
    data = json.loads(text, parse_constant=pytest.fail)
    assert data["runs"] == [{"name": "alpha", "best": 60, "epoch": 20}]
    quantities = [chart["quantity"] for chart in data["charts"]]
    assert quantities[:2] == ["loss", "accuracy"] and HOSTILE in quantities


def test_the_file_replaces_an_older_one_whole_and_is_private(run, tmp_path, file_size_limit):
    tmp_path.chmod(0o755)  # in a private directory every file is private
    path = tmp_path / "report.html"
    path.write_text("the older one")
    with file_size_limit(100_000), pytest.raises(OSError):
        write_report([run], path)
    assert path.read_text() == "the older one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
    write_report([run], path)
    assert path.read_text().rstrip().endswith("</html>")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_secrets_are_hidden_that_a_run_from_elsewhere_brings(tmp_path):
    secret = "hf_" + "a1B2c3D4" * 4 + "xy"
    run = make_run(tmp_path, "leaky", steps=10)
    with (run.dir / "logs" / "train.log").open("a") as log:
        log.write(f"using {secret}\n")
    (run.dir / "git.diff").write_text(f"diff --git a/.env b/.env\n+HF_TOKEN={secret}\n")
    config = yaml.safe_load((run.dir / "config.yaml").read_text())
    config["Training"]["URL"] = f"https://me:{secret}@host/"
    (run.dir / "config.yaml").write_text(yaml.safe_dump(config))
    sample = {"type": "text", "text": secret}
    with run.journal.open("ab") as journal:
        journal.write(orjson.dumps({"step": 9, "media": {"sample": sample}}) + b"\n")
    told = StoredRun(run.dir, {**run.metadata, "description": secret, "command": f"x {secret}"})
    html = render([told])
    assert secret not in html
    assert html.count("[redacted]") >= 6


def test_several_runs_are_compared(run, tmp_path):
    other = make_run(tmp_path, "beta", rate=4e-3)
    broken = StoredRun(tmp_path / "gamma", {"status": "unreadable", "error": "x"})
    html = render([run, other, broken])
    table = html.partition('id="comparison"')[2].partition("</section>")[0]
    said = Page(table).text
    assert re.search(r"LEARNING_RATE 0.002 0.004\b", said)
    assert re.search(r"train/loss \(lower is better\) [\d.]+ [\d.]+ best ", said)
    assert "gamma is unreadable and left out: x" in said
    assert "BATCH_SIZE" not in said
    text = Page(html).text
    assert all(name in text for name in ("alpha", "beta", "gamma", "3 runs"))


def test_twenty_runs_are_one_file(run):
    html = render([run] * 20)
    assert len(html) < 8e6
    assert html.count(get_plotlyjs()) == 1


@pytest.mark.parametrize(
    "file", ["metadata.yaml", "config.yaml", "origins.yaml", "logs/metrics.jsonl", "logs/train.log"]
)
@pytest.mark.parametrize("content", [None, b"\xff\x00{[", b"[1, 2]\n", b"a: [b, {c: 1}]\n"])
def test_missing_and_damaged_files(tmp_path, file, content):
    run = make_run(tmp_path, "broken", steps=10)
    (run.dir / file).unlink()
    if content is not None:
        (run.dir / file).write_bytes(content)
    metadata = {"status": "unreadable", "error": "x"} if file == "metadata.yaml" else run.metadata
    assert "broken" in Page(render([StoredRun(run.dir, metadata)])).text


def test_metadata_of_any_type(tmp_path):
    run = make_run(tmp_path, "odd", steps=10)
    for odd in (7, "text", ["list"], {"deep": {"er": [1, {"x": None}]}}, None, True):
        assert "odd" in Page(render([StoredRun(run.dir, dict.fromkeys(run.metadata, odd))])).text


@pytest.mark.parametrize(
    "item",
    [
        {"type": "image", "path": "../../../etc/passwd"},
        {"type": "image", "path": "metadata.yaml"},
        {"type": "image"},
        {"type": "text", "text": {"no": "text"}},
        {"type": "table", "columns": 3, "head": "x", "count": None},
        {"type": "histogram", "counts": [1, "x"], "edges": [0, 1, 2]},
        {"type": "histogram", "counts": [], "edges": [0], "count": 0},
        {"type": "confusion_matrix", "matrix": [[1, 2]], "labels": ["a", "b"]},
        {"type": "artifact", "path": "x", "bytes": "many"},
        {"type": HOSTILE},
        {},
    ],
)
def test_media_of_a_malformed_journal(tmp_path, item):
    run = make_run(tmp_path, "odd", steps=1)
    with run.journal.open("ab") as journal:
        journal.write(orjson.dumps({"step": 1, "media": {"malformed": item}}) + b"\n")
    text = Page(render([load_run(run.dir)])).text
    assert "root:" not in text
    assert "malformed" in text


def test_numbers_at_the_ends_of_their_ranges(tmp_path):
    run = make_run(tmp_path, "odd", steps=1)
    with run.journal.open("ab") as journal:
        for value in (b"1e400", b"-1e308", b"5e-324", b"18446744073709551615"):
            row = b'{"step":18446744073709551615,"time":%s,"metrics":{"a":%s,"b":1}}'
            journal.write(row % (value, value) + b"\n")
    page = render([load_run(run.dir)])
    data = re.search(r'id="data">(.*?)</script>', page, re.S)[1]
    curves = {c["quantity"]: c["curves"] for c in json.loads(data)["charts"]}
    assert curves["b"][0]["steps"][0] == 2**53
    assert 5e-324 in curves["a"][0]["values"]


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)
FIELDS = ("path", "text", "columns", "head", "count", "counts", "edges", "matrix", "labels", "sum")


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["image", "text", "table", "histogram", "confusion_matrix", "artifact"]),
    st.dictionaries(st.sampled_from(FIELDS), junk),
)
def test_media_from_anybody(kind, item):
    media = {"x": Media(1, deque([(1, {**item, "type": kind})]))}
    (shown,) = media_of(Path("/nowhere"), media, Budget())
    assert shown.items[0]["note"] or shown.items[0]["view"]


def test_a_run_in_progress(tmp_path):
    with Run.create(tmp_path, "now") as run:
        run.log({"train/loss": 1.0}, 1)
        text = Page(render([load_run(run.dir)])).text
    assert "The run is in progress" in text


def test_a_run_that_failed_at_once(tmp_path):
    with pytest.raises(ValueError), Run.create(tmp_path, "early") as run:
        raise ValueError("no data <set>")
    text = Page(render([load_run(run.dir)])).text
    assert "ValueError: no data <set>" in text and "None were logged." in text
