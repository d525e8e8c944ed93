"""Expressions: SQLite running the emitted SQL agrees with a naive evaluator; printing and parsing are inverse; a rule's
next due instant is when a comparison with the clock changes its answer, and none changes before.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mappings.expressions import Compiled, Type, compile_expression, explain_columns
from mappings.functions import FUNCTIONS, clock_parameters
from mappings.nodes import Boolean, Compare, Node, Now, Null, Number, Text, depth, logic, print_node
from mappings.parse import MAX_DEPTH, MAX_LENGTH, parse
from mappings.problems import Place
from mappings.types import SCALE
from tests.properties.expression_worlds import (
    ANY_KIND,
    FOCUS,
    RICH_WORLDS,
    WORLDS,
    expressions,
    parameters,
    scope,
    timely,
)
from tests.properties.reference_expressions import EPOCH, Money, World, answers_at, changes, evaluate
from tests.soaking import examples

PLACE = Place("m.yaml", 1, 1)
COMMON = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large])
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture(scope="module")
def db() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:")
    for name, (function, arguments) in FUNCTIONS.items():
        connection.create_function(name, arguments, function, deterministic=True)
    yield connection
    connection.close()


def micros(instant: datetime) -> int:
    return (instant - EPOCH) // MICROSECOND


def select(db: sqlite3.Connection, world: World, compiled: Compiled, *columns: str) -> tuple[Any, ...]:
    bound = parameters(world) | clock_parameters(micros(world.now), compiled.zones)
    row = db.execute(f"SELECT {', '.join(columns)}", bound).fetchone()
    assert isinstance(row, tuple)
    return row


def compiled_from(node: Node, world: World, expect: Type | None = None) -> Compiled:
    text = print_node(node)
    assume(len(text) <= MAX_LENGTH and depth(node) <= MAX_DEPTH - 8)
    return compile_expression(text, scope(world.currency), expect=expect, place=PLACE)


def seen(sql_value: Any, compiled: Compiled, currency: Any) -> Any:
    """SQLite's value as the evaluator would say it."""
    if sql_value is None:
        return None
    match compiled.type:
        case Type.BOOL:
            return bool(sql_value)
        case Type.DECIMAL:
            return Decimal(sql_value) / SCALE
        case Type.MONEY:
            return Money(Decimal(sql_value) / SCALE, currency)
        case Type.DATE:
            return date.fromisoformat(sql_value)
        case Type.INSTANT:
            return EPOCH + sql_value * MICROSECOND
    return sql_value


@examples(150, COMMON)
@given(st.data(), ANY_KIND, WORLDS)
def test_sqlite_agrees_with_the_naive_evaluator(db: sqlite3.Connection, data: st.DataObject, kind: Type,
                                                world: World) -> None:
    agree(db, data.draw(expressions(kind, 3)), world)


@pytest.mark.parametrize("sort", FOCUS)
@examples(60, COMMON)
@given(st.data(), WORLDS | RICH_WORLDS)
def test_sqlite_agrees_about(db: sqlite3.Connection, sort: str, data: st.DataObject, world: World) -> None:
    agree(db, data.draw(FOCUS[sort]), world)


def agree(db: sqlite3.Connection, node: Node, world: World) -> None:
    compiled = compiled_from(node, world)
    got, currency = select(db, world, compiled, compiled.sql, compiled.currency_sql or "NULL")
    assert seen(got, compiled, currency) == evaluate(node, world)
    assert not isinstance(got, float)


@examples(150, COMMON)
@given(st.data(), WORLDS)
def test_a_condition_holds_only_when_it_is_true(db: sqlite3.Connection, data: st.DataObject, world: World) -> None:
    node = data.draw(expressions(Type.BOOL, 2))
    compiled = compiled_from(node, world, Type.BOOL)
    assert select(db, world, compiled, compiled.where_sql) == (int(evaluate(node, world) is True),)


