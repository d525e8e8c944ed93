"""The functions an expression may call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mappings.functions import zone, zone_parameter
from mappings.nodes import Call, Name, Null, Number, Text, quote_text
from mappings.parse import ExpressionFault
from mappings.problems import did_you_mean
from mappings.terms import Clock, Term, Terms, article, common, fit, still, term
from mappings.types import Type

MAX_DAYS = 366 * 200
"""Calendar functions reach two hundred years."""


def call(emitter: Terms, node: Call) -> Term:
    """The term of a function call.

    :raises ExpressionFault: no such function, or arguments it does not take
    """
    known = _CALLS.get(node.name)
    if known is None:
        raise ExpressionFault(node.at, f"There is no function {node.name}.", did_you_mean(node.name, _CALLS))
    make, usage, least, most = known
    if not least <= len(node.args) <= most:
        raise ExpressionFault(node.at, f"{node.name} does not take {len(node.args)} arguments.", f"Write {usage}.")
    return make(emitter, node)


def _argument(emitter: Terms, node: Call, index: int, kind: Type) -> Term:
    if isinstance(node.args[index], Null):
        raise ExpressionFault(node.at, f"{node.name} of null is null.")
    return fit(emitter.term(node.args[index]), kind)


def _simple(kind: Type, result: Type, template: str) -> Callable[[Terms, Call], Term]:
    """A function of one argument that stands still."""
    def make(emitter: Terms, node: Call) -> Term:
        value = still(_argument(emitter, node, 0, kind))
        return term(node, result, template.format(value.sql), [value])
    return make


def _whole(node: Call, index: int, least: int, most: int) -> int:
    """A whole number written out."""
    argument = node.args[index]
    if isinstance(argument, Number) and argument.whole and least <= argument.value <= most:
        return int(argument.value)
    raise ExpressionFault(argument.at, f"{node.name} needs a whole number from {least} to {most} here.",
                          "Write it out.")


def _zone(node: Call, index: int) -> str:
    if index >= len(node.args):
        return "UTC"
    argument = node.args[index]
    if not isinstance(argument, Text):
        raise ExpressionFault(argument.at, f"{node.name} needs the name of a time zone here.",
                              "Write it as 'Europe/Berlin'.")
    try:
        zone(argument.value)
    except (ValueError, OSError, KeyError):
        from zoneinfo import available_timezones

        hint = did_you_mean(argument.value, available_timezones())
        raise ExpressionFault(argument.at, f"There is no time zone '{argument.value}'.",
                              hint if hint.startswith("Did") else "Write it as 'Europe/Berlin'.") from None
    return argument.value


# --------------------------------------------------------------------------- text

def _substr(emitter: Terms, node: Call) -> Term:
    value = still(_argument(emitter, node, 0, Type.TEXT))
    bounds = [str(_whole(node, index, 1, 100_000)) for index in range(1, len(node.args))]
    return term(node, Type.TEXT, f"nullif(substr({', '.join([value.sql, *bounds])}), '')", [value])


def _concat(emitter: Terms, node: Call) -> Term:
    items = [still(_argument(emitter, node, index, Type.TEXT)) for index in range(len(node.args))]
    joined = " || ".join(f"ifnull({item.sql}, '')" for item in items)
    return term(node, Type.TEXT, f"nullif({joined}, '')", items)


def _coalesce(emitter: Terms, node: Call) -> Term:
    kind, items = common([still(emitter.term(argument)) for argument in node.args])
    if kind == Type.NULL:
        raise ExpressionFault(node.at, "coalesce of nulls is null.")
    currency = None
    if kind == Type.MONEY:
        whens = " ".join(f"WHEN {item.sql} IS NOT NULL THEN {item.currency or 'NULL'}" for item in items)
        currency = f"(CASE {whens} END)"
    return term(node, kind, f"coalesce({', '.join(item.sql for item in items)})", items, currency=currency)


def _has(emitter: Terms, node: Call) -> Term:
    subject = node.args[0]
    value = emitter.term(subject)
    if value.type not in (Type.CHOICES, Type.ANY):
        raise ExpressionFault(value.at, f"has looks into a multiple choice, not into {article(value.type)}.",
                              "Compare with = instead.")
    member = node.args[1]
    if not isinstance(member, Text) or ";" in member.value:
        raise ExpressionFault(member.at, "has needs one member, written out.", "Write has(personas, 'buyer').")
    column = emitter.scope.columns.get(subject.path) if isinstance(subject, Name) else None
    if column is not None and column.choices and member.value not in column.choices:
        raise ExpressionFault(member.at, f"'{member.value}' is not one of the choices.",
                              did_you_mean(member.value, column.choices))
    return term(node, Type.BOOL, f"(ifnull(instr({value.sql}, {quote_text(f';{member.value};')}), 0) > 0)", [value])


# --------------------------------------------------------------------------- calendar

def _ago(unit: str) -> Callable[[Terms, Call], Term]:
    factors = {"days": (1, 0), "months": (0, 1), "years": (0, 12)}

    def make(emitter: Terms, node: Call) -> Term:
        days, months = factors[unit]
        limit = MAX_DAYS if days else 2400 // months
        count = -_whole(node, 0, -limit, limit)
        return _day(node, _zone(node, 1), count * days, count * months)
    return make


def _day(node: Call, name: str, days: int = 0, months: int = 0) -> Term:
    sql = f":{zone_parameter(name)}"
    if months:
        sql = f"add_months({sql}, {months})"
    if days:
        sql = f"add_days({sql}, {days})"
    made = term(node, Type.DATE, sql, clock=Clock("date", name, days, months))
    return replace(made, zones=frozenset((name,)))


def _hours_ago(emitter: Terms, node: Call) -> Term:
    micros = -_whole(node, 0, -24 * MAX_DAYS, 24 * MAX_DAYS) * 3_600_000_000
    return term(node, Type.INSTANT, f"(:now + ({micros}))", clock=Clock("instant", micros=micros))


def _date(emitter: Terms, node: Call) -> Term:
    value = _argument(emitter, node, 0, Type.INSTANT)
    name = _zone(node, 1)
    if value.clock is not None and value.clock.micros == 0:
        return _day(node, name)
    still(value)
    return term(node, Type.DATE, f"date_in({value.sql}, {quote_text(name)})", [value])


def _shifted(function: str) -> Callable[[Terms, Call], Term]:
    def make(emitter: Terms, node: Call) -> Term:
        value, count = (still(_argument(emitter, node, index, kind)) for index, kind in enumerate(
            (Type.DATE, Type.INTEGER)))
        return term(node, Type.DATE, f"{function}({value.sql}, {count.sql})", [value, count])
    return make


def _days_between(emitter: Terms, node: Call) -> Term:
    start, end = (_argument(emitter, node, index, Type.DATE) for index in (0, 1))
    moving = start.clock or end.clock
    if moving is not None:
        other = still(start if end.clock else end)
        if moving.months:
            raise ExpressionFault(node.at, "days_between counts from today or days_ago.", "Compare the dates instead.")
        moving = replace(moving, kind="elapsed", start=other.sql, backwards=end.clock is None)
    return term(node, Type.INTEGER, f"days_between({start.sql}, {end.sql})", [start, end], clock=moving)


def _part(part: str, start: int, length: int) -> Callable[[Terms, Call], Term]:
    def make(emitter: Terms, node: Call) -> Term:
        value = _argument(emitter, node, 0, Type.DATE)
        moving = None if value.clock is None else replace(value.clock, kind="part", part=part)
        sql = f"CAST(substr({value.sql}, {start}, {length}) AS INTEGER)"
        return term(node, Type.INTEGER, sql, [value], clock=moving)
    return make


_MANY = 50

_CALLS: dict[str, tuple[Callable[[Terms, Call], Term], str, int, int]] = {
    "lower": (_simple(Type.TEXT, Type.TEXT, "text_lower({})"), "lower(text)", 1, 1),
    "upper": (_simple(Type.TEXT, Type.TEXT, "text_upper({})"), "upper(text)", 1, 1),
    "trim": (_simple(Type.TEXT, Type.TEXT, "text_trim({})"), "trim(text)", 1, 1),
    "first_word": (_simple(Type.TEXT, Type.TEXT, "first_word({})"), "first_word(text)", 1, 1),
    "length": (_simple(Type.TEXT, Type.INTEGER, "length({})"), "length(text)", 1, 1),
    "substr": (_substr, "substr(text, 1, 3)", 2, 3),
    "concat": (_concat, "concat(text, text)", 2, _MANY),
    "coalesce": (_coalesce, "coalesce(x, y)", 2, _MANY),
    "has": (_has, "has(personas, 'buyer')", 2, 2),
    "year": (_part("year", 1, 4), "year(date)", 1, 1),
    "month": (_part("month", 6, 2), "month(date)", 1, 1),
    "day": (_part("day", 9, 2), "day(date)", 1, 1),
    "date": (_date, "date(instant, 'Europe/Berlin')", 1, 2),
    "today": (lambda emitter, node: _day(node, _zone(node, 0)), "today('Europe/Berlin')", 0, 1),
    "days_ago": (_ago("days"), "days_ago(30, 'Europe/Berlin')", 1, 2),
    "months_ago": (_ago("months"), "months_ago(6, 'Europe/Berlin')", 1, 2),
    "years_ago": (_ago("years"), "years_ago(18, 'Europe/Berlin')", 1, 2),
    "hours_ago": (_hours_ago, "hours_ago(24)", 1, 1),
    "add_days": (_shifted("add_days"), "add_days(date, 30)", 2, 2),
    "add_months": (_shifted("add_months"), "add_months(date, 6)", 2, 2),
    "days_between": (_days_between, "days_between(date, date)", 2, 2),
}
"""Name -> (emitter, usage, least and most arguments)."""
