"""The expression tree: a small set of frozen nodes, and their one printed form (``parse(print_node(n)) == n``).

``at`` is the offset of a node's text in its expression, for messages; it does not take part in comparison.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Literal

CompareOp = Literal["=", "!=", "<", "<=", ">", ">="]
ArithmeticOp = Literal["+", "-", "*", "/"]
AggregateName = Literal["count", "sum", "min", "max", "avg"]
AGGREGATES: tuple[AggregateName, ...] = ("count", "sum", "min", "max", "avg")

RESERVED = frozenset((
    "all", "alter", "and", "as", "asc", "avg", "between", "call", "case", "count", "create", "cross", "desc",
    "distinct", "drop", "else", "end", "escape", "except", "execute", "exists", "explain", "false", "fetch",
    "filter", "for", "from", "glob", "grant", "having", "ilike", "in", "inner", "insert", "intersect", "interval",
    "into", "is", "isnull", "join", "lateral", "like", "max", "min", "not", "notnull", "now", "null", "on",
    "optimize", "or", "outer", "over", "prepare", "qualify", "regexp", "rename", "returning", "revoke", "rlike",
    "rollback", "select", "show", "sum", "tablesample", "then", "true", "uncache", "union", "using", "vacuum",
    "when", "where", "with", "xor",
))
"""Words with a meaning in expressions: a name spelled like one must be written in double quotes."""


@dataclass(frozen=True, slots=True)
class Node:
    """Base of all nodes."""

    at: int = field(default=0, compare=False, repr=False, kw_only=True)

    @property
    def children(self) -> tuple[Node, ...]:
        """The nodes directly below this one, in the order in which they are written."""
        return tuple(_nodes([getattr(self, each.name) for each in fields(self)]))


def _nodes(value: object) -> Iterator[Node]:
    if isinstance(value, Node):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _nodes(each)


@dataclass(frozen=True, slots=True)
class Text(Node):
    value: str


@dataclass(frozen=True, slots=True)
class Number(Node):
    """A numeric literal; whole numbers have no fraction digits, so ``1.0`` and ``1`` are equal and both integers."""

    value: Decimal

    @property
    def whole(self) -> bool:
        return self.value == self.value.to_integral_value()


@dataclass(frozen=True, slots=True)
class Boolean(Node):
    value: bool


@dataclass(frozen=True, slots=True)
class Null(Node):
    """The literal ``null``, allowed only as a result of ``case`` and ``coalesce``."""


@dataclass(frozen=True, slots=True)
class Now(Node):
    """The instant of the cycle."""


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A field or attribute by its path ("Account.Name")."""

    path: str


@dataclass(frozen=True, slots=True)
class Not(Node):
    operand: Node


@dataclass(frozen=True, slots=True)
class Negative(Node):
    operand: Node


@dataclass(frozen=True, slots=True)
class Logic(Node):
    """``and`` or ``or`` of two or more; built with ``logic`` so that none of ``items`` is a Logic of the same kind."""

    op: Literal["and", "or"]
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Join(Node):
    """Text joined with ``||``: null when any part is."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Compare(Node):
    op: CompareOp
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Arithmetic(Node):
    op: ArithmeticOp
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Is(Node):
    """``is null``, ``is true``, ``is false``: never null itself."""

    operand: Node
    value: bool | None


@dataclass(frozen=True, slots=True)
class In(Node):
    operand: Node
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Between(Node):
    operand: Node
    low: Node
    high: Node


@dataclass(frozen=True, slots=True)
class Like(Node):
    operand: Node
    pattern: str
    escape: str | None = None


@dataclass(frozen=True, slots=True)
class Case(Node):
    whens: tuple[tuple[Node, Node], ...]
    default: Node | None = None


@dataclass(frozen=True, slots=True)
class Call(Node):
    name: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Aggregate(Node):
    """A function over the related rows of a person, of those for which ``where`` is true."""

    function: AggregateName
    related: str
    attribute: str | None = None
    where: Node | None = None


def logic(op: Literal["and", "or"], items: tuple[Node, ...], at: int = 0) -> Node:
    """Flattened: ``(a or b) or c`` and ``a or (b or c)`` are one node of three items."""
    flat: list[Node] = []
    for item in items:
        flat.extend(item.items if isinstance(item, Logic) and item.op == op else (item,))
    return Logic(op, tuple(flat), at=at)


def join(items: tuple[Node, ...], at: int = 0) -> Node:
    """Flattened likewise."""
    flat: list[Node] = []
    for item in items:
        flat.extend(item.items if isinstance(item, Join) else (item,))
    return Join(tuple(flat), at=at)


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, outermost first."""
    yield node
    for child in node.children:
        yield from walk(child)


def depth(node: Node) -> int:
    """Levels of nesting; a leaf is 1."""
    return 1 + max(map(depth, node.children), default=0)


# --------------------------------------------------------------------------- printing

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def quote_text(text: str) -> str:
    """``text`` as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def _word(part: str) -> str:
    if _PLAIN.fullmatch(part) and part.lower() not in RESERVED:
        return part
    return '"' + part.replace('"', '""') + '"'


def print_name(path: str) -> str:
    """A path as it is written in an expression."""
    return ".".join(map(_word, path.split(".")))


def print_node(node: Node) -> str:
    """The node as an expression, every compound operand in parentheses."""
    match node:
        case Text(value):
            return quote_text(value)
        case Number(value):
            return f"{value:f}"
        case Boolean(value):
            return "true" if value else "false"
        case Null():
            return "null"
        case Now():
            return "now"
        case Name(path):
            return print_name(path)
        case Call(name, args):
            return f"{name}({', '.join(map(print_node, args))})"
        case Aggregate():
            return _print_aggregate(node)
        case Case():
            return _print_case(node)
        case _:
            return _print_operation(node)


def _print_operation(node: Node) -> str:
    match node:
        case Not(operand):
            return f"not {_inner(operand)}"
        case Negative(operand):
            return f"-({print_node(operand)})"
        case Logic(op, items):
            return f" {op} ".join(map(_inner, items))
        case Join(items):
            return " || ".join(map(_inner, items))
        case Compare(op, left, right) | Arithmetic(op, left, right):
            return f"{_inner(left)} {op} {_inner(right)}"
        case Is(operand, value):
            return f"{_inner(operand)} is {'null' if value is None else str(value).lower()}"
        case In(operand, items):
            return f"{_inner(operand)} in ({', '.join(map(_inner, items))})"
        case Between(operand, low, high):
            return f"{_inner(operand)} between {_inner(low)} and {_inner(high)}"
        case Like(operand, pattern, escape):
            tail = "" if escape is None else f" escape {quote_text(escape)}"
            return f"{_inner(operand)} like {quote_text(pattern)}{tail}"
    raise AssertionError(f"a node without a printed form: {type(node).__name__}")


def _inner(node: Node) -> str:
    text = print_node(node)
    simple = isinstance(node, Text | Boolean | Null | Now | Name | Call | Case) or (
        isinstance(node, Number) and node.value >= 0) or (isinstance(node, Aggregate) and node.where is None)
    return text if simple else f"({text})"


def _print_aggregate(node: Aggregate) -> str:
    path = node.related if node.attribute is None else f"{node.related}.{node.attribute}"
    tail = "" if node.where is None else f" filter (where {print_node(node.where)})"
    return f"{node.function}({print_name(path)}){tail}"


def _print_case(node: Case) -> str:
    whens = " ".join(f"when {print_node(condition)} then {print_node(value)}" for condition, value in node.whens)
    default = "" if node.default is None else f" else {print_node(node.default)}"
    return f"case {whens}{default} end"
