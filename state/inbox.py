"""What webhooks brought and nobody has looked up yet.

A delivery is stored and journalled before it is acknowledged, so that neither a kill nor the loss of the state file loses
it. Of a resolved one only the digest stays, by which a repetition is known.

An event is kept as a list in the order of ``Kept``; in the journal its address is only a keyed hash, and so is here that of
somebody who was forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from state import db
from state.ledger import Book
from state.queries import load
from syncd.model import Notice

REMEMBERED = 30 * 86_400_000_000
"""µs for which a delivery's repetition is known; an unresolved one waits no longer either: polling has told it all."""


class Kept(NamedTuple):
    """One event of a delivery. ``hash`` is the keyed hash of the normalised address in hex; of the key, where only that is
    an address."""

    notice: Notice
    hash: str | None = None

    def row(self, *, address: bool = True) -> list[Any]:
        """As it is stored; without ``address`` as it is journalled: a key that is an address goes, too."""
        notice = self.notice
        if not address:
            notice = notice._replace(email=None, key=None if "@" in (notice.key or "") else notice.key)
        return [*notice, self.hash]

    @classmethod
    def of(cls, row: Sequence[Any]) -> Kept:
        *notice, hash_ = row
        return cls(Notice(*notice), hash_)


class Delivery(NamedTuple):
    """An unresolved delivery."""

    id: int
    events: tuple[Kept, ...]


def receive(conn: db.Connection, book: Book, connection: int, digest: bytes, events: Sequence[Kept], now: int) -> bool:
    """Store a delivery; False where it was there already.

    :raises OSError: the journal cannot be written; the caller's transaction is rolled back
    """
    q = load("inbox")
    gone = {e.hash for e in events
            if e.hash is not None and conn.execute(q["forgotten"], (bytes.fromhex(e.hash),)).fetchone() is not None}
    given = {"connection": connection, "digest": digest, "now": now,
             "notices": orjson.dumps([e.row(address=e.hash not in gone) for e in events]).decode()}
    if conn.execute(q["receive"], given).fetchone() is None:
        return False
    name = conn.execute(q["name"], (connection,)).fetchone()[0]
    book.note({"inbox": [name, digest.hex(), now, [e.row(address=False) for e in events]]})
    return True


def retell(conn: db.Connection, book: Book) -> None:
    """Note once more what waits, for a journal that lost it."""
    for name, digest, at, notices in conn.execute(load("inbox")["unresolved"]).fetchall():
        rows = [Kept.of(row).row(address=False) for row in orjson.loads(notices)]
        book.note({"inbox": [name, bytes(digest).hex(), at, rows]})


def connections(conn: db.Connection) -> list[int]:
    """Whose deliveries wait."""
    return [row[0] for row in conn.execute(load("inbox")["connections"])]


def waiting(conn: db.Connection, connection: int, limit: int) -> list[Delivery]:
    """The oldest unresolved deliveries of a connection, as many as hold about ``limit`` events, at least one."""
    found: list[Delivery] = []
    for id_, notices in conn.execute(load("inbox")["waiting"], (connection, limit)).fetchall():
        found.append(Delivery(id_, tuple(Kept.of(row) for row in orjson.loads(notices))))
        limit -= len(found[-1].events)
        if limit <= 0:
            break
    return found


def resolve(conn: db.Connection, book: Book, deliveries: Iterable[Delivery], now: int) -> None:
    """What they said is in the ledger, or about nobody.

    :raises OSError: the journal cannot be written
    """
    q = load("inbox")
    done = []
    for delivery in deliveries:
        connection, digest = conn.execute(q["resolve"], (now, delivery.id)).fetchone()
        done.append([conn.execute(q["name"], (connection,)).fetchone()[0], digest.hex(), now])
    if done:
        book.note({"resolved": done})


def expire(conn: db.Connection, now: int) -> int:
    """Forget deliveries of long ago; how many."""
    return int(conn.execute(load("inbox")["expire"], (now - REMEMBERED,)).rowcount)


def sizes(rows: Callable[[str], list[tuple[Any, ...]]]) -> dict[str, tuple[int, int]]:
    """Connection -> (deliveries that wait, when the oldest came)."""
    return {name: (count, oldest) for name, count, oldest in rows(load("inbox")["size"])}


def restore(conn: db.Connection, notes: Iterable[Mapping[str, Any]]) -> int:
    """Put back what the journal noted and the state lacks, resolved or not; returns how many deliveries wait by that."""
    q, count = load("inbox"), 0
    received: dict[tuple[str, str], tuple[int, list[Any]]] = {}
    resolved: dict[tuple[str, str], int] = {}
    for note in notes:
        if "inbox" in note:
            name, digest, at, rows = note["inbox"]
            received[name, digest] = at, rows
        for name, digest, at in note.get("resolved", ()):
            resolved[name, digest] = at
    for (name, digest), (at, rows) in received.items():
        end = resolved.get((name, digest))
        changed = conn.execute(q["restored"], {
            "connection": name, "digest": bytes.fromhex(digest), "received": at, "resolved": end,
            "notices": None if end is not None else orjson.dumps(rows).decode()}).rowcount
        count += changed if end is None else 0
    for (name, digest), end in resolved.items():
        conn.execute(q["resolved"], {"connection": name, "digest": bytes.fromhex(digest), "resolved": end})
    return count
