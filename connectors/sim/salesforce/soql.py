"""SOQL, the part a sync client needs: text -> tree.

``SELECT`` fields and parent paths or ``COUNT()``, ``FROM`` one object, ``WHERE`` with = != < <= > >= LIKE IN NOT IN
INCLUDES EXCLUDES AND OR NOT and parentheses, ``ORDER BY``, ``LIMIT``, ``OFFSET``. Whether names exist is not asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, NoReturn

from . import values
from .errors import malformed_query

LiteralKind = Literal["string", "number", "boolean", "null", "date", "datetime"]
Path = tuple[str, ...]


class Constant(NamedTuple):
    """A literal: its kind and its value (datetimes in whole seconds, dates as text)."""

    kind: LiteralKind
    value: Any


@dataclass(frozen=True, slots=True)
class Compare:
    """``path op constants``; one constant for the binary operators, any number for IN, NOT IN, INCLUDES, EXCLUDES."""

    path: Path
    op: str
    constants: tuple[Constant, ...]


@dataclass(frozen=True, slots=True)
class And:
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Or:
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    item: Node


Node = Compare | And | Or | Not


class Order(NamedTuple):
    path: Path
    descending: bool
    nulls_last: bool


@dataclass(frozen=True, slots=True)
class Query:
    """``fields`` is empty when ``count`` is true."""

    text: str
    fields: tuple[Path, ...]
    count: bool
    object: str
    where: Node | None
    order: tuple[Order, ...]
    limit: int | None
    offset: int


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


_TOKEN = re.compile(r"""
    (?P<space>\s+)
  | (?P<string>'(?:[^'\\]|\\.)*')
  | (?P<datetime>\d{4}-\d+-\d+T[0-9:.+\-Z]*)
  | (?P<date>\d{4}-\d+-\d+)
  | (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
  | (?P<name>[A-Za-z][A-Za-z0-9_]*(?:\.[A-Za-z][A-Za-z0-9_]*)*)
  | (?P<op><=|>=|!=|<>|=|<|>)
  | (?P<mark>[(),:])
""", re.VERBOSE)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "\\": "\\", "'": "'", '"': '"'}
_RESERVED = frozenset({"and", "or", "not", "in", "like", "from", "where", "order", "limit", "offset", "group",
                       "select"})
MAX_STATEMENT = 100_000


def parse(text: str) -> Query:
    """The tree of one statement.

    :raises Refused: MALFORMED_QUERY
    """
    if len(text) > MAX_STATEMENT:
        raise malformed_query("SOQL statements cannot be longer than 100000 characters.")
    return _Parser(text).query()


def parse_condition(text: str) -> Node:
    """The tree of a bare condition, as validation rules are written."""
    parser = _Parser(text)
    node = parser.condition()
    parser.expect_end()
    return node


def _tokens(text: str) -> list[_Token]:
    out: list[_Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise malformed_query(f"line 1:{at} no viable alternative at character '{text[at]}'")
        if match.lastgroup != "space":
            out.append(_Token(match.lastgroup or "", match.group(), at))
        at = match.end()
    return out


def unescape(body: str, *, like: bool = False) -> str:
    """The text of a quoted literal; for LIKE, escaped wildcards keep their backslash.

    :raises Refused: an escape SOQL does not have
    """
    def one(match: re.Match[str]) -> str:
        c = match.group(1)
        if c in "%_":
            return "\\" + c if like else c
        if c not in _ESCAPES:
            raise malformed_query(f"Invalid string literal. Illegal character sequence '\\{c}' in string literal.")
        return "\\\\" if like and c == "\\" else _ESCAPES[c]
    return re.sub(r"\\(.)", one, body, flags=re.DOTALL)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.at = 0
        self.depth = 0

    def peek(self) -> str:
        return self.tokens[self.at].text.lower() if self.at < len(self.tokens) else ""

    def next(self) -> _Token:
        if self.at >= len(self.tokens):
            raise malformed_query("unexpected token: '<EOF>'")
        self.at += 1
        return self.tokens[self.at - 1]

    def accept(self, *words: str) -> bool:
        """Skip these words if they come next."""
        texts = [t.text.lower() for t in self.tokens[self.at:self.at + len(words)]]
        if texts != list(words):
            return False
        self.at += len(words)
        return True

    def expect(self, word: str) -> None:
        if not self.accept(word):
            self.fail(f"expecting '{word}'")

    def fail(self, why: str) -> NoReturn:
        found = self.tokens[self.at].text if self.at < len(self.tokens) else "<EOF>"
        raise malformed_query(f"unexpected token: '{found}' ({why})")

    def expect_end(self) -> None:
        if self.at < len(self.tokens):
            self.fail("expecting end of statement")

    def name(self) -> Path:
        token = self.next()
        if token.kind != "name" or token.text.lower() in _RESERVED:
            self.at -= 1
            self.fail("expecting a name")
        return tuple(token.text.split("."))

    def query(self) -> Query:
        self.expect("select")
        count = self.accept("count", "(", ")")
        fields: list[Path] = []
        while not count:
            if self.peek() == "(":
                self.fail("subqueries are not offered here")
            fields.append(self.name())
            if self.peek() == "(":
                self.fail("functions are not offered here")
            if not self.accept(","):
                break
        self.expect("from")
        object = ".".join(self.name())
        where = self.condition() if self.accept("where") else None
        order = self.ordering() if self.accept("order", "by") else ()
        limit = self.whole() if self.accept("limit") else None
        offset = self.whole() if self.accept("offset") else 0
        self.expect_end()
        if offset > 2000:
            raise malformed_query("SOQL offset must be at most 2000")
        lowered = [tuple(p.lower() for p in f) for f in fields]
        if len(set(lowered)) < len(lowered):
            twice = next(f for f in fields if lowered.count(tuple(p.lower() for p in f)) > 1)
            raise malformed_query(f"duplicate field selected: {'.'.join(twice)}")
        return Query(self.text, tuple(fields), count, object, where, order, limit, offset)

    def whole(self) -> int:
        token = self.next()
        if not token.text.isdigit():
            self.at -= 1
            self.fail("expecting a whole number")
        return int(token.text)

    def ordering(self) -> tuple[Order, ...]:
        out: list[Order] = []
        while True:
            path = self.name()
            descending = self.accept("desc")
            if not descending:
                self.accept("asc")
            nulls_last = self.accept("nulls", "last")
            if not nulls_last:
                self.accept("nulls", "first")
            out.append(Order(path, descending, nulls_last))
            if not self.accept(","):
                return tuple(out)

    def condition(self) -> Node:
        """A chain of one operator; mixing AND with OR needs parentheses, as in the real parser."""
        self.depth += 1
        if self.depth > 200:
            raise malformed_query("condition is nested too deeply")
        first = self.term()
        word = self.peek()
        items = [first]
        if word in ("and", "or"):
            while self.accept(word):
                items.append(self.term())
            if self.peek() in ("and", "or"):
                self.fail("AND and OR need parentheses")
        self.depth -= 1
        if len(items) == 1:
            return first
        return And(tuple(items)) if word == "and" else Or(tuple(items))

    def term(self) -> Node:
        if self.accept("not"):
            return Not(self.term())
        if self.accept("("):
            node = self.condition()
            self.expect(")")
            return node
        path = self.name()
        if self.accept("not", "in"):
            return Compare(path, "not in", self.several())
        for word in ("in", "includes", "excludes"):
            if self.accept(word):
                return Compare(path, word, self.several())
        if self.accept("like"):
            return Compare(path, "like", (self.constant(like=True),))
        token = self.next()
        if token.kind != "op":
            self.at -= 1
            self.fail("expecting an operator")
        return Compare(path, "!=" if token.text == "<>" else token.text, (self.constant(),))

    def several(self) -> tuple[Constant, ...]:
        self.expect("(")
        if self.peek() == "select":
            self.fail("semi-joins are not offered here")
        out = [self.constant()]
        while self.accept(","):
            out.append(self.constant())
        self.expect(")")
        return tuple(out)

    def constant(self, *, like: bool = False) -> Constant:
        token = self.next()
        if token.kind == "string":
            return Constant("string", unescape(token.text[1:-1], like=like))
        if token.kind == "number":
            return Constant("number", float(token.text) if not token.text.lstrip("+-").isdigit() else int(token.text))
        if token.kind == "datetime":
            seconds = values.parse_datetime(token.text)
            if seconds is None:
                raise malformed_query(f"line 1:{token.at} Invalid datetime: {token.text}")
            return Constant("datetime", seconds)
        if token.kind == "date":
            date = values.parse_date(token.text)
            if date is None:
                raise malformed_query(f"line 1:{token.at} Invalid date: {token.text}")
            return Constant("date", date)
        word = token.text.lower()
        if word == "null":
            return Constant("null", None)
        if word in ("true", "false"):
            return Constant("boolean", word == "true")
        self.at -= 1
        return self.fail("expecting a literal")
