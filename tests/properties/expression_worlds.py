"""Random typed expressions and the people they are asked of, for the properties of expressions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

from hypothesis import strategies as st

from mappings import nodes as n
from mappings.types import SCALE, Column, ExpressionScope, Related, Type
from tests.properties.reference_expressions import EPOCH, Money, World

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia", "Asia/Kathmandu")

PERSON = {"n": Type.INTEGER, "m": Type.INTEGER, "d": Type.DECIMAL, "t": Type.TEXT, "Account.Name": Type.TEXT,
          "b": Type.BOOL, "c": Type.BOOL, "born": Type.DATE, "joined": Type.DATE, "seen": Type.INSTANT,
          "tags": Type.CHOICES, "spent": Type.MONEY, "spent_before": Type.MONEY}
ORDER = {"qty": Type.INTEGER, "price": Type.DECIMAL, "amount": Type.MONEY, "closed": Type.DATE, "placed": Type.INSTANT,
         "stage": Type.TEXT, "ok": Type.BOOL}
MONEY = frozenset(name for name, kind in {**PERSON, **{f"orders.{k}": v for k, v in ORDER.items()}}.items()
                  if kind == Type.MONEY)


# --------------------------------------------------------------------------- SQL side

def _parameter(name: str) -> str:
    return ":" + name.replace(".", "_")


def scope(currency: str | None) -> ExpressionScope:
    """Columns are bound parameters, related rows a JSON array: no table is needed."""
    person = {name: Column(_parameter(name), kind,
                           currency_sql=f"{_parameter(name)}_currency" if kind == Type.MONEY else None)
              for name, kind in PERSON.items()}
    order = {name: Column(f"(o.value ->> '{name}')", kind,
                          currency_sql=f"(o.value ->> '{name}_currency')" if kind == Type.MONEY else None)
             for name, kind in ORDER.items()}
    template = "SELECT {function}({argument}) FROM json_each(:orders) o WHERE {filter}"
    return ExpressionScope(person, {"orders": Related(order, template)}, currency)


def stored(value: Any, kind: Type) -> Any:
    """A Python value as SQLite holds it."""
    if value is None:
        return None
    match kind:
        case Type.DECIMAL:
            return int(value * SCALE)
        case Type.MONEY:
            return int(value.amount * SCALE)
        case Type.BOOL:
            return int(value)
        case Type.DATE:
            return value.isoformat()
        case Type.INSTANT:
            return (value - EPOCH) // timedelta(microseconds=1)
        case Type.CHOICES:
            return f";{';'.join(sorted(value))};"
    return value


def parameters(world: World) -> dict[str, Any]:
    """The named parameters a person is."""
    bound = _bound(world.row, PERSON)
    rows = [_bound(row, ORDER) for row in world.related["orders"]]
    return {name.replace(".", "_"): value for name, value in bound.items()} | {"orders": json.dumps(rows)}


def _bound(row: Mapping[str, Any], kinds: Mapping[str, Type]) -> dict[str, Any]:
    bound = {name: stored(row[name], kind) for name, kind in kinds.items()}
    return bound | {f"{name}_currency": None if row[name] is None else row[name].currency
                    for name, kind in kinds.items() if kind == Type.MONEY}


# --------------------------------------------------------------------------- people

# Small pools beside the wide ranges: what finds faults is two values that meet.
FEW_DAYS = [date(2020, 1, 31), date(2020, 2, 28), date(2020, 2, 29), date(2020, 3, 1), date(2020, 3, 31),
            date(2019, 12, 31), date(2021, 2, 28)]
DAYS = st.sampled_from(FEW_DAYS) | st.dates(date(1995, 1, 1), date(2035, 12, 31))
FEW_INSTANTS = [datetime(day.year, day.month, day.day, hour, tzinfo=UTC) for day in FEW_DAYS for hour in (0, 5, 11, 23)]
INSTANTS = st.sampled_from(FEW_INSTANTS) | st.datetimes(datetime(1999, 1, 1), datetime(2030, 1, 1),
                                                        timezones=st.just(UTC))
SPELLINGS = ["ß", "SS", "É", "e\u0301"]
WORDS = (st.sampled_from(["a", "A", " a ", "%", *SPELLINGS])
         | st.text("aAbBßẞéÉİ '%_!;K", min_size=1, max_size=5))
DECIMALS = (st.sampled_from([Decimal(text) for text in ("0", "0.0001", "-0.0001", "0.5", "2")])
            | st.decimals(-1000, 1000, places=4, allow_nan=False))
CURRENCIES = st.sampled_from(["EUR", "USD"])

VALUES: dict[Type, st.SearchStrategy[Any]] = {
    Type.INTEGER: st.integers(-3, 3) | st.integers(-1000, 1000), Type.DECIMAL: DECIMALS, Type.TEXT: WORDS,
    Type.BOOL: st.booleans(), Type.DATE: DAYS, Type.INSTANT: INSTANTS,
    Type.CHOICES: st.frozensets(st.sampled_from(["buyer", "user", "Buyer"]), min_size=1),
    Type.MONEY: st.builds(Money, DECIMALS, CURRENCIES),
}


def _rows(kinds: Mapping[str, Type]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({name: VALUES[kind] | st.none() | VALUES[kind] for name, kind in kinds.items()})


def _worlds(orders: st.SearchStrategy[list[dict[str, Any]]]) -> st.SearchStrategy[World]:
    return st.builds(World, _rows(PERSON), st.fixed_dictionaries({"orders": orders}), INSTANTS,
                     st.sampled_from([None, "EUR"]), st.just(MONEY))


def _row(number: int) -> st.SearchStrategy[dict[str, Any]]:
    """A row without nulls whose currency differs from its neighbour's."""
    return st.fixed_dictionaries({name: VALUES[kind] for name, kind in ORDER.items()} | {
        "amount": st.builds(Money, DECIMALS, st.just(["EUR", "USD"][number % 2]))})


