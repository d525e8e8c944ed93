"""Expressions: what is refused and where, what the SQL looks like, and the functions it relies on."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import pytest

from mappings.calls import _CALLS
from mappings.expressions import Column, ExpressionScope, Related, Type, compile_expression, compile_order
from mappings.functions import (
    FUNCTIONS,
    add_days,
    add_months,
    clock_parameters,
    date_in,
    due_day,
    due_part,
    fold,
    num_add,
    num_div,
    num_div_scaled,
    num_mul,
    num_mul_scaled,
    num_scale,
    zone_parameter,
)
from mappings.nodes import RESERVED, Name, print_node
from mappings.parse import parse
from mappings.problems import MappingProblems, Place

SCOPE = ExpressionScope(
    {"n": Column("p.n", Type.INTEGER), "d": Column("p.d", Type.DECIMAL), "name": Column("p.name", Type.TEXT),
     "ok": Column("p.ok", Type.BOOL), "day": Column("p.day", Type.DATE), "at": Column("p.at", Type.INSTANT),
     "personas": Column("p.personas", Type.CHOICES, ("buyer", "user")),
     "spent": Column("p.spent", Type.MONEY, currency_sql="p.currency")},
    {"orders": Related({"amount": Column("o.amount", Type.MONEY, currency_sql="o.currency"),
                        "stage": Column("o.stage", Type.TEXT), "closed": Column("o.closed", Type.DATE)},
                       "SELECT {function}({argument}) FROM orders o WHERE o.person = p.id AND ({filter})")})


def compiled(text: str, scope: ExpressionScope = SCOPE, expect: Type | None = None) -> Any:
    return compile_expression(text, scope, expect=expect, place=Place("m.yaml", 4, 11))


def refusal(text: str, expect: Type | None = None) -> str:
    with pytest.raises(MappingProblems) as refused:
        compiled(text, expect=expect)
    problem, = refused.value.problems
    return str(problem)


# --------------------------------------------------------------------------- refused

@pytest.mark.parametrize("text", [
    "(select 1)", "exists(select 1)", "n in (select 1)", "n over ()", "count(orders) over ()", "cast(n as text)",
    "n::text", "name collate nocase = 'a'", "interval '1' day", "date '2020-01-01'", "n % 2 = 0", "n & 1",
    "name ilike 'a'", "name ~ 'a'", "n is distinct from 1", "n is not distinct from 1", "personas[1] = 'a'", ":n = 1",
    "? = 1", "@n = 1", "n", "1; drop table person", "n = 1 -- and ok", "n = 1 /* and ok */", "select n",
    "count(*) > 0", "sum(distinct orders.amount)", "name like any ('a', 'b')", "n between symmetric 1 and 2",
    "{n} = 1", "n = all(day)", "case when ok then 1", "n = 1e3", "n = 0x10", "n = x'00'", "first_word(name", "",
    "   ", "ok and", "n in ()", "n in (1, null)", "n = null", "name = ''", "n = 0.00001", "n = 999999999999999999",
    "name = 'a' 'b'", "n = (1, 2)", "name like name", "name like 'a!' escape '!'", "name like 'a' escape 'ab'",
    "name like 'a' escape 'a'", "ok > true", "personas = 'buyer'", "null", "case when ok then null end",
    "lower(n) = 'a'", "lower(null) = 'a'", "has(personas, 'b;c')", "has(name, 'a')", "has(personas, name)",
    "orders.amount > 1", "sum(orders) > 1", "sum(orders.stage) > 1", "sum(nothing.amount) > 1",
    "sum(orders.nothing) > 1", "sum(spent) > 1", "min(n, d) > 1", "first_word(name) filter (where ok) = 'a'",
    "spent * spent > 1", "n / spent > 1", "spent > d", "spent + n > 1", "spent = day", "name + 'a' = 'b'",
    "day + 1 = day", "day = at", "day = '2020-02-30'", "day = '20200101'", "at > '2020-01-01'",
    "at > '2020-01-01T00:00:00'", "now = now", "coalesce(at, now) > at", "now is null", "today('Nowhere') = day",
    "today(name) = day", "days_ago(n) = day", "days_ago(1.5) = day", "days_ago(99999) = day", "year(at) = 2020",
    "year(today()) = year(today())", "add_days(today(), n) = day", "days_between(today(), today()) = 1",
    "days_between(day, months_ago(1)) = 1", "year(today()) = 2020.5", "date(hours_ago(1)) = day",
    "substr(name, 0) = 'a'", "substr(name, n) = 'a'", "nothing(n) = 1", "name and ok", "not name", "ok or null",
    "'a' = 5", "* = 1", "case when n then 1 end = 1", "case when ok then 1 else 'a' end = 1", "\"a.b\" = 1",
    "name = 'a\0b'",
])
def test_refused(text: str) -> None:
    found = refusal(text, Type.BOOL)
    assert found.startswith("m.yaml:4:")
    assert found.endswith((".", "?", "'it''s'."))


@pytest.mark.parametrize(("text", "message"), [
    ("ok and nam = 'a'", 'm.yaml:4:18: "nam" is not known here. Did you mean "name"?'),
    ("ok and n = 'a'", "m.yaml:4:22: 'a' is text, but a whole number is needed here."),
    ("n = 1;", "m.yaml:4:16: An expression has no semicolon. Remove it."),
    ("ok b", 'm.yaml:4:14: This is not an expression. It cannot be read near "b".'),
    ("orders.amount > 1", "m.yaml:4:11: orders.amount has many values per person. Say which, such as "
                          "max(orders.amount), or count(orders)."),
    ("at >= days_ago(3)", "m.yaml:4:11: A date and an instant do not go together. Turn the instant into a day with "
                          "date(x, 'Europe/Berlin')."),
    ("today('Europe/Berln') > day",
     "m.yaml:4:17: There is no time zone 'Europe/Berln'. Did you mean \"Europe/Berlin\"?"),
    ("coalesce(day, today()) > day", "m.yaml:4:25: today() moves with the clock, so it must be compared. Write it "
                                     "alone on one side of a comparison, such as closed >= days_ago(30)."),
    ("has(personas, 'byer')", "m.yaml:4:25: 'byer' is not one of the choices. Did you mean \"buyer\"?"),
    ("name", "m.yaml:4:11: name is text, but true or false is needed here. Write true or false without quotes."),
])
def test_messages_say_where_and_what_to_do(text: str, message: str) -> None:
    assert refusal(text, Type.BOOL) == message


def test_length_depth_and_size_have_limits() -> None:
    assert "longer than 2,000 characters" in refusal("ok or " * 400 + "ok")
    negated = "-" + "(-" * 40 + "n" + ")" * 40 + " > 1"
    for deep in ("(" * 40 + "ok" + ")" * 40, "not " * 40 + "ok", "(" * 900 + "ok", negated):
        assert "nested more than 32 levels deep" in refusal(deep)
    wide = " or ".join(["ok"] * 300)
    assert compiled(wide).sql.count("OR") == 299
    doubling = "spent"
    for _ in range(15):
        doubling = f"case when {doubling} between 1 and 5 then spent end"
    assert "too complicated" in refusal(f"{doubling} > 1")
    nested = "n"
    for _ in range(20):
        nested = f"case {nested} when 1 then 1 when 2 then 2 end"
    assert "nested too often" in refusal(f"{nested} = 1")


def test_a_record_has_no_related_rows() -> None:
    with pytest.raises(MappingProblems, match="There are no related rows here for count"):
        compiled("count(orders) > 0", ExpressionScope(SCOPE.columns))


# --------------------------------------------------------------------------- emitted

@pytest.mark.parametrize(("text", "sql"), [
    ("name = 'ZÜRICH'", "(fold(p.name) = 'zürich')"),
    ("name = 'it''s'", "(fold(p.name) = 'it''s')"),
    ("name in ('A', 'b')", "(fold(p.name) IN ('a', 'b'))"),
    ("d > 1.5", "(p.d > 15000)"),
    ("n > 1.5", "(num_scale(p.n) > 15000)"),
    ("spent > 100", "(p.spent > 1000000)"),
    ("day >= days_ago(30)", "(p.day >= add_days(:today_UTC, -30))"),
    ("at < now", "(p.at < :now)"),
    ("has(personas, 'buyer')", "(ifnull(instr(p.personas, ';buyer;'), 0) > 0)"),
    ("count(orders) filter (where orders.stage = 'Won') > 0",
     "((SELECT count(*) FROM orders o WHERE o.person = p.id AND ((fold(o.stage) = 'won'))) > 0)"),
])
def test_sql(text: str, sql: str) -> None:
    assert compiled(text).sql == sql


def test_text_is_never_read_as_a_slot_of_the_template() -> None:
    sql = compiled("count(orders) filter (where orders.stage = '{function}') > 0").sql
    assert "fold(o.stage) = '{function}'" in sql


def test_what_an_expression_uses() -> None:
    found = compiled("ok and count(orders) filter (where orders.closed > days_ago(9, 'Asia/Tokyo') "
                     "and orders.stage = name) > 0 and day = today('UTC')")
    assert (found.columns, found.related, found.zones) == ({"ok", "name", "day"}, {"orders"}, {"Asia/Tokyo", "UTC"})
    assert found.due_sql is not None
    assert compiled("ok").due_sql is None


def test_a_column_that_moves_with_the_clock_brings_its_due() -> None:
    scope = ExpressionScope({"recent": Column("(x > :now)", Type.BOOL, due_sql="x")})
    assert compiled("not recent", scope).due_sql == "x"


def test_money_keeps_its_currency() -> None:
    mixed, single = (compiled("sum(orders.amount)", ExpressionScope(SCOPE.columns, SCOPE.related, currency))
                     for currency in (None, "EUR"))
    assert mixed.type == single.type == Type.MONEY
    assert "count(DISTINCT ifnull(o.currency, ''))" in mixed.sql
    assert (single.currency_sql, "o.currency = 'EUR'" in single.sql) == ("'EUR'", True)
    assert [part.label for part in single.parts] == [
        "sum(orders.amount)", "sum(orders.amount): rows not in EUR, left out"]


@pytest.mark.parametrize(("text", "expect", "sql"), [
    ("n", Type.DECIMAL, "num_scale(p.n)"), ("100", Type.MONEY, "1000000"), ("'2020-01-31'", Type.DATE, "'2020-01-31'"),
])
def test_the_expected_type_is_met(text: str, expect: Type, sql: str) -> None:
    found = compiled(text, expect=expect)
    assert (found.type, found.sql) == (expect, sql)


def test_orders() -> None:
    keys = compile_order("spent desc, coalesce(name, 'x'), day asc", SCOPE, place=Place("m.yaml", 1, 1))
    assert [(key.value.sql, key.descending) for key in keys] == [
        ("p.spent", True), ("coalesce(p.name, 'x')", False), ("p.day", False)]
    for text, problem in [("spent, nme", 'm.yaml:1:8: "nme"'), ("spent,", "nothing to order by"),
                          ("ok", "ok has no order"), ("today()", "moves with the clock")]:
        with pytest.raises(MappingProblems, match=problem):
            compile_order(text, SCOPE, place=Place("m.yaml", 1, 1))


def test_every_word_of_the_parser_can_be_a_name() -> None:
    from sqlglot import Tokenizer

    words = {word.lower() for word in Tokenizer.KEYWORDS if word.isalpha()} | RESERVED
    for word in words:
        assert parse(print_node(Name(word))) == Name(word)
        for text in ("@ = 1 or f(@, 1) = @", "case when @ then @ else @ end", "x.@ in (@) and @ is null and not @",
                     "@ between @ and @ and @ like 'a' and -@ > 1"):
            assert parse(text.replace("@", print_node(Name(word)))) == parse(text.replace("@", f'"{word}"'))


def test_the_documentation_names_every_function() -> None:
    page = (Path(__file__).parents[2] / "docs" / "expressions.md").read_text("utf-8")
    assert [name for name in _CALLS if f"`{name}(" not in page] == []


@pytest.mark.parametrize(("text", "value"), [
    ("concat(nothing, nothing)", None), ("concat(nothing, 'a', word)", "aWörd"), ("word || nothing", None),
    ("substr(word, 9)", None), ("trim(blank)", None), ("first_word(blank)", None), ("has(none, 'a')", 0),
    ("upper(word)", "WÖRD"), ("length(word)", 4), ("7 / 2", 35_000), ("7 / 0", None), ("2 / 3 * 3", 20_001),
    ("word like '_ÖR%'", 1), ("word like 'w%' and nothing = 'a'", None), ("nothing = 'a' or word = 'WÖRD'", 1),
])
def test_values(text: str, value: Any) -> None:
    scope = ExpressionScope({"nothing": Column("NULL", Type.TEXT), "word": Column("'Wörd'", Type.TEXT),
                             "blank": Column("' '", Type.TEXT), "none": Column("NULL", Type.CHOICES)})
    db = sqlite3.connect(":memory:")
    for name, (function, arguments) in FUNCTIONS.items():
        db.create_function(name, arguments, function, deterministic=True)
    found, = db.execute(f"SELECT {compiled(text, scope).sql}").fetchone()
    db.close()
    assert found == value


# --------------------------------------------------------------------------- functions

def test_functions_are_total_and_take_what_they_declare() -> None:
    samples: list[Any] = [None, 0, -1, 1 << 62, -(1 << 63), "", "x", "2020-02-30", "0001-01-01", "9999-12-31"]
    db = sqlite3.connect(":memory:")
    for name, (function, arguments) in FUNCTIONS.items():
        db.create_function(name, arguments, function, deterministic=True)
    text_first = {"fold", "text_lower", "text_upper", "text_trim", "first_word", "add_days", "add_months",
                  "days_between"}
    for name, (_, arguments) in FUNCTIONS.items():
        if name.startswith("due_") or name == "date_in":
            continue
        texts = [value for value in samples if value is None or isinstance(value, str) == (name in text_first)]
        others = texts if name == "days_between" else [v for v in samples if v is None or isinstance(v, int)]
        for first in texts:
            for second in others if arguments == 2 else [None]:
                call = f"SELECT {name}({', '.join('?' * arguments)})"
                value, = db.execute(call, (first, second)[:arguments]).fetchone()
                assert not isinstance(value, float)
                if first is None:
                    assert value is None
    db.close()


@pytest.mark.parametrize(("found", "expected"), [
    (num_div(5, 2), 3), (num_div(-5, 2), -3), (num_div(5, -2), -3), (num_div(4, 3), 1), (num_div(1, 0), None),
    (num_mul_scaled(15_000, 3), 5), (num_mul_scaled(-15_000, 3), -5), (num_div_scaled(1, 3), 3333),
    (num_add(1 << 62, 1 << 62), None), (num_mul(1 << 40, 1 << 40), None), (num_scale(1 << 60), None),
    (num_mul_scaled(9 * 10**14, 9 * 10**14), None),
    (num_mul_scaled(9 * 10**14, 10_000), 9 * 10**14), (fold("STRASSE"), fold("straße")),
    (fold("e\u0301"), fold("É")), (fold("I"), "i"),
    (add_days("9999-12-31", 1), None), (add_months("2020-01-31", 1), "2020-02-29"),
    (add_months("2020-03-31", -13), "2019-02-28"),
    (date_in(-1, "UTC"), "1969-12-31"), (date_in(1 << 62, "UTC"), None),
])
def test_exact_arithmetic_and_calendar(found: Any, expected: Any) -> None:
    assert found == expected


def at(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp()) * 1_000_000  # type: ignore[arg-type, misc]


def test_days_begin_when_the_zone_says() -> None:
    berlin = due_day(">=", "2020-03-30", "Europe/Berlin", 0, 0, at(2020, 3, 1))
    assert berlin == at(2020, 3, 29, 22)
    # Samoa had no 30 December 2011; in 2018 Sao Paulo's 4 November began at one o'clock.
    assert due_day(">=", "2011-12-30", "Pacific/Apia", 0, 0, at(2011, 12, 1)) == at(2011, 12, 30, 10)
    assert due_day(">=", "2018-11-04", "America/Sao_Paulo", 0, 0, at(2018, 11, 1)) == at(2018, 11, 4, 3)
    # No day is a month after the 31st of January, in no zone; in Apia none was the 30th of December 2011.
    assert due_day("=", "2020-01-31", "UTC", 0, -1, at(2020, 1, 31)) is None
    assert due_day("!=", "2020-01-31", "UTC", 0, -1, at(2020, 1, 31)) is None
    assert due_day("=", "2011-12-30", "Pacific/Apia", 0, 0, at(2011, 12, 1)) is None
    assert due_day("=", "2020-02-28", "UTC", 0, -1, at(2020, 1, 31)) == at(2020, 3, 28)


def test_parts_wait_for_their_next_turn() -> None:
    assert due_part("=", 2, "month", "UTC", 0, 0, at(2020, 5, 5)) == at(2021, 2, 1)
    assert due_part("=", 29, "day", "UTC", 0, 0, at(2021, 1, 30)) == at(2021, 3, 29)
    assert due_part("=", 13, "month", "UTC", 0, 0, at(2020, 5, 5)) is None
    assert due_part(">", 2030, "year", "UTC", 0, 0, at(2020, 5, 5)) == at(2031, 1, 1)
    assert due_part("=", 2020, "year", "UTC", 0, 0, at(2020, 5, 5)) == at(2021, 1, 1)
    assert due_part("<", 2020, "year", "UTC", 0, 0, at(2020, 5, 5)) is None


def test_every_zone_has_a_parameter_of_its_own() -> None:
    names = {zone_parameter(name) for name in available_timezones()}
    assert len(names) == len(available_timezones())
    assert all(name.isidentifier() for name in names)
    assert clock_parameters(at(2020, 1, 1, 23), ["UTC", "Asia/Tokyo"]) == {
        "now": at(2020, 1, 1, 23), "today_UTC": "2020-01-01", "today_Asia__Tokyo": "2020-01-02"}
