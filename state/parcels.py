"""Parcels: the rows of a first plan, from the plan to the answer, without a state of each.

A first plan is a row for everybody, queued in a lane that is shut until it is approved, sent in the order of its planning
and mostly acknowledged as it was sent. Such operations lie in one range of ids, and one row of ``parcel`` says whether they
are queued or in which batch they are: each of them is written when it is planned and when it is done, and is in no index of
lanes or batches in between. Whatever has to be told of a single one (a newer wish, an answer of its own) takes it out of its
parcel first; from then on it is an operation like any other (docs/decisions/0024-parcels.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from state import db
from state.queries import load

PACKED = -1
"""The state of an operation in a parcel."""


class Members(NamedTuple):
    """The sealed operations of a batch: SQL over ``o``, and what it is given."""

    sql: str
    given: Mapping[str, Any]

    def of(self, query: str) -> str:
        """A query about these operations."""
        return query.replace(":members", self.sql)


INTO_LANE = "UPDATE operation SET state = 2 WHERE id = ?"
"""An operation that has to wait for another one leaves its parcel for the lane."""
LOOSE = "o.batch = :batch AND o.state = 3"
WHOLE = f"o.id BETWEEN :first AND :last AND o.state = {PACKED}"


class Parcel(NamedTuple):
    """The next queued parcel of a destination: where it begins, the object, and its columns as JSON."""

    first: int
    object: int
    columns: str


def pack(conn: db.Connection, connection: int, object_: int, columns: str, count: int) -> None:
    """The operations that were inserted last, so many, are a parcel, or the end of the one before."""
    if count > 0:
        last = conn.execute("SELECT last_insert_rowid()").fetchone()[0]
        given = {"first": last - count + 1, "last": last, "connection": connection, "object": object_, "columns": columns}
        if not conn.execute(load("parcels")["grow"], given).rowcount:
            conn.execute(load("parcels")["pack"], given)


def following(conn: db.Connection, given: Mapping[str, Any]) -> Parcel | None:
    """The next parcel of ``:connection`` whose audience is not ``:absent``; none of a lane that is shut."""
    row = conn.execute(load("parcels")["next"], given).fetchone()
    return None if row is None else Parcel(*row)


def cut(conn: db.Connection, parcel: Parcel, size: int) -> int | None:
    """The last of the first so many operations of a parcel. None where all of them were taken out: it is gone now."""
    q = load("parcels")
    upto = conn.execute(q["upto"], {"first": parcel.first, "size": size}).fetchone()[0]
    if upto is None:
        conn.execute(q["empty"], (parcel.first,))
        return None
    return int(upto)


def seal(conn: db.Connection, parcel: Parcel, upto: int, batch: int) -> Members:
    """The operations up to that one are in a batch, the others stay queued."""
    q, given = load("parcels"), {"batch": batch, "first": parcel.first, "last": upto}
    conn.execute(q["rest"], given)
    conn.execute(q["seal"], given)
    return Members(WHOLE, given)


def loose(batch: int) -> Members:
    """Those of a batch's operations that have a state of their own."""
    return Members(LOOSE, {"batch": batch})


def members(conn: db.Connection, batch: int) -> list[Members]:
    """All of a batch's operations: those in its parcel, if it has one, and those of which something was to be told."""
    row = conn.execute(load("parcels")["of"], (batch,)).fetchone()
    if row is None:
        return [loose(batch)]
    found = [Members(WHOLE, {"batch": batch, "first": row[0], "last": row[1]})]
    if conn.execute("SELECT 1 FROM operation WHERE batch = ? AND state = 3 LIMIT 1", (batch,)).fetchone():
        found.append(loose(batch))
    return found


def alike(conn: db.Connection, batch: int) -> Members:
    """All of a batch's operations, as one: where some were taken out of its parcel, the others are now, too."""
    found = members(conn, batch)
    if len(found) > 1:
        unpack(conn, batch)
    return found[-1]


def unpack(conn: db.Connection, batch: int) -> None:
    """Every operation of a batch has a state of its own from now on."""
    first = members(conn, batch)[0]
    if first.sql == WHOLE:
        conn.execute(load("parcels")["unpack"], first.given)
        close(conn, batch)


def close(conn: db.Connection, batch: int) -> None:
    """A batch needs its parcel no longer."""
    conn.execute(load("parcels")["open"], (batch,))


def unpack_people(conn: db.Connection, people: str, person: str = "person") -> None:
    """What is in flight for these people (a temporary table and its column) has a state of its own from now on: it is asked
    after, and outlives a newer wish."""
    conn.execute(load("parcels")["unpack_people"].replace(":people", people).replace(":person", person))