WORLDS = _worlds(st.lists(_rows(ORDER), max_size=4))
RICH_WORLDS = _worlds(st.tuples(*map(_row, range(3))).map(list))
"""With related rows in plenty."""


# --------------------------------------------------------------------------- expressions

COMPARISONS: tuple[n.CompareOp, ...] = ("=", "!=", "<", "<=", ">", ">=")
NUMBERS = st.builds(lambda value: n.Number(value.to_integral_value() if value == value.to_integral_value()
                                           else value.normalize()), DECIMALS)
WHOLE = st.integers(-1000, 1000).map(lambda value: n.Number(Decimal(value)))
TEXTS = WORDS.map(n.Text)
DAY_TEXTS = DAYS.map(lambda day: n.Text(day.isoformat()))
INSTANT_TEXTS = INSTANTS.map(lambda at: n.Text(at.isoformat()))
ZONE_ARGS = st.lists(st.sampled_from(ZONES).map(n.Text), max_size=1).map(tuple)


def _names(kind: Type, inside: bool) -> st.SearchStrategy[n.Node]:
    """Columns of one type; ``inside`` a filter also those of the row."""
    names = [name for name, other in PERSON.items() if other == kind]
    if inside:
        names += [f"orders.{name}" for name, other in ORDER.items() if other == kind] * 2
    return st.sampled_from(names).map(n.Name)


def _call(name: str, *args: st.SearchStrategy[n.Node]) -> st.SearchStrategy[n.Node]:
    return st.tuples(*args).map(lambda drawn: n.Call(name, drawn))


def _clock_call(name: str, count: st.SearchStrategy[int]) -> st.SearchStrategy[n.Node]:
    return st.builds(lambda c, zone: n.Call(name, (n.Number(Decimal(c)), *zone)), count, ZONE_ARGS)


