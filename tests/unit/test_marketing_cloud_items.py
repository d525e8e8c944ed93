"""Rows made column by column are the rows made one by one."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from connectors.marketing_cloud.audiences import items
from connectors.marketing_cloud.wire.describe import Schema
from syncd.model import FieldInfo, Op, Outcome

COLUMNS = [FieldInfo("SubscriberKey", "text", length=20, primary_key=True), FieldInfo("Email", "text", length=30),
           FieldInfo("FirstName", "text", length=8), FieldInfo("Spent", "decimal"), FieldInfo("Since", "date"),
           FieldInfo("Buyer", "bool")]
MAPPED = COLUMNS[2:]
SCHEMA = Schema("OFFERS", {c.name.lower(): c for c in COLUMNS}, ("SubscriberKey",), "Email")

SOME: dict[str, Any] = {"FirstName": ["Ana", "", None, "é", 'a"b', "a\\b", "5%d", "a\x00b", "\ud800", "a\r\nb", "too long!",
                                      7],
                        "Spent": ["12.50", None, "x", 3], "Since": ["2024-02-29", None, "2023-02-29", 1_700_000_000_000_000],
                        "Buyer": [0, 1, None, 2]}
OPS = st.lists(st.builds(
    Op, st.just(1), st.sampled_from(["003A", "", "k\x01", "k" * 21]) | st.just("003B"),
    st.sampled_from(["a@mail.example", None, "ü@mail.example", "a b@mail.example", "a" * 31]) | st.just("b@mail.example"),
    st.tuples(*(st.sampled_from(SOME[c.name]) | st.just(SOME[c.name][0]) for c in MAPPED))), max_size=4)


def one_by_one(ops: list[Op]) -> list[dict[str, Any]] | None:
    rows = [row for op in ops if not isinstance(row := items.single(SCHEMA, MAPPED, op, UTC), Outcome)]
    return rows if len(rows) == len(ops) else None


@given(OPS)
def test_what_is_written_together_is_what_is_written_alone(ops: list[Op]) -> None:
    together = items.plain(SCHEMA, MAPPED, ops, UTC)
    assert together is None or list(map(orjson.loads, together)) == one_by_one(ops)


def test_ordinary_rows_are_written_together() -> None:
    ops = [Op(n, f"003{n}", f"p{n}@mail.example", ("Zoë", "12.50", "2024-02-29", n % 2)) for n in range(3)]
    found = items.plain(SCHEMA, MAPPED, ops, UTC)
    assert found is not None
    assert list(map(orjson.loads, found)) == one_by_one(ops)
    assert items.plain(SCHEMA, MAPPED, [*ops, ops[0]._replace(email=None)], UTC) is None
