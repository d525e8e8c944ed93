"""A naive evaluator of expression nodes in plain Python, written from docs/expressions.md.

Values are ``None`` (null), ``bool``, ``str``, ``int``, ``Decimal``, ``date``, ``datetime`` (UTC), ``frozenset``
(choices) and ``Money``. It shares no code with the emitter but the nodes.
"""

from __future__ import annotations

import calendar
import functools
import operator
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from mappings import nodes as n

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ANY = ""


class Money(NamedTuple):
    amount: Decimal
    currency: str


@dataclass(frozen=True)
class World:
    """One person: her attributes, her related rows, the instant, the configured currency."""

    row: Mapping[str, Any]
    related: Mapping[str, Sequence[Mapping[str, Any]]]
    now: datetime
    currency: str | None = None
    money: frozenset[str] = frozenset()
    """The paths that are money, whatever they hold."""

    def within(self, name: str, row: Mapping[str, Any]) -> World:
        """The same world seen from one related row."""
        return World({**self.row, **{f"{name}.{k}": v for k, v in row.items()}}, {}, self.now, self.currency,
                     self.money)


def fold(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def today(world: World, zone: str) -> date:
    return world.now.astimezone(ZoneInfo(zone)).date()


def rounded(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.0001"), ROUND_HALF_UP)


def months_on(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def evaluate(node: n.Node, world: World) -> Any:
    """The value of ``node``."""
    value = functools.partial(evaluate, world=world)
    match node:
        case n.Text(text):
            return text
        case n.Number(number):
            return int(number) if node.whole else number
        case n.Boolean(truth):
            return truth
        case n.Null():
            return None
        case n.Now():
            return world.now
        case n.Name(path):
            return world.row[path]
        case n.Not(operand):
            truth = value(operand)
            return None if truth is None else not truth
        case n.Negative(operand):
            return arithmetic("-", 0, value(operand))
        case n.Logic(op, items):
            return logic(op, [value(item) for item in items])
        case n.Join(items):
            texts = [value(item) for item in items]
            return None if None in texts else "".join(texts)
        case n.Compare(op, left, right):
            return compare(op, value(left), value(right))
        case n.Arithmetic(op, left, right):
            return arithmetic(op, value(left), value(right))
        case n.Is(operand, wanted):
            return value(operand) is wanted
        case n.In(operand, items):
            return logic("or", [compare("=", value(operand), value(item)) for item in items])
        case n.Between(operand, low, high):
            return logic("and", [compare(">=", value(operand), value(low)), compare("<=", value(operand), value(high))])
        case n.Like(operand, pattern, escape):
            text = value(operand)
            return None if text is None else like(fold(text), fold(pattern), escape)
        case n.Case(whens, default):
            for condition, result in whens:
                if value(condition) is True:
                    return unify(node, value(result), world)
            return None if default is None else unify(node, value(default), world)
        case n.Call(name, args):
            return call(node, name, args, world)
        case n.Aggregate():
            return aggregate(node, world)
    raise AssertionError(node)


def is_money(node: n.Node, world: World) -> bool:
    """Whether a node is money whatever its value is now."""
    match node:
        case n.Name(path):
            return path in world.money
        case n.Aggregate(function, related, attribute):
            return function != "count" and f"{related}.{attribute}" in world.money
        case n.Case(whens, default):
            return any(is_money(result, world) for result in (*(r for _, r in whens), default) if result is not None)
        case n.Call("coalesce", args):
            return any(is_money(arg, world) for arg in args)
        case n.Negative(operand):
            return is_money(operand, world)
        case n.Arithmetic("/", left, right):
            return is_money(left, world) and not is_money(right, world)
        case n.Arithmetic(_, left, right):
            return is_money(left, world) or is_money(right, world)
    return False


def unify(node: n.Node, result: Any, world: World) -> Any:
    """A branch in the type of the whole: the bare number of ``coalesce(spent, 0)`` becomes money."""
    if isinstance(result, int | Decimal) and is_money(node, world):
        return Money(Decimal(result), world.currency or ANY)
    return result


def logic(op: str, truths: list[bool | None]) -> bool | None:
    decisive = op == "or"
    if decisive in truths:
        return decisive
    return None if None in truths else not decisive


def currency_of(*values: Any) -> str | None:
    """The currency values share; None when they are of different ones, or of none."""
    found = {v.currency for v in values if isinstance(v, Money)} - {ANY}
    return found.pop() if len(found) == 1 else ANY if not found else None


def compare(op: str, left: Any, right: Any) -> bool | None:
    if left is None or right is None:
        return None
    if isinstance(left, Money) and isinstance(right, Money) and currency_of(left, right) is None:
        return None
    a, b = (v.amount if isinstance(v, Money) else v for v in (left, right))
    a, b = like_kind(a, b), like_kind(b, a)
    return bool(OPERATORS[op](a, b))


OPERATORS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
             ">=": operator.ge}


def like_kind(value: Any, other: Any) -> Any:
    """Text as what it is compared with: an instant, a date, or folded text."""
    if not isinstance(value, str):
        return value
    if isinstance(other, datetime):
        return datetime.fromisoformat(value)
    return date.fromisoformat(value) if isinstance(other, date) else fold(value)


def arithmetic(op: str, left: Any, right: Any) -> Any:
    if left is None or right is None:
        return None
    money = [v for v in (left, right) if isinstance(v, Money)]
    if len(money) == 2 and currency_of(*money) is None:
        return None
    a, b = (v.amount if isinstance(v, Money) else v for v in (left, right))
    if op == "/":
        if b == 0:
            return None
        answer: Any = rounded(Decimal(a) / Decimal(b))
    else:
        answer = {"+": lambda: a + b, "-": lambda: a - b, "*": lambda: a * b}[op]()
        answer = answer if isinstance(answer, int) else rounded(answer)
    stays_money = money and not (op == "/" and len(money) == 2)
    return Money(Decimal(answer), currency_of(*money) or ANY) if stays_money else answer


def like(text: str, pattern: str, escape: str | None) -> bool:
    expression, characters = "", iter(pattern)
    for character in characters:
        if character == escape:
            expression += re.escape(next(characters))
        else:
            expression += {"%": ".*", "_": "."}.get(character, re.escape(character))
    return re.fullmatch(expression, text, re.DOTALL) is not None


def call(node: n.Call, name: str, args: tuple[n.Node, ...], world: World) -> Any:
    if name in ("today", "days_ago", "months_ago", "years_ago"):
        zone = next((arg.value for arg in args if isinstance(arg, n.Text)), "UTC")
        count = next((int(arg.value) for arg in args if isinstance(arg, n.Number)), 0)
        day = today(world, zone)
        return day - timedelta(days=count) if name == "days_ago" else months_on(
            day, -count * (12 if name == "years_ago" else 1))
    if name == "hours_ago":
        return world.now - timedelta(hours=next(int(arg.value) for arg in args if isinstance(arg, n.Number)))
    values = [evaluate(arg, world) for arg in args]
    if name == "coalesce":
        return unify(node, next((v for v in values if v is not None), None), world)
    if name == "concat":
        return "".join(v or "" for v in values) or None
    if name == "has":
        return values[0] is not None and values[1] in values[0]
    if None in values:
        return None
    return SIMPLE[name](*values)


def as_day(value: Any) -> date:
    return date.fromisoformat(value) if isinstance(value, str) else value


SIMPLE: dict[str, Callable[..., Any]] = {
    "lower": lambda t: t.lower(),
    "upper": lambda t: t.upper(),
    "trim": lambda t: t.strip() or None,
    "first_word": lambda t: (t.split() or [None])[0],
    "length": len,
    "substr": lambda t, start, count=None: t[start - 1:None if count is None else start - 1 + count] or None,
    "year": lambda d: as_day(d).year,
    "month": lambda d: as_day(d).month,
    "day": lambda d: as_day(d).day,
    "date": lambda i, zone="UTC": i.astimezone(ZoneInfo(zone)).date(),
    "add_days": lambda d, count: as_day(d) + timedelta(days=count),
    "add_months": lambda d, count: months_on(as_day(d), count),
    "days_between": lambda a, b: (as_day(b) - as_day(a)).days,
}


def aggregate(node: n.Aggregate, world: World) -> Any:
    rows = [row for row in world.related[node.related]
            if node.where is None or evaluate(node.where, world.within(node.related, row)) is True]
    if node.attribute is None:
        return len(rows)
    values = [row[node.attribute] for row in rows if row[node.attribute] is not None]
    if node.function == "count":
        return len(values)
    if values and isinstance(values[0], Money):
        return money_of(node.function, values, world.currency)
    return figure(node.function, values)


def money_of(function: str, values: list[Money], wanted: str | None) -> Money | None:
    if wanted is not None:
        values = [v for v in values if v.currency == wanted]
    if len({v.currency for v in values}) != 1:
        return None
    amount = figure(function, [v.amount for v in values])
    return None if amount is None else Money(amount, values[0].currency)


def figure(function: str, values: list[Any]) -> Any:
    if not values:
        return None
    match function:
        case "sum":
            return sum(values[1:], values[0])
        case "avg":
            return rounded(Decimal(sum(values[1:], values[0])) / len(values))
        case "min":
            return min(values)
        case _:
            return max(values)


# --------------------------------------------------------------------------- the clock

def looks_at_clock(node: n.Node) -> bool:
    """Whether the node itself moves with the clock; what a filter over rows does is the rows' affair."""
    if isinstance(node, n.Call) and node.name in ("today", "days_ago", "months_ago", "years_ago", "hours_ago"):
        return True
    return isinstance(node, n.Now) or (not isinstance(node, n.Aggregate) and any(map(looks_at_clock, node.children)))


CONDITIONS = (n.Compare, n.In, n.Between, n.Logic, n.Not, n.Is)
"""What is true or false by itself: where two of them are compared, the clock answers within each."""


def clock_answers(node: n.Node, world: World) -> Iterator[bool | None]:
    """The answer of every comparison with the clock within ``node``, one for each related row it is asked of."""
    match node:
        case n.Compare() if looks_at_clock(node) and not any(isinstance(child, CONDITIONS) for child in node.children):
            yield evaluate(node, world)
        case n.In(operand, items) if looks_at_clock(node):
            for item in items:
                if looks_at_clock(item) or looks_at_clock(operand):
                    yield evaluate(n.Compare("=", operand, item), world)
        case n.Between(operand, low, high) if looks_at_clock(node):
            for op, bound in ((">=", low), ("<=", high)):
                if looks_at_clock(bound) or looks_at_clock(operand):
                    yield evaluate(n.Compare(op, operand, bound), world)  # type: ignore[arg-type]
        case n.Aggregate(where=where) if where is not None:
            for row in world.related[node.related]:
                yield from clock_answers(where, world.within(node.related, row))
        case _:
            for child in node.children:
                yield from clock_answers(child, world)


def answers_at(node: n.Node, world: World, instants: Sequence[datetime]) -> list[tuple[bool | None, ...]]:
    """The clock answers at each instant."""
    return [tuple(clock_answers(node, replace(world, now=at))) for at in instants]


def changes(answers: Sequence[tuple[bool | None, ...]]) -> bool:
    """Whether any neighbouring answers differ."""
    return any(a != b for a, b in pairwise(answers))