@examples(200, COMMON)
@given(st.data(), ANY_KIND)
def test_printing_and_parsing_are_inverse(data: st.DataObject, kind: Type) -> None:
    node = data.draw(expressions(kind, 3))
    text = print_node(node)
    assume(len(text) <= MAX_LENGTH)
    assert parse(text) == node
    assert print_node(parse(text)) == text


@examples(100, COMMON)
@given(st.data(), WORLDS)
def test_every_explained_part_can_be_selected(db: sqlite3.Connection, data: st.DataObject, world: World) -> None:
    node = data.draw(expressions(Type.BOOL, 2))
    compiled = compiled_from(node, world)
    parts = explain_columns(compiled)
    values = select(db, world, compiled, *(part.sql for part in parts))
    shown = {part.label: (part, value) for part, value in zip(parts, values, strict=True)}
    assert shown[print_node(node)][1] == select(db, world, compiled, compiled.sql)[0]
    for inner in node.children:
        if isinstance(inner, Text | Number | Boolean | Null | Now):
            continue
        part, value = shown[print_node(inner)]
        if part.type == Type.BOOL:
            answer = evaluate(inner, world)
            assert value == (None if answer is None else int(answer))


# --------------------------------------------------------------------------- due

def samples(start: datetime, end: datetime) -> list[datetime]:
    """Instants in between: evenly spread, and every midnight of a week where the span is short."""
    step = (end - start) / 12
    spread = [start + step * i for i in range(1, 12)]
    days = [start + timedelta(days=i, hours=h) for i in range(8) for h in (0, 6, 12, 18)]
    return sorted({start, end, *spread, *(d for d in days if start < d < end)})


@examples(120, COMMON)
@given(st.data(), WORLDS | RICH_WORLDS)
def test_due_is_the_first_flip(db: sqlite3.Connection, data: st.DataObject, world: World) -> None:
    clock = timely(1, False)
    pair = st.tuples(clock, clock).map(lambda both: logic("or", both))
    node = data.draw(st.one_of(clock, clock, pair, expressions(Type.BOOL, 2)))
    first_flip(db, node, world)


@examples(60, COMMON)
@given(FOCUS["clock of rows"], RICH_WORLDS)
def test_due_is_the_first_flip_of_any_row(db: sqlite3.Connection, node: Node, world: World) -> None:
    first_flip(db, node, world)


def first_flip(db: sqlite3.Connection, node: Node, world: World) -> None:
    """No comparison with the clock changes its answer before due; one does at due."""
    compiled = compiled_from(node, world)
    if compiled.due_sql is None:
        assert not answers_at(node, world, [world.now])[0]
        return
    due, = select(db, world, compiled, compiled.due_sql)
    if due is None:
        end = datetime(2075, 1, 1, tzinfo=UTC)
        assert not changes(answers_at(node, world, samples(world.now, end)))
        return
    flip = EPOCH + due * MICROSECOND
    assert flip > world.now
    assert not changes(answers_at(node, world, samples(world.now, flip - MICROSECOND)))
    assert changes(answers_at(node, world, [flip - MICROSECOND, flip]))


@examples(80, COMMON)
@given(st.data(), WORLDS)
def test_the_sql_answers_differently_from_due_on(db: sqlite3.Connection, data: st.DataObject, world: World) -> None:
    """The same, told by SQLite alone, for a single comparison: what wakes a person is what changes her answer."""
    node = data.draw(timely(0, False).filter(lambda drawn: isinstance(drawn, Compare)))
    compiled = compiled_from(node, world)
    assert compiled.due_sql is not None
    due, before = select(db, world, compiled, compiled.due_sql, compiled.sql)
    if due is not None:
        answers = [select(db, replace(world, now=EPOCH + at * MICROSECOND), compiled, compiled.sql)[0]
                   for at in (due - 1, due)]
        assert answers == [before, 1 - before]
