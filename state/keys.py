"""Moving people to other subscriber keys.

A person's keys at a destination are rows of ``subscriber_key``: one in use, those given up, and at most one to come. What
comes back under any of them is the person's. Moving is a change of these rows; what follows from it (refusals written under
the key to come, rows under the new key, rows under the old one removed) is planned like everything else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import orjson

from state import db
from state.queries import load
from state.relations import Relations

BATCH = 1_000
"""People per transaction when they change keys."""


class Survey(NamedTuple):
    """A connection's people: with a key, with another than the mapping gives, of these with a subscriber who was there
    before us, moving, refusals under the keys that would be left; keys given up; people whose key is somebody else's."""

    people: int
    other: int
    existing: int
    moving: int
    refusals: int
    former: int
    without: int


class Ready(NamedTuple):
    """Somebody who can change keys now; ``proven`` = no refusal under the key to come has to be read back first."""

    person: int
    key: str
    proven: bool


def value_of(rel: Relations, connection: int) -> str:
    """SQL over a (attributes) and r (leading record): the key that the mapping gives. Where a record's id was not free its
    other form is as good."""
    value = rel.key_values[connection][0]
    if value != "crm_id":
        return f"({value})"
    return ("CASE WHEN EXISTS (SELECT 1 FROM subscriber_key t CROSS JOIN record h ON h.id = t.person"
            " WHERE t.connection = :connection AND t.key = r.rid AND h.person <> a.person)"
            " THEN r.rid || '.' || a.person ELSE r.rid END")


def survey(conn: db.Connection, rel: Relations, connection: int) -> Survey:
    q, given = load("keys"), {"connection": connection}
    counts = conn.execute(q["survey"].replace(":value", value_of(rel, connection)), given).fetchone()
    return Survey(*counts, *(conn.execute(q[name], given).fetchone()[0] for name in ("former", "without")))


def begin(conn: db.Connection, rel: Relations, connection: int, after: int, most: int) -> tuple[int, int]:
    """Give the next people after person id ``after`` the key that they are to move to; they are dirty. Returns how many
    were looked at, and the last of them."""
    q, given = load("keys"), {"connection": connection, "after": after}
    count, upto = conn.execute(q["upto"], {**given, "limit": most}).fetchone()
    if not count:
        return 0, after
    sql = q["next"].replace(":has_rows", _has_rows(rel, connection)).replace(":value", value_of(rel, connection))
    conn.execute(sql, {**given, "upto": upto})
    conn.execute(q["dirty_next"], {**given, "upto": upto})
    return count, upto


def _has_rows(rel: Relations, connection: int) -> str:
    """SQL over subscriber_key: a row stands under the key."""
    return " OR ".join(f"EXISTS (SELECT 1 FROM {a.table} t WHERE t.person = subscriber_key.person)"
                       for a in rel.audiences if a.connection == connection) or "0"


def survive(conn: db.Connection, rel: Relations) -> None:
    """Of the chunk's people whose records were merged: whoever is known under another key than that which is to stay moves
    to it, once nothing of its former owner is there or on its way."""
    sql = load("keys")["survive"]
    for (connection,) in conn.execute("SELECT id FROM connection WHERE approved_at IS NOT NULL").fetchall():
        if connection in rel.key_values:
            conn.execute(sql.replace(":has_rows", _has_rows(rel, connection)), {"connection": connection})


def part(conn: db.Connection, rel: Relations, now: int) -> None:
    """Of the records that the last step of identifying took from their people: whose key another had moved to, or was about
    to, has it again, with the rows under it, and the other one uses the key before."""
    q = load("keys")
    lent = [row for connection in rel.key_values
            for row in conn.execute(q["lent"].replace(":has_rows", _has_rows(rel, connection)), {"connection": connection})]
    for connection, key, user, owner in lent:
        given = {"connection": connection, "key": key, "user": user, "owner": owner, "now": now,
                 "people": orjson.dumps([owner]).decode()}
        for name in ("give_up", "hand_back", "use_again"):
            conn.execute(q[name], given)
        for a in rel.audiences:
            if a.connection == connection:
                conn.execute(f"UPDATE OR IGNORE {a.table} SET person = :owner WHERE person = :user AND key = :key", given)


def stop(conn: db.Connection, connection: int) -> int:
    """Whoever has not changed keys yet stays with the present one; how many that are."""
    return int(conn.execute(load("keys")["stop"], {"connection": connection}).rowcount)


def former(conn: db.Connection, connection: int, after: str, limit: int) -> list[tuple[str, int]]:
    """(key, µs since when) of keys that were given up, in the order of the keys."""
    return conn.execute(load("keys")["former_keys"], {"connection": connection, "after": after, "limit": limit}).fetchall()


def moving(conn: db.Connection) -> list[int]:
    """The connections where somebody moves."""
    return [int(row[0]) for row in conn.execute(load("keys")["moving"])]


def left_behind(conn: db.Connection) -> list[int]:
    """The audiences where rows are left under keys that were given up."""
    return [int(row[0]) for row in conn.execute(load("keys")["left_behind"])]


def tidy(conn: db.Connection, object_: int, after: int, most: int) -> tuple[int, int]:
    """Whoever left one of an audience's rows after ``after`` behind is dirty, unless its removal was tried already. Returns
    how many rows were looked at, and the last of them."""
    q, given = load("keys"), {"object": object_, "after": after}
    count, upto = conn.execute(q["left_upto"], {**given, "limit": most}).fetchone()
    if not count:
        return 0, after
    conn.execute(q["dirty_left_behind"], {**given, "upto": upto})
    return count, upto


def ready(conn: db.Connection, connection: int, after: int, people: Sequence[int] | None = None) -> list[Ready]:
    """Who can change keys now, in the order of their ids: the next after person id ``after``, of ``people`` only where they
    are given."""
    given = {"connection": connection, "after": after, "limit": BATCH,
             "people": None if people is None else orjson.dumps(list(people)).decode()}
    return [Ready(person, key, bool(proven)) for person, key, proven in conn.execute(load("keys")["ready"], given)]


def refused(conn: db.Connection, connection: int, keys: Collection[str]) -> Mapping[str, list[str]]:
    """By container, which of these keys should be unsubscribed there."""
    found: dict[str, list[str]] = {}
    given = {"connection": connection, "keys": orjson.dumps(list(keys)).decode()}
    for container, key in conn.execute(load("keys")["refused"], given):
        found.setdefault(container, []).append(key)
    return found


def not_there(conn: db.Connection, connection: int, container: str, keys: Collection[str]) -> None:
    """The provider does not hold these refusals, though it acknowledged them: they are written again."""
    q, given = load("keys"), {"connection": connection, "keys": orjson.dumps(list(keys)).decode()}
    conn.execute(q["not_there"], {**given, "container": container})
    conn.execute(q["dirty_keys"], given)


def change(conn: db.Connection, connection: int, people: Sequence[int], now: int) -> int:
    """Let these people (at most ``BATCH``), as far as they are still ready, use the key to come; they are dirty. Returns how
    many that are."""
    found = [one.person for one in ready(conn, connection, 0, people)]
    q, given = load("keys"), {"connection": connection, "people": orjson.dumps(found).decode(), "now": now}
    for name in ("give_up", "take_up", "dirty_people"):
        conn.execute(q[name], given)
    return len(found)
