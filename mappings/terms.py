"""Typed SQL under construction: what the emitter builds from each node, and the rules by which types meet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Literal, Protocol

from mappings.nodes import CompareOp, Node, Null, Number, Text, print_node, quote_text
from mappings.parse import ExpressionFault
from mappings.types import SCALE, ExpressionScope, Type

MAX_SQL = 100_000
"""Characters; some rules repeat an operand, and nesting them must not grow without bound."""

NUMERIC = frozenset((Type.INTEGER, Type.DECIMAL, Type.MONEY, Type.ANY))

MIRRORED: dict[CompareOp, CompareOp] = {"=": "=", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True, slots=True)
class Clock:
    """How a value moves with the clock.

    instant  ``now`` plus ``micros``
    date     today in ``zone``, ``months`` then ``days`` on
    part     the ``part`` ("year", "month", "day") of such a date
    elapsed  days from the date ``start`` (SQL) to such a date; with ``backwards`` from it to ``start``
    """

    kind: Literal["instant", "date", "part", "elapsed"]
    zone: str = "UTC"
    days: int = 0
    months: int = 0
    micros: int = 0
    part: str = ""
    start: str = ""
    backwards: bool = False


@dataclass(frozen=True, slots=True)
class Term:
    """A node with its type and SQL. ``due``: for each comparison with the clock in it, the SQL of its next flip."""

    node: Node
    type: Type
    sql: str
    children: tuple[Term, ...] = ()
    currency: str | None = None
    clock: Clock | None = None
    due: tuple[str, ...] = ()
    columns: frozenset[str] = frozenset()
    related: frozenset[str] = frozenset()
    zones: frozenset[str] = frozenset()
    notes: tuple[tuple[str, str], ...] = ()
    """More integer pieces for ``explain``: (label, SQL)."""

    @property
    def at(self) -> int:
        return self.node.at


class Terms(Protocol):
    """The emitter as functions and aggregates see it: what makes the terms of their arguments."""

    scope: ExpressionScope

    def term(self, node: Node) -> Term:
        """The term of an argument."""

    def within(self, scope: ExpressionScope) -> Terms:
        """The same for other names."""

    @property
    def bare_currency(self) -> str:
        """SQL of the currency of a bare number."""


def term(node: Node, kind: Type, sql: str, children: Sequence[Term] = (), *, currency: str | None = None,
         clock: Clock | None = None, due: tuple[str, ...] = ()) -> Term:
    """A term over ``children``, with everything they use and every flip they wait for.

    :raises ExpressionFault: the SQL has become too large
    """
    if len(sql) > MAX_SQL:
        raise ExpressionFault(node.at, "The expression is too complicated.", "Split it into attributes.")
    return Term(
        node, kind, sql, tuple(children), currency, clock,
        tuple(dict.fromkeys([*(d for c in children for d in c.due), *due])),
        frozenset().union(*(c.columns for c in children)), frozenset().union(*(c.related for c in children)),
        frozenset().union(*(c.zones for c in children)))


def walk(top: Term) -> Iterator[Term]:
    """The term and all below it that can stand in a SELECT of their own, outermost first, each once."""
    seen: set[int] = set()
    waiting = [top]
    while waiting:
        current = waiting.pop()
        if id(current) not in seen:
            seen.add(id(current))
            yield current
            waiting.extend(reversed(current.children))


# --------------------------------------------------------------------------- types meeting

_ADVICE: dict[frozenset[Type], str] = {
    frozenset((Type.DATE, Type.INSTANT)): "Turn the instant into a day with date(x, 'Europe/Berlin').",
    frozenset((Type.MONEY, Type.INTEGER)): "Money compares with money or with a plain number such as 100.",
    frozenset((Type.MONEY, Type.DECIMAL)): "Money compares with money or with a plain number such as 100.00.",
    frozenset((Type.TEXT, Type.DATE)): "Write the date as 'YYYY-MM-DD'.",
    frozenset((Type.TEXT, Type.INSTANT)): "Write the instant as '2026-01-31T12:00:00Z'.",
    frozenset((Type.TEXT, Type.BOOL)): "Write true or false without quotes.",
    frozenset((Type.INTEGER, Type.BOOL)): "Write true or false.",
    frozenset((Type.TEXT, Type.CHOICES)): "Ask for a member with has(x, 'member').",
}


def common(terms: Sequence[Term]) -> tuple[Type, list[Term]]:
    """The one type these terms can all have, and the terms in it. ``NULL`` when all are null.

    :raises ExpressionFault: there is none
    """
    kinds = {t.type for t in terms} - {Type.NULL}
    if Type.ANY in kinds:
        return Type.ANY, list(terms)
    if not kinds:
        return Type.NULL, list(terms)
    literal = (Number, Text)
    firm = {t.type for t in terms if not isinstance(t.node, literal)} - {Type.NULL} or kinds
    if firm <= {Type.INTEGER, Type.DECIMAL} and kinds <= {Type.INTEGER, Type.DECIMAL}:
        kind = Type.DECIMAL if Type.DECIMAL in kinds else Type.INTEGER
    elif len(firm) == 1:
        kind = next(iter(firm))
    else:
        first, second = sorted(firm)[:2]
        odd = next(t for t in terms if t.type == second)
        raise ExpressionFault(odd.at, f"{article(first).capitalize()} and {article(second)} do not go together.",
                              _ADVICE.get(frozenset((first, second)), ""))
    return kind, [fit(t, kind) for t in terms]


def fit(value: Term, kind: Type) -> Term:
    """``value`` as ``kind``: literals take the type that is needed, whole numbers become decimals, all else stays.

    :raises ExpressionFault: it is of another type
    """
    node = value.node
    if value.type in (kind, Type.ANY) or kind == Type.ANY:
        return value
    if value.type == Type.NULL:
        return replace(value, type=kind)
    if isinstance(node, Number) and kind in (Type.DECIMAL, Type.MONEY):
        return replace(value, type=kind, sql=str(scaled(node.value)))
    if isinstance(node, Text) and kind == Type.DATE:
        return replace(value, type=kind, sql=quote_text(_day(node)))
    if isinstance(node, Text) and kind == Type.INSTANT:
        return replace(value, type=kind, sql=str(_micros(node)))
    if value.type == Type.INTEGER and kind == Type.DECIMAL:
        return replace(value, type=kind, sql=f"num_scale({value.sql})")
    raise ExpressionFault(value.at, f"{print_node(node)} is {article(value.type)}, but {article(kind)} is needed here.",
                          _ADVICE.get(frozenset((value.type, kind)), ""))


def scaled(value: Decimal) -> int:
    """A literal as ten-thousandths, exactly."""
    return int(value * SCALE)


def _day(node: Text) -> str:
    try:
        if len(node.value) == 10:
            return date.fromisoformat(node.value).isoformat()
    except ValueError:
        pass  # told below, like every other spelling that is no date
    raise ExpressionFault(node.at, f"'{node.value}' is not a date.", "Write it as 'YYYY-MM-DD'.")


def _micros(node: Text) -> int:
    try:
        instant = datetime.fromisoformat(node.value)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise ExpressionFault(node.at, f"'{node.value}' is not an instant.",
                              "Write it with its zone, as '2026-01-31T12:00:00Z'.")
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def article(kind: Type) -> str:
    """The type as it is read: "a date", "text"."""
    plain = {Type.TEXT: "text", Type.MONEY: "money", Type.INTEGER: "a whole number", Type.DECIMAL: "a number",
             Type.BOOL: "true or false", Type.CHOICES: "a multiple choice", Type.NULL: "null",
             Type.INSTANT: "an instant"}
    return plain.get(kind, f"a {kind}")


def still(value: Term) -> Term:
    """``value``, which must not move with the clock.

    :raises ExpressionFault: it does; only comparisons can say when their answer changes
    """
    if value.clock is not None:
        raise ExpressionFault(value.at, f"{print_node(value.node)} moves with the clock, so it must be compared.",
                              "Write it alone on one side of a comparison, such as closed >= days_ago(30).")
    return value


def condition(value: Term) -> Term:
    """``value``, which must be true or false.

    :raises ExpressionFault: it is something else
    """
    if value.type not in (Type.BOOL, Type.ANY):
        raise ExpressionFault(value.at, f"{print_node(value.node)} is {article(value.type)}, not a condition.",
                              "Compare it with something." if not isinstance(value.node, Null) else "")
    return value


# --------------------------------------------------------------------------- flips

def flip(op: CompareOp, clock: Clock, other: Term) -> str:
    """SQL of the first instant after ``:now`` at which ``<the clock's value> <op> <other>`` changes its answer."""
    value = other.sql
    if clock.kind == "instant":
        reached = f"({value} - ({clock.micros}))"
        passed = f"({reached} + 1)"
        starts = {"<": (reached,), ">=": (reached,), "<=": (passed,), ">": (passed,)}.get(op, (reached, passed))
        return f"(CASE {' '.join(f'WHEN {start} > :now THEN {start}' for start in starts)} END)"
    shift = f"{quote_text(clock.zone)}, {clock.days}, {clock.months}, :now"
    if clock.kind == "date":
        return f"due_day('{op}', {value}, {shift})"
    if other.type == Type.DECIMAL:
        raise ExpressionFault(other.at, "Years, months and days are whole numbers.", "Compare with a whole number.")
    if clock.kind == "part":
        return f"due_part('{op}', {value}, '{clock.part}', {shift})"
    if clock.backwards:
        return f"due_day('{MIRRORED[op]}', add_days({clock.start}, num_sub(0, {value})), {shift})"
    return f"due_day('{op}', add_days({clock.start}, {value}), {shift})"


def earliest(dues: Sequence[str]) -> str | None:
    """SQL of the least of these that is not null; None when there is none to ask."""
    unique = list(dict.fromkeys(dues))
    if len(unique) < 2:
        return unique[0] if unique else None
    never = (1 << 63) - 1
    return f"nullif(min({', '.join(f'ifnull({due}, {never})' for due in unique)}), {never})"