CLOCK_DAYS = (ZONE_ARGS.map(lambda zone: n.Call("today", zone)) | _clock_call("days_ago", st.integers(-400, 400))
              | _clock_call("months_ago", st.integers(-30, 30)) | _clock_call("years_ago", st.integers(0, 20)))
CLOCK_INSTANTS = st.just(n.Now()) | st.integers(-5000, 5000).map(lambda h: n.Call("hours_ago", (n.Number(Decimal(h)),)))
PARTS = st.sampled_from(["year", "month", "day"])


@cache
def expressions(kind: Type, depth: int, inside: bool = False) -> st.SearchStrategy[n.Node]:
    """Expressions of a type that stand still, at most ``depth`` operators deep."""
    leaves = _names(kind, inside)
    if depth == 0:
        return leaves
    smaller = expressions(kind, depth - 1, inside)
    branches = [leaves, *_OPERATORS[kind](depth - 1, inside)]
    if kind != Type.CHOICES:
        branches.append(st.tuples(smaller, smaller).map(lambda args: n.Call("coalesce", args)))
        branches.append(st.builds(lambda c, x, y: n.Case(((c, x),), y), expressions(Type.BOOL, depth - 1, inside),
                                  smaller, st.none() | smaller))
        if not inside and kind in _AGGREGATES:
            branches.append(_AGGREGATES[kind](depth - 1))
    return st.one_of(branches)


def _filters(depth: int) -> st.SearchStrategy[n.Node | None]:
    return st.none() | expressions(Type.BOOL, depth, True)


def _aggregate(depth: int, *choices: tuple[n.AggregateName, str | None]) -> st.SearchStrategy[n.Node]:
    return st.builds(lambda choice, where: n.Aggregate(choice[0], "orders", choice[1], where),
                     st.sampled_from(choices), st.none() | _filters(depth))


_AGGREGATES = {
    Type.INTEGER: lambda depth: _aggregate(depth, ("count", None), ("count", "amount"), ("sum", "qty"), ("max", "qty")),
    Type.DECIMAL: lambda depth: _aggregate(depth, ("sum", "price"), ("avg", "price"), ("avg", "qty"), ("min", "price")),
    Type.MONEY: lambda depth: _aggregate(depth, ("sum", "amount"), ("avg", "amount"), ("max", "amount")),
    Type.DATE: lambda depth: _aggregate(depth, ("min", "closed"), ("max", "closed")),
    Type.INSTANT: lambda depth: _aggregate(depth, ("max", "placed")),
}


def _integers(depth: int, inside: bool) -> list[st.SearchStrategy[n.Node]]:
    inner = expressions(Type.INTEGER, min(depth, 1), inside)
    day = expressions(Type.DATE, depth, inside)
    return [WHOLE, st.builds(n.Arithmetic, st.sampled_from("+-*"), inner, WHOLE | inner), inner.map(n.Negative),
            st.builds(lambda part, x: n.Call(part, (x,)), PARTS, day), _call("days_between", day, day),
            _call("length", expressions(Type.TEXT, depth, inside))]


def _decimals(depth: int, inside: bool) -> list[st.SearchStrategy[n.Node]]:
    inner = expressions(Type.DECIMAL, min(depth, 1), inside)
    whole = expressions(Type.INTEGER, min(depth, 1), inside)
    return [st.builds(n.Arithmetic, st.sampled_from("+-*/"), inner, NUMBERS | whole), inner.map(n.Negative),
            st.builds(n.Arithmetic, st.just("/"), whole, whole | inner),
            st.builds(n.Arithmetic, st.just("/"), *[expressions(Type.MONEY, min(depth, 1), inside)] * 2)]


def _moneys(depth: int, inside: bool) -> list[st.SearchStrategy[n.Node]]:
    inner = expressions(Type.MONEY, min(depth, 1), inside)
    return [st.builds(n.Arithmetic, st.sampled_from("+-"), inner, inner | NUMBERS),
            st.builds(n.Arithmetic, st.sampled_from("+-"), NUMBERS, inner), inner.map(n.Negative),
            st.builds(n.Arithmetic, st.sampled_from("*/"), inner, NUMBERS),
            st.builds(n.Arithmetic, st.just("*"), NUMBERS, inner), _call("coalesce", inner, NUMBERS)]


