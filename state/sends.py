"""What the ESPs' sends were: read now and then, and looked up when somebody unsubscribes from one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from state import db
from state.queries import load


class Send(NamedTuple):
    """A send in the words of ``syncd.model.SEND_COLUMNS``, its choices as sets."""

    send: str
    name: str | None
    definition: str | None
    containers: frozenset[str]
    audiences: frozenset[str]
    classification: str | None
    at: int | None


def store(conn: db.Connection, connection: int, rows: Iterable[Sequence[Any]]) -> int:
    """Take a page of sends; returns how many were new or had changed."""
    return int(conn.executemany(load("sends")["store"], ((connection, *row) for row in rows)).rowcount)


def named(conn: db.Connection, connection: int, sends: Iterable[str]) -> dict[str, Send]:
    """Those of ``sends`` that are known."""
    given = {"connection": connection, "sends": orjson.dumps(sorted(sends)).decode()}
    return {row[0]: of_row(row) for row in conn.execute(load("sends")["named"], given)}


def of_row(row: Sequence[Any]) -> Send:
    """A send from the columns of ``SEND_COLUMNS``."""
    send, name, definition, containers, audiences, classification, at = row
    return Send(send, name, definition, _members(containers), _members(audiences), classification, at)


def _members(choices: str | None) -> frozenset[str]:
    return frozenset(filter(None, (choices or "").split(";")))


def stood_for(conn: db.Connection, connection: int) -> dict[int, str]:
    """What everything of a connection stood for until an instant (µs), the earliest first; 0 = what it stands for now."""
    return dict(conn.execute(load("sends")["stood_for"], (connection,)).fetchall())


def stands_for(conn: db.Connection, connection: int, content: str, now: int) -> None:
    """From now on it stands for this."""
    for name in ("until_now", "from_now"):
        conn.execute(load("sends")[name], {"connection": connection, "content": content, "now": now})


def doubt(conn: db.Connection, connection: int, unresolved: Iterable[str], now: int) -> None:
    """List sends (or, where an event names none, lists) of which nobody can tell which topic they were about."""
    conn.executemany(load("sends")["unresolved"], ({"connection": connection, "key": key, "now": now}
                                                   for key in sorted(set(unresolved))))


def doubted(conn: db.Connection, connection: int) -> set[str]:
    """The sends that are listed so."""
    return {row[0] for row in conn.execute(load("sends")["still_unresolved"], (connection,))}


def settle(conn: db.Connection, connection: int, resolved: Iterable[str], now: int) -> None:
    """Strike off sends that are understood by now."""
    conn.execute(load("sends")["resolved"], {"connection": connection, "now": now,
                                             "sends": orjson.dumps(sorted(resolved)).decode()})
