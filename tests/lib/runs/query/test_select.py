# SPDX-License-Identifier: MIT
"""WHERE and SORT on runs: types, case, NaN, what is missing, and names that no run has."""

import math
import time
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import BadUse
from lib.runs.query.select import Names, select
from lib.runs.query.values import comparer
from lib.runs.run import Run
from lib.runs.stored import find_runs

NAN = math.nan


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> Names:
    """Three runs: a and c are alike but for a NaN; b has neither val/loss nor a seed."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RANK", raising=False)
        for name, loss, rate in (("a", 0.5, "0.01"), ("b", None, "true"), ("c", NAN, "0.1")):
            made(folder, name, loss, rate)
    return Names(find_runs(folder))


def made(folder: Path, name: str, loss: float | None, rate: str) -> None:
    info = {"model": {"name": "M-" + name}, "optimizer": "SGD", "tags": ["x", f"Tag {name}"]}
    info |= {} if loss is None else {"seed": 3}
    settings = f"General:\n  RATE: {rate}\n  COMPILE: {'true' if name == 'a' else 'false'}\n"
    with Run.create(
        folder, name, files={"config.yaml": settings + "  MODE: max\n"}, info=info
    ) as run:
        for step in range(3):
            run.log({"train/loss": 3.0 - step, "odd:name": 1}, step)
            if loss is not None:
                run.log({"val/loss": loss + step, "val/accuracy": step / 4}, step)


@pytest.mark.parametrize(
    ("where", "fit"),
    [
        ("", "abc"),
        ("model=m-A", "a"),
        ("optimizer!=sgd", ""),
        ("name~[ab]", "ab"),
        ("tag='tag a' or tag=X and name=b", "ab"),
        ("tag~tag*", "abc"),
        ("tag!~'* B'", "ac"),
        ("tag~g", "abc"),
        ("val/loss<1", "a"),
        ("not val/loss<1", "bc"),
        ("val/loss!=0.5", "bc"),
        ("val/loss=nan", "c"),
        ("val/loss>-inf", "a"),
        ("val/loss", "ac"),
        ("not val/loss", "b"),
        ("val/loss:last=2.5", "a"),
        ("val/accuracy:max=.5 and val/accuracy=0", "a"),
        ("train/loss:mean=2", "abc"),
        ("odd:name=1 and odd:name:min=1", "abc"),
        ("best_step=0", "a"),
        ("seed=3", "ac"),
        ("seed<=3 or not seed", "abc"),
        ("COMPILE=y", "a"),
        ("COMPILE!=yes", "bc"),
        ("MODE=MAX", "abc"),
        ("RATE=0.01", "a"),  # of several types: text
        ("age<1h and duration<1min", "abc"),
        ("started>2020-01-01 and started<=2999-12-31T23:59", "abc"),
        ("size>=1KiB and size<1GiB", "abc"),
        ("kept", ""),
        ("kept=no", "abc"),
    ],
)
def test_where(names, where, fit):
    assert "".join(run.name for run in select(names, where)) == fit


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("modell=x", "no run has a field, metric or setting modell; did you mean model"),
        ("tags=x", "did you mean tag"),
        ("val/los<3", "did you mean val/loss"),
        ("RAT=3", "did you mean RATE"),
        ("val/loss:mix<3", "a metric has :last, :min, :max and :mean, not :mix"),
        ("val/loss<x", "val/loss: expected a number"),
        ("val/loss<3s", "val/loss: expected a number"),
        ("val/loss~3", "~ compares text with a pattern"),
        ("model<3", "< compares numbers and times"),
        ("kept=maybe", "expected yes or no"),
        ("kept<yes", "this is yes or no"),
        ("started<yesterday", "expected a date, 2025-01-31"),
        ("started<2025-02-30", "expected a date"),
        ("age<3 weeks", "expected and or or here"),
        ("age<3m", "expected a number, with ms, s, min, h, d, w or without"),
    ],
)
def test_what_makes_no_sense_is_refused(names, where, said):
    with pytest.raises(BadUse, match=said.replace(",", ".").split("(")[0]):
        select(names, where)


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("val/loss", "acb"),  # NaN and nothing are last
        ("-val/loss", "acb"),
        ("-started", "cba"),
        ("-name", "cba"),
        ("seed,-name", "cab"),
        ("COMPILE name", "bca"),
    ],
)
def test_sort(names, sort, order):
    found = "".join(run.name for run in select(names, sort=sort))
    if "val" in sort:
        assert found[0] == "a" and set(found[1:]) == set("bc")
    else:
        assert found == order


def test_the_error_of_sort_names_it(names):
    with pytest.raises(BadUse, match=r"SORT=-val/los: no run has .* did you mean val/loss"):
        select(names, sort="-val/los")


def test_without_runs_no_name_is_unknown_but_the_grammar_holds():
    assert select(Names([]), "val/loss<3", "val/loss") == []
    with pytest.raises(BadUse):
        select(Names([]), "val/loss<")


kinds = st.sampled_from(["text", "list", "number", "flag", "time", "duration", "size"])
operators = st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "~", "!~"])
values = {
    "text": st.text(max_size=5), "list": st.lists(st.text(max_size=3), max_size=2),
    "flag": st.booleans(),
}  # fmt: skip


@given(kinds, operators, st.text(max_size=12) | st.sampled_from(["1e3", "2h", "yes"]), st.data())
def test_whatever_is_typed_is_compared_or_refused(kind, operator, typed, data):
    try:
        fits = comparer(kind, operator, typed)
    except ValueError:
        return
    value = data.draw(values.get(kind, st.floats() | st.integers()))
    assert fits(value) in (True, False)
    assert kind == "list" or fits(None) == (operator in ("!=", "!~"))


def test_a_date_is_a_day_and_a_time_a_minute():
    noon = datetime(2025, 1, 31, 12, 0, 30).timestamp()
    typed = {"=": True, "<=": True, ">=": True, "<": False, ">": False}
    for text in ("2025-01-31", "2025-01-31T12:00", "2025-01-31 12:00:30"):
        assert {op: comparer("time", op, text)(noon) for op in typed} == typed
    utc = datetime(2025, 1, 31, 12, tzinfo=timezone.utc).timestamp()
    assert comparer("time", "=", "2025-01-31T12:00+00:00")(utc)
    assert comparer("time", "<", "2025-02-01")(noon) and not comparer("time", ">", "1999-01-01")(0)
    assert comparer("duration", "<", "2h")(7199.0) and comparer("size", ">", "1 kB")(1001)
    assert not comparer("time", "<", "2025-02-01")(time.time())