def _texts(depth: int, inside: bool) -> list[st.SearchStrategy[n.Node]]:
    inner = expressions(Type.TEXT, depth, inside)
    start = st.integers(1, 4).map(lambda value: n.Number(Decimal(value)))
    return [TEXTS, st.builds(lambda name, x: n.Call(name, (x,)),
                             st.sampled_from(["lower", "upper", "trim", "first_word"]), inner),
            _call("substr", inner, start), _call("substr", inner, start, start), _call("concat", inner, inner),
            st.tuples(inner, inner).map(n.join)]


def _dates(depth: int, inside: bool) -> list[st.SearchStrategy[n.Node]]:
    inner = expressions(Type.DATE, depth, inside)
    few = st.integers(-50, 50).map(lambda value: n.Number(Decimal(value)))
    return [_call("add_days", inner, few), _call("add_months", inner, few),
            st.builds(lambda x, zone: n.Call("date", (x, *zone)), expressions(Type.INSTANT, depth, inside), ZONE_ARGS)]


def _bools(depth: int, inside: bool) -> list[st.SearchStrategy[n.Node]]:
    inner = expressions(Type.BOOL, depth, inside)
    some = st.sampled_from([Type.INTEGER, Type.DECIMAL, Type.MONEY, Type.TEXT, Type.DATE, Type.INSTANT])
    anything = some.flatmap(lambda kind: expressions(kind, depth, inside))
    text = expressions(Type.TEXT, depth, inside)
    return [
        inner.map(n.Not), st.builds(n.logic, st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3)
                                    .map(tuple)),
        some.flatmap(lambda kind: _comparison(kind, depth, inside)), some.flatmap(
            lambda kind: _comparison(kind, depth, inside)),
        st.builds(n.Compare, st.sampled_from(["=", "!="]), inner, inner | st.booleans().map(n.Boolean)),
        anything.map(lambda x: n.Is(x, None)), st.builds(n.Is, inner, st.sampled_from([None, True, False])),
        st.builds(lambda x, p: n.Like(x, p), text, WORDS.map(lambda w: w.replace("K", "%"))),
        st.builds(lambda x, p: n.Like(x, p.replace("!", "") + "!%", "!"), text, WORDS),
        st.builds(lambda m: n.Call("has", (n.Name("tags"), n.Text(m))), st.sampled_from(["buyer", "Buyer", "us", "x"])),
        timely(depth, inside), timely(depth, inside),
    ]


_LITERALS: dict[Type, st.SearchStrategy[n.Node]] = {
    Type.INTEGER: NUMBERS, Type.DECIMAL: NUMBERS, Type.MONEY: NUMBERS, Type.TEXT: TEXTS, Type.DATE: DAY_TEXTS,
    Type.INSTANT: INSTANT_TEXTS,
}


def _comparison(kind: Type, depth: int, inside: bool) -> st.SearchStrategy[n.Node]:
    left = expressions(kind, depth, inside)
    right = left | _LITERALS[kind]
    return (st.builds(n.Compare, st.sampled_from(COMPARISONS), left, right)
            | st.builds(n.Compare, st.sampled_from(COMPARISONS), right, left)
            | st.builds(n.Between, left, right, right)
            | st.builds(lambda x, items: n.In(x, tuple(items)), left, st.lists(right, min_size=1, max_size=3))
            | st.builds(lambda x, items: n.In(x, tuple(items)), left, st.lists(_LITERALS[kind], min_size=2,
                                                                              max_size=3)))


