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
LEAST = 100
"""Operations of a parcel when it is made."""


class Members(NamedTuple):
    """Operations of a batch, or of a parcel: SQL over ``o``, and what it is given."""

    sql: str
    given: Mapping[str, Any]

    @property
    def new(self) -> bool:
        """Whether there was nothing before for any of them: those in a parcel."""
        return self.sql == WHOLE

    def of(self, query: str) -> str:
        """A query about these operations."""
        return query.replace(":members", self.sql)


INTO_LANE = "UPDATE operation SET state = 2 WHERE id = ?"
"""An operation that has to wait for another one leaves its parcel for the lane."""
LOOSE = "o.batch = :batch AND o.state = 3"
WHOLE = f"o.id BETWEEN :first AND :last AND o.state = {PACKED}"


class Parcel(NamedTuple):
    """A queued parcel: its range, the object, and its columns as JSON."""

    first: int
    last: int
    object: int
    columns: str


def pack(conn: db.Connection, connection: int, object_: int, columns: str, count: int) -> None:
    """The operations that were inserted last, so many, are a parcel, or the end of the one before. Few are none: they are
    queued one by one, as a batch of many small parcels would cost more than it saves."""
    if count <= 0:
        return
    q, last = load("parcels"), conn.execute("SELECT last_insert_rowid()").fetchone()[0]
    given = {"first": last - count + 1, "last": last, "connection": connection, "object": object_, "columns": columns}
    if not conn.execute(q["grow"], given).rowcount:
        conn.execute(q["pack" if count >= LEAST else "queue"], given)


def following(conn: db.Connection, given: Mapping[str, Any]) -> Parcel | None:
    """The next parcel of ``:connection`` whose audience is not ``:absent``; none of a lane that is shut."""
    row = conn.execute(load("parcels")["next"], given).fetchone()
    return None if row is None else Parcel(*row)


def like(conn: db.Connection, connection: int, parcel: Parcel) -> Parcel | None:
    """The next queued parcel for the same object and columns."""
    row = conn.execute(load("parcels")["like"], {**parcel._asdict(), "connection": connection}).fetchone()
    return None if row is None else Parcel(*row)


def of(parcel: Parcel) -> Members:
    """What is left in a queued parcel."""
    return Members(WHOLE, {"first": parcel.first, "last": parcel.last})


def cut(conn: db.Connection, parcel: Parcel, last: int | None, batch: int) -> None:
    """The operations up to that one are in a batch, the others stay queued. None: nothing is left in the parcel."""
    q, given = load("parcels"), {"batch": batch, "first": parcel.first, "last": last}
    if last is None:
        conn.execute(q["empty"], given)
    else:
        conn.execute(q["rest"], given)
        conn.execute(q["seal"], given)


def loose(batch: int) -> Members:
    """Those of a batch's operations that have a state of their own."""
    return Members(LOOSE, {"batch": batch})


def members(conn: db.Connection, batch: int) -> list[Members]:
    """All of a batch's operations: those of its parcels, if it has any, and those of which something was to be told."""
    found = [Members(WHOLE, {"batch": batch, "first": first, "last": last})
             for first, last in conn.execute(load("parcels")["of"], (batch,)).fetchall()]
    if not found or conn.execute("SELECT 1 FROM operation WHERE batch = ? AND state = 3 LIMIT 1", (batch,)).fetchone():
        found.append(loose(batch))
    return found


def unpack(conn: db.Connection, batch: int) -> None:
    """Every operation of a batch has a state of its own from now on."""
    for part in members(conn, batch):
        if part.new:
            conn.execute(load("parcels")["unpack"], part.given)
    close(conn, batch)


def close(conn: db.Connection, batch: int) -> None:
    """A batch needs its parcels no longer."""
    conn.execute(load("parcels")["close"], (batch,))


def unpack_people(conn: db.Connection) -> None:
    """What is in flight for the chunk's people has a state of its own from now on: it outlives a newer wish."""
    conn.execute(load("parcels")["unpack_people"])
