# SPDX-License-Identifier: MIT
"""The grammar of WHERE.

    any        := all ("or" all)*
    all        := one ("and" one)*
    one        := "not" one | "(" any ")" | name [operator value]
    operator   := = | != | < | <= | > | >= | ~ | !~
    name, value: a word, or any text in ' or ", in which \\ precedes a quote or another \\

A word ends at white space, a parenthesis, a quote or an operator. `and`, `or` and `not`, in any
case, are words of the language; in quotes they are text.

    tree = parse("optimizer=adamw and not (val/loss>3 or tag='a b')")
    str(tree)               # the same in the shortest form that parse understands
"""

import re
from dataclasses import dataclass, field
from typing import NoReturn

from ...errors import BadUse
from ...text import printable

OPERATORS = "= != < <= > >= ~ !~"
_DEEPEST = 50  # parentheses and nots within each other
_TOKEN = re.compile(
    r"""\s*(?:(?P<operator>!=|<=|>=|!~|=|<|>|~)|(?P<paren>[()])
    |(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<word>(?:[^\s()=<>!~"']|!(?![=~]))+))""",
    re.VERBOSE | re.DOTALL,
)
_PLAIN_WORD = re.compile(r"""(?:[^\s()=<>!~"'])+""")
_KEYWORDS = ("and", "or", "not")


@dataclass(frozen=True)
class Comparison:
    """`name operator value`, or a name alone (operator and value are empty): a run that has it.

    `at` and `value_at` are the places in the text.
    """

    name: str
    operator: str = ""
    value: str = ""
    at: int = field(default=0, compare=False)
    value_at: int = field(default=0, compare=False)

    def __str__(self) -> str:
        if not self.operator:
            return _quote(self.name)
        return f"{_quote(self.name)}{self.operator}{_quote(self.value)}"


@dataclass(frozen=True)
class Not:
    """What `of` is not true of."""

    of: "Node"

    def __str__(self) -> str:
        return f"not {_within(self.of, (All, Any))}"


@dataclass(frozen=True)
class All:
    """`parts` joined by and."""

    parts: "tuple[Node, ...]"

    def __str__(self) -> str:
        return " and ".join(_within(part, (Any, All)) for part in self.parts)


@dataclass(frozen=True)
class Any:
    """`parts` joined by or."""

    parts: "tuple[Node, ...]"

    def __str__(self) -> str:
        return " or ".join(_within(part, (Any,)) for part in self.parts)


Node = Comparison | Not | All | Any


def parse(text: str, variable: str = "WHERE") -> Node:
    """The tree of `text`. Raises BadUse that points at the place; `variable` names the text."""
    return _Parser(text, variable).whole()


def fail(variable: str, text: str, at: int, said: str) -> NoReturn:
    """Raise BadUse that shows the place `at` in `text`, on one line."""
    shown = printable(re.sub(r"\s", " ", text))
    begin = max(0, at - 60)
    part = ("…" if begin else "") + shown[begin : at + 40] + ("…" if at + 40 < len(shown) else "")
    arrow = " " * (at - begin + bool(begin)) + "^"
    raise BadUse(f"{variable}: {said}\n  {part}\n  {arrow}")


def _within(node: Node, kinds: tuple[type, ...]) -> str:
    return f"({node})" if isinstance(node, kinds) else str(node)


def _quote(text: str) -> str:
    if _PLAIN_WORD.fullmatch(text) and text.lower() not in _KEYWORDS:
        return text
    escaped = re.sub(r"""(["\\])""", r"\\\1", text)
    return f'"{escaped}"'


class _Parser:
    """By recursive descent over the tokens, of which `self.kind` and `self.token` is the next."""

    def __init__(self, text: str, variable: str) -> None:
        self._text, self._variable = text, variable
        self._end = self._depth = 0
        self._advance()

    def whole(self) -> Node:
        if self.kind == "end":
            self._fail("is empty")
        tree = self._any()
        if self.kind != "end":
            self._fail(
                "there is no ( for this )" if self.token == ")" else "expected and or or here"
            )
        return tree

    def _any(self) -> Node:
        parts = [self._all()]
        while self._takes("or"):
            parts.append(self._all())
        return Any(tuple(parts)) if len(parts) > 1 else parts[0]

    def _all(self) -> Node:
        parts = [self._one()]
        while self._takes("and"):
            parts.append(self._one())
        return All(tuple(parts)) if len(parts) > 1 else parts[0]

    def _one(self) -> Node:
        self._depth += 1
        if self._depth > _DEEPEST:
            self._fail(f"nested more than {_DEEPEST} levels deep")
        if self._takes("not"):
            node: Node = Not(self._one())
        elif self.token == "(" and self.kind == "paren":
            opened = self.at
            self._advance()
            node = self._any()
            if self.kind != "paren" or self.token != ")":
                if self.kind == "end":
                    self._fail("there is no ) for this (", opened)
                self._fail("expected and, or or ) here")
            self._advance()
        else:
            node = self._comparison()
        self._depth -= 1
        return node

    def _comparison(self) -> Comparison:
        name, at = self._text_of("a name, such as model or val/loss"), self.at
        self._advance()
        if self.kind != "operator":
            return Comparison(name, at=at)
        operator = self.token
        self._advance()
        if self.kind == "operator":
            self._fail(f"expected a value after {operator}; the operators are {OPERATORS}")
        value, value_at = self._text_of(f"a value after {operator}"), self.at
        self._advance()
        return Comparison(name, operator, value, at, value_at)

    def _text_of(self, wanted: str) -> str:
        """The text of the next token, which must be a word or quoted."""
        if self.kind == "quoted":
            return re.sub(r"\\(.)", r"\1", self.token[1:-1], flags=re.DOTALL)
        if self.kind != "word":
            self._fail(f"expected {wanted}")
        if self.token.lower() in _KEYWORDS:
            self._fail(f"expected {wanted}; as text, {self.token} needs quotes")
        return self.token

    def _takes(self, keyword: str) -> bool:
        """Go past the next token if it is `keyword`."""
        taken = self.kind == "word" and self.token.lower() == keyword
        if taken:
            self._advance()
        return taken

    def _advance(self) -> None:
        found = _TOKEN.match(self._text, self._end)
        if found is not None and found.lastgroup is not None:
            self.kind, self.token = found.lastgroup, found[found.lastgroup]
            self.at, self._end = found.start(found.lastgroup), found.end()
            return
        rest = self._text[self._end :]
        self.at = self._end + len(rest) - len(rest.lstrip())
        self.kind, self.token = "end", ""
        if rest.strip():
            is_quote = self._text[self.at] in "\"'"
            self._fail("this quote is never closed" if is_quote else "unexpected character")

    def _fail(self, said: str, at: int | None = None) -> NoReturn:
        fail(self._variable, self._text, self.at if at is None else at, said)