def timely(depth: int, inside: bool) -> st.SearchStrategy[n.Node]:
    """Comparisons with the clock."""
    day = expressions(Type.DATE, min(depth, 1), inside) | DAY_TEXTS
    at = expressions(Type.INSTANT, min(depth, 1), inside) | INSTANT_TEXTS
    whole = st.integers(-40, 2030).map(lambda value: n.Number(Decimal(value))) | _names(Type.INTEGER, inside)
    small = st.integers(0, 31).map(lambda value: n.Number(Decimal(value)))
    op = st.sampled_from(COMPARISONS)
    part = st.builds(lambda p, x: n.Call(p, (x,)), PARTS, CLOCK_DAYS)
    near_days = ZONE_ARGS.map(lambda zone: n.Call("today", zone)) | _clock_call("days_ago", st.integers(-400, 400))
    elapsed = _call("days_between", day, near_days) | _call("days_between", near_days, day)
    born = st.builds(lambda p, x: n.Compare("=", n.Call(p, (n.Call("today", ()),)), n.Call(p, (x,))), PARTS,
                     _names(Type.DATE, inside))
    return st.one_of(
        st.builds(n.Compare, op, day, CLOCK_DAYS), st.builds(n.Compare, op, CLOCK_DAYS, day),
        st.builds(n.Compare, op, at, CLOCK_INSTANTS), st.builds(n.Compare, op, CLOCK_INSTANTS, at),
        st.builds(n.Compare, op, part, whole | small), st.builds(n.Compare, op, elapsed, whole), born,
        st.builds(n.Between, day, CLOCK_DAYS, CLOCK_DAYS), st.builds(n.Between, CLOCK_DAYS, day, day),
        st.builds(lambda x, y: n.In(x, (y, n.Text("2020-02-29"))), day, CLOCK_DAYS),
        st.builds(lambda x: n.In(x, (n.Number(Decimal(6)), n.Number(Decimal(7)))), part))


_OPERATORS: dict[Type, Any] = {
    Type.INTEGER: _integers, Type.DECIMAL: _decimals, Type.MONEY: _moneys, Type.TEXT: _texts, Type.DATE: _dates,
    Type.INSTANT: lambda depth, inside: [], Type.BOOL: _bools, Type.CHOICES: lambda depth, inside: [],
}

FOCUS: dict[str, st.SearchStrategy[n.Node]] = {
    "compare text": _comparison(Type.TEXT, 0, False), "compare numbers": _comparison(Type.DECIMAL, 1, False),
    "compare money": _comparison(Type.MONEY, 1, False), "compare dates": _comparison(Type.DATE, 1, False),
    "number": st.one_of(_decimals(0, False)), "whole number": st.one_of(_integers(0, False)),
    "money": st.one_of(_moneys(0, False)), "text": st.one_of(_texts(0, False)), "date": st.one_of(_dates(0, False)),
    "sum of money": _AGGREGATES[Type.MONEY](1), "sum of numbers": _AGGREGATES[Type.DECIMAL](0),
    "count": _AGGREGATES[Type.INTEGER](1), "latest": _AGGREGATES[Type.DATE](1),
    "ties": st.builds(n.Arithmetic, st.sampled_from("*/"), st.just(n.Name("d")), st.sampled_from(
        [n.Number(Decimal("0.5")), n.Number(Decimal(2)), n.Number(Decimal(-2))])),
    "spellings": st.builds(n.Compare, st.sampled_from(["=", "!="]), st.just(n.Name("t")),
                           st.sampled_from(SPELLINGS).map(n.Text)),
    "logic": st.one_of(_bools(0, False)), "clock": timely(1, False),
    "clock of rows": st.builds(lambda where: n.Compare(">", n.Aggregate("count", "orders", None, where),
                                                       n.Number(Decimal(0))), timely(0, True)),
}
"""Small expressions of one sort each, so that every operator is met often."""

ANY_KIND = st.sampled_from([Type.BOOL, Type.BOOL, Type.INTEGER, Type.DECIMAL, Type.MONEY, Type.TEXT, Type.DATE])
