"""What the ESPs and blacklists say: current statuses per container and key, and single events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from state import addresses, db, ledger
from state.queries import load


class StatusChange(NamedTuple):
    """A status that is new or different from what was known. ``old`` None = never seen. Instants in µs."""

    container: str
    key: str
    address: int | None
    old: str | None
    new: str
    at: int | None
    origin: str
    evidence: str | None
    record: int | None


class Event(NamedTuple):
    """An event read for the first time."""

    event: str
    kind: str
    container: str | None
    send: str | None
    key: str | None
    address: int | None
    at: int | None
    evidence: str | None
    record: int | None


def store(conn: db.Connection, connection: int, stream: int, rows: Iterable[tuple[Any, ...]], *,
          cursor: str | None, sweep: int, now: int, complete: int | None, book: ledger.Book,
          speak: Callable[[Sequence[StatusChange]], list[ledger.NewEntry]], restored: bool = False,
          tolerance: int = 0) -> tuple[int, int]:
    """Take a page of statuses: (container, key, normalised email, hash, status, at, origin, evidence) each.

    :param now: when it was read at the latest
    :param complete: when the reading began that ends with this page
    :param restored: what is known may be that of an old backup
    :param tolerance: how far two clocks may differ (µs)

    :returns: (rows that changed, entries written)
    """
    q = load("statuses")
    given = {"connection": connection, "sweep": sweep, "now": now, "restored": restored, "tolerance": tolerance}
    conn.execute(q["page_table"])
    conn.execute("DELETE FROM status_page")
    db.insert(conn, q["fill"], rows)
    _resolve(conn, q, "status_page", given)
    changes = [StatusChange(*row) for row in conn.execute(q["changes"], given)]
    entries = ledger.unsaid(conn, speak(changes))
    conn.execute(q["dirty_by_key"], given)
    conn.execute(q["dirty_by_address"], given)
    held = conn.execute(q["held_back"], given).fetchall()
    conn.execute(q["upsert"], given)
    bounces(conn, held, now)
    if entries:
        book.append(conn, entries, now)
        mark(conn, entries)
    _advance(conn, stream, cursor, complete)
    return len(changes), len(entries)


def store_events(conn: db.Connection, connection: int, stream: int, rows: Iterable[tuple[Any, ...]], *,
                 cursor: str | None, now: int, complete: int | None, book: ledger.Book,
                 speak: Callable[[Sequence[Event], Sequence[StatusChange]], list[ledger.NewEntry]],
                 ) -> tuple[int, list[ledger.NewEntry]]:
    """Take a page of events: (event, kind, container, send, key, normalised email, hash, at, evidence) each; those seen
    before are passed over. ``now`` and ``complete`` as in ``store``. ``speak`` also gets the opt-outs that stand against who
    came back by one of them.

    :returns: (new events, the entries written)
    """
    q = load("statuses")
    given = {"connection": connection, "now": now}
    conn.execute(q["event_table"])
    conn.execute("DELETE FROM event_page")
    db.insert(conn, q["fill_events"], rows)
    _resolve(conn, q, "event_page", given)
    found = [Event(*row) for row in conn.execute(q["new_events"], given)]
    left = [StatusChange(*row) for row in conn.execute(q["left_since"], given)]
    conn.execute(q["event_seen"], given)
    entries = ledger.unsaid(conn, speak(found, left))
    if entries:
        book.append(conn, entries, now)
        mark(conn, entries)
    _advance(conn, stream, cursor, complete)
    return len(found), entries


def mark(conn: db.Connection, entries: Sequence[ledger.NewEntry]) -> None:
    """Everyone an entry can concern is dirty: the record's person, and whoever holds the address; and foreign rows at it are
    looked at again."""
    q = load("statuses")
    conn.executemany(q["mark_record"], ((e.record,) for e in entries if e.record is not None))
    conn.executemany(q["mark_address"], ((e.address,) for e in entries if e.address is not None))
    conn.executemany(load("drift")["judge_at"], ((e.address,) for e in entries if e.address is not None))
    conn.executemany(q["overrule"], ((e.record,) for e in entries
                                     if e.record is not None and '"opt_out"' in e.utterance.said))


def people(conn: db.Connection, entries: Sequence[ledger.NewEntry]) -> set[int]:
    """Whom these entries can concern; those that name an address alone bind the person who holds it first."""
    q = load("statuses")
    conn.executemany(q["bind_entry"], ((e.address, e.address, e.address) for e in entries
                                       if e.record is None and e.address is not None))
    found = {row[0] for e in entries if e.record is not None for row in conn.execute(q["person_of"], (e.record,))}
    return found | {row[0] for e in entries if e.address is not None
                    for row in conn.execute(q["people_at"], {"address": e.address})}


def undecided(conn: db.Connection, connection: int) -> set[int]:
    """Whom the events just stored (``store_events``) are about, and who waits to be decided: a reading may have been quicker
    to hear of them, and go on for hours."""
    return {row[0] for row in conn.execute(load("statuses")["undecided"], {"connection": connection})}


def lacks(conn: db.Connection, connection: int, container: str, sweep: int) -> bool:
    """Whether a listing has not shown a status that was there before."""
    return bool(conn.execute(load("statuses")["lacks"], {"connection": connection, "container": container,
                                                         "sweep": sweep}).fetchone()[0])


def shown(conn: db.Connection, connection: int, container: str, sweep: int) -> int:
    """How many statuses the readings of a listing have shown together."""
    return int(conn.execute(load("statuses")["shown"], {"connection": connection, "container": container,
                                                        "sweep": sweep}).fetchone()[0])


def bounces(conn: db.Connection, addresses: Iterable[tuple[int]], now: int) -> None:
    """Say anew whether these addresses are held back for bounces, once the statuses that tell it are stored."""
    q, found = load("statuses"), [address for address, in addresses]
    conn.executemany(q["undeliverable"], ({"address": a, "now": now} for a in found))
    conn.executemany(q["mark_address"], ((a,) for a in found))


def vanish(conn: db.Connection, connection: int, container: str, sweep: int, now: int, after: str,
           most: int) -> tuple[int, str]:
    """Of the next so many statuses of a container, those that a complete listing did not show are ``removed``; their people
    are dirty. Returns how many were looked at, and the last of their keys."""
    q = load("statuses")
    given = {"connection": connection, "container": container, "sweep": sweep, "after": after, "most": most}
    count, upto = conn.execute(q["range"], given).fetchone()
    given["upto"] = upto
    conn.execute(q["dirty_vanished"], given)
    conn.execute(q["dirty_vanished_key"], given)
    held = conn.execute(q["held_back_vanished"], given).fetchall()
    conn.execute(q["vanish"], given)
    bounces(conn, held, now)
    return int(count), str(upto)


def _resolve(conn: db.Connection, q: dict[str, str], table: str, given: dict[str, Any]) -> None:
    """Give every row of a page its address."""
    addresses.resolve(conn, table)
    conn.execute(q["inherit_address"].replace(":page", table), given)


def _advance(conn: db.Connection, stream: int, cursor: str | None, complete: int | None) -> None:
    if cursor is not None:
        conn.execute(load("records")["advance"], {"stream": stream, "cursor": cursor, "complete": complete})
