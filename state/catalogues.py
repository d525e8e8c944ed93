"""What each connection described when it was last asked, kept from one process to the next."""

from __future__ import annotations

from typing import NamedTuple

import orjson

from state import db
from state.queries import load
from syncd.model import Catalogue, FieldInfo, Micros, ObjectInfo


class Kept(NamedTuple):
    """A description: of which objects and fields (``mapped``) and by whose login (``account``), both as digests; when; and
    what the connector itself wants to know again."""

    mapped: str
    account: str
    at: Micros
    catalogue: Catalogue
    notes: str


def keep(conn: db.Connection, connection: int, found: Kept) -> None:
    """Remember a description instead of the one before."""
    objects = orjson.dumps(dict(found.catalogue.objects), default=dict).decode()  # a read-only mapping is no dict
    conn.execute(load("catalogues")["keep"], (connection, found.mapped, found.account, found.at, objects, found.notes))


def kept(conn: db.Connection, connection: int) -> Kept | None:
    """The description that is remembered, whatever it is of."""
    row = conn.execute(load("catalogues")["kept"], (connection,)).fetchone()
    if row is None:
        return None
    mapped, account, at, objects, notes = row
    return Kept(mapped, account, at, Catalogue({n: _object(o) for n, o in orjson.loads(objects).items()}), notes)


def note(conn: db.Connection, connection: int, notes: str) -> None:
    """What the connector has learnt since."""
    conn.execute(load("catalogues")["note"], (notes, connection))


def forget(conn: db.Connection, connection: int) -> None:
    """Nothing is known any more."""
    conn.execute(load("catalogues")["forget"], (connection,))


def _object(told: dict[str, object]) -> ObjectInfo:
    fields = tuple(FieldInfo(**{**f, "choices": tuple(f["choices"])}) for f in told.pop("fields"))  # type: ignore[attr-defined]
    return ObjectInfo(**told, fields=fields)  # type: ignore[arg-type]  # as ``keep`` wrote it
