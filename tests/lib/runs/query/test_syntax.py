# SPDX-License-Identifier: MIT
"""The grammar of WHERE: what str() writes is parsed to the same, and errors point at the place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import BadUse
from lib.runs.query.syntax import All, Any, Comparison, Not, parse

texts = st.text(max_size=12) | st.sampled_from(
    ["and", "NOT", "val/loss:min", "a b", '"', "\\", "'"]
)
comparisons = st.builds(
    Comparison, texts, st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "~", "!~"]), texts
) | st.builds(Comparison, texts)
trees = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(All, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Any, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


@given(trees)
def test_what_is_written_is_parsed_to_the_same(tree):
    assert parse(str(tree)) == tree


@given(st.text(alphabet=st.sampled_from("ab /<>=!~()'\"\\andortNOT\t\nµ"), max_size=40) | st.text())
def test_any_text_is_parsed_or_refused(text):
    try:
        tree = parse(text)
    except BadUse as error:
        _, shown, arrow = str(error).split("\n")
        assert arrow.strip() == "^" and arrow.index("^") <= len(shown)
    else:
        assert parse(str(tree)) == tree


def test_and_binds_tighter_than_or_and_not_tightest():
    a, b, c = (Comparison(name, "=", "1") for name in "abc")
    assert parse("a=1 or b=1 and not c=1") == Any((a, All((b, Not(c)))))
    assert parse("(a=1 OR b=1) And c=1") == All((Any((a, b)), c))
    assert parse(" a = '1' ") == a


@pytest.mark.parametrize(
    ("text", "said", "place"),
    [
        ("", "is empty", 0),
        ("a=", "expected a value after =", 2),
        ("a=1 b=2", "expected and or or here", 4),
        ("a==1", "expected a value after =; the operators are = !=", 2),
        ("(a=1", "there is no ) for this (", 0),
        ("a=1)", "there is no ( for this )", 3),
        ("a='x", "this quote is never closed", 2),
        ("a=1 and", "expected a name, such as model or val/loss", 7),
        ("a=and", "as text, and needs quotes", 2),
        ("=1", "expected a name", 0),
        ("(" * 60 + "a" + ")" * 60, "nested more than 50 levels deep", 50),
        ("not " * 60 + "a", "nested more than 50 levels deep", 200),
    ],
)
def test_errors_point_at_the_place(text, said, place):
    with pytest.raises(BadUse) as error:
        parse(text)
    message, shown, arrow = str(error.value).split("\n")
    assert message.startswith("WHERE: ") and said in message
    assert shown[arrow.index("^") :][:3] == text[place:][:3]
