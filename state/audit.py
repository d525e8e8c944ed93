"""Reads for an audit: the decisions of some people, and under which names each side knows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from state import db
from state.queries import load
from state.relations import Relations, mailable, standing


class Decisions(NamedTuple):
    """What the state decided about one person: codes as in ``state.relations``, by topic or business unit; None = all
    marketing."""

    codes: Mapping[str | None, int]
    mailable: Mapping[str, bool]


def choose(conn: db.Connection, *, after: int | None, count: int) -> list[int]:
    """People to look at: the next ``count`` beyond ``after``, or any."""
    name, given = ("sample", {"count": count}) if after is None else ("next", {"after": after, "count": count})
    return [row[0] for row in conn.execute(load("audit")[name], given)]


def decisions(conn: db.Connection, rel: Relations, people: Sequence[int]) -> dict[int, Decisions]:
    """The stored decisions of the people."""
    topics = rel.decided
    columns = "".join(f", d.{standing(t)}, d.{mailable(t)}" for t in topics)
    rows = conn.execute(f"SELECT d.person, d.master{columns} FROM json_each(?) j CROSS JOIN decision d"
                        " ON d.person = j.value", (orjson.dumps(list(people)).decode(),))
    found = {}
    for person, master, *cells in rows:
        codes: dict[str | None, int] = {None: master, **dict(zip(topics, cells[::2], strict=True))}
        found[person] = Decisions(codes, {t: bool(m) for t, m in zip(topics, cells[1::2], strict=True)})
    return found


def ask(conn: db.Connection, name: str, people: Sequence[int], **given: Any) -> list[tuple[Any, ...]]:
    """The rows of a query of ``sql/audit.sql`` about these people."""
    return conn.execute(load("audit")[name], {"people": orjson.dumps(list(people)).decode(), **given}).fetchall()
