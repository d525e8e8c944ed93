"""Ranked segments: who is among the first. That takes a look at everybody, beside the writer; it is written in parts.

A mark in ``meta`` counts how often somebody was decided since; while it is there, the members are chosen again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from state import db
from state.plan import member
from state.relations import AudienceDef, Relations


class Change(NamedTuple):
    """Somebody's place in a ranked segment, from 1; None = not among the first."""

    person: int
    place: int | None
    before: int | None


class Ranking(NamedTuple):
    """What a look at everybody came to: the mark as it was then, and the changes by the segment's object."""

    mark: int
    changes: Mapping[int, Sequence[Change]]


def choose(conn: db.Connection, rel: Relations, parameters: Mapping[str, Any]) -> Ranking | None:
    """Choose the members of ranked segments where anybody was decided since; None where nobody was. Only reads."""
    mark = conn.execute("SELECT value FROM meta WHERE name = 'unranked'").fetchone()
    ranked = [a for a in rel.audiences if a.limit is not None]
    if mark is None or not ranked:
        return None
    return Ranking(mark[0], {a.object: _changes(conn, a, rel, parameters) for a in ranked})


def _changes(conn: db.Connection, a: AudienceDef, rel: Relations, parameters: Mapping[str, Any]) -> list[Change]:
    eligible = member(AudienceDef(**{**{f: getattr(a, f) for f in a.__slots__}, "limit": None}), rel)
    chosen = conn.execute(f"""SELECT a.person FROM attr a CROSS JOIN decision d ON d.person = a.person
        CROSS JOIN address ad ON ad.id = a.address WHERE {eligible}
        ORDER BY {a.order_by}, a.person LIMIT {a.limit}""", parameters)
    places = {person: place for place, (person,) in enumerate(chosen, 1)}
    before = dict(conn.execute(f"SELECT person, place FROM rank_{a.object}").fetchall())
    return [Change(person, places.get(person), before.get(person)) for person in sorted(places.keys() | before.keys())
            if places.get(person) != before.get(person)]


def move(conn: db.Connection, object_: int, changes: Sequence[Change]) -> None:
    """Write some changes; whoever enters or leaves is dirty."""
    table = f"rank_{object_}"
    conn.executemany("INSERT OR IGNORE INTO dirty VALUES (?)",
                     ((c.person,) for c in changes if c.place is None or c.before is None))
    conn.executemany(f"DELETE FROM {table} WHERE person = ?", ((c.person,) for c in changes if c.place is None))
    conn.executemany(f"INSERT OR REPLACE INTO {table} (person, place) VALUES (?, ?)",
                     ((c.person, c.place) for c in changes if c.place is not None))


def ranked(conn: db.Connection, mark: int) -> None:
    """Every change is written. Whom somebody decided meanwhile asks for another choice."""
    conn.execute("DELETE FROM meta WHERE name = 'unranked' AND value = ?", (mark,))
