"""One person's data out of every table, out of the copies beside the state, and what must stay so that she stays forgotten.

What stays is the keyed hash of each address, an opt-out under it, and for each record that the CRM still has its id and
consent fields. Everything here can be done twice: after a crash it is done again from the ``erasure`` row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from state import db, ledger, statuses, suppressions
from state.ledger import NewEntry, Utterance
from state.queries import load
from state.relations import Relations, quote, rec

SOURCE = "forget"
"""Source and method of the opt-out that keeps a forgotten address blocked."""

SHARED = "shared"
"""Method of the opt-outs that stay at an address which somebody else holds, too."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What tables of records hold. ``keep``: stream -> columns that a stub keeps; ``owners``: stream of related rows ->
    the column that says whose they are."""

    keep: Mapping[int, frozenset[str]]
    owners: Mapping[int, str]


def shape(rel: Relations) -> Shape:
    """The mapping's shape."""
    keep: dict[int, frozenset[str]] = {}
    for source in rel.sources:
        names = {n for f in source.flags for n in (f.field, f.said_at, f.method) if n is not None}
        made = " ".join(f.person_made or "" for f in source.flags)
        names |= {f.name for f in rel.streams[source.stream] if f"x.{quote(f.name)}" in made}
        keep[source.stream] = frozenset(names)
    return Shape(keep, {(r.link or r.stream): r.person_field for r in rel.related})


class Erasure(NamedTuple):
    """A row of ``erasure``. ``hashes`` and ``records`` are empty once it is done."""

    id: int
    asked_at: int
    hash: bytes
    head: int
    hashes: tuple[bytes, ...]
    records: tuple[tuple[int, str], ...]
    receipt: dict[str, Any]
    done_at: int | None


def _erasure(row: Sequence[Any]) -> Erasure:
    id_, asked, hash_, head, hashes, records, receipt, done = row
    return Erasure(id_, asked, bytes(hash_), head, tuple(map(bytes.fromhex, orjson.loads(hashes or "[]"))),
                   tuple((s, r) for s, r in orjson.loads(records or "[]")), orjson.loads(receipt), done)


def unfinished(conn: db.Connection) -> list[Erasure]:
    """What was begun and is not done everywhere, oldest first."""
    return [_erasure(row) for row in conn.execute(load("forget")["unfinished"]).fetchall()]


def erasure(conn: db.Connection, id_: int) -> Erasure:
    """One erasure as it stands."""
    return _erasure(conn.execute(load("forget")["erasure"], (id_,)).fetchone())


# --------------------------------------------------------------------------- beginning

class Begun(NamedTuple):
    """An erasure's id; the addresses in the clear, to look for in files; how many addresses others hold too; and what a CRM
    still has: (connection, object, id)."""

    id: int
    emails: tuple[str, ...]
    shared: int
    left_alone: tuple[tuple[str, str, str], ...]


class Kept(NamedTuple):
    """Opt-outs that stay at an address of somebody else's."""

    address: int
    hash: bytes
    words: Sequence[Utterance]


MARK, DELETE = "mark", "delete"
"""What is to become of a record of a CRM. Such a key of an erasure is "mark Contact 003…"."""


def records(conn: db.Connection, people: Sequence[int]) -> list[tuple[str, str, str]]:
    """(connection, object, id) of every record of these people that a CRM still has."""
    return conn.execute(load("forget")["records_held"], (orjson.dumps(list(people)).decode(),)).fetchall()


def begin(conn: db.Connection, book: ledger.Book, hash_: bytes, people: Sequence[int], blocks: Sequence[Utterance],
          now: int, crms: Mapping[int, str], kept: Sequence[Kept] = ()) -> Begun:
    """Name what is to go, block the addresses and drop what was going to be written. One that was begun for this address
    before goes on.

    :param people: everyone who is to be forgotten, with all records
    :param blocks: the opt-outs that stay under each address
    :param crms: connection -> what is to become of its records, MARK or DELETE; the others' are left alone
    :param kept: what was refused at addresses that others hold
    """
    q = load("forget")
    known = conn.execute(q["open"], (hash_,)).fetchone()
    if known is not None:
        _gather(conn, erasure(conn, known[0]))
        _begin_records(conn, int(known[0]), crms)
        return _begun(conn, int(known[0]), 0)
    _tables(conn)
    conn.execute(q["records_of"], (orjson.dumps(list(people)).decode(),))
    conn.execute(q["people"])
    conn.execute(q["addresses_named"], (hash_,))
    conn.execute(q["addresses_of"])
    shared = conn.execute(q["spare_shared"]).rowcount
    conn.execute(q["keys"])
    conn.execute(q["spare_keys"])
    given = {"now": now, "hash": hash_}
    id_ = int(conn.execute(q["begin"], given).fetchone()[0])
    conn.execute(q["begin_keys"], {"erasure": id_})
    _begin_records(conn, id_, crms)
    entries = [NewEntry(utterance, None, address, None, now, hash=bytes(h))
               for address, h in conn.execute("SELECT id, hash FROM gone_address").fetchall() for utterance in blocks]
    others = [NewEntry(u, None, k.address, None, now, hash=k.hash) for k in kept for u in k.words]
    if entries or others:
        book.append(conn, [*entries, *others], now)
    statuses.mark(conn, others)
    conn.execute(q["mark_addresses"], given)
    conn.execute(q["mark_records"], given)
    conn.execute(q["drop_wishes"])
    conn.execute(q["again"])
    return _begun(conn, id_, shared)


def _begin_records(conn: db.Connection, id_: int, crms: Mapping[int, str]) -> None:
    conn.executemany(load("forget")["begin_records"], ({"erasure": id_, "connection": connection, "how": how}
                                                       for connection, how in crms.items()))


def _begun(conn: db.Connection, id_: int, shared: int) -> Begun:
    q = load("forget")
    return Begun(id_, tuple(row[0] for row in conn.execute(q["emails"])), shared,
                 tuple(conn.execute(q["left_alone"]).fetchall()))


def _tables(conn: db.Connection) -> None:
    for statement in load("forget")["gone_tables"].split(";"):
        conn.execute(statement)


def _gather(conn: db.Connection, what: Erasure) -> None:
    """Fill the tables of what goes from an erasure's words, which mean the same in every copy of the state."""
    q = load("forget")
    _tables(conn)
    conn.execute(q["records_named"], (orjson.dumps(what.records).decode(),))
    conn.execute(q["people"])
    conn.executemany(q["addresses_named"], ((h,) for h in what.hashes))
    conn.execute(q["keys"])
    conn.execute(q["keys_under_way"], (what.id,))
    conn.execute(q["spare_keys"])


# --------------------------------------------------------------------------- erasing

class Erased(NamedTuple):
    """What was found and erased; ``keys`` by the name of the connection; ``emails`` are the addresses that were there in the
    clear, ``digests`` (hexadecimal) those of them that lists had brought; ``waiting`` operations are with a provider."""

    counts: dict[str, int]
    positions: tuple[int, ...]
    keys: tuple[tuple[str, str], ...]
    emails: tuple[str, ...]
    digests: tuple[str, ...]
    waiting: int


def erase(conn: db.Connection, what: Erasure, kept: Shape, now: int) -> Erased:
    """Take the person out of every table of this state, or of a copy of it."""
    _gather(conn, what)
    return _erase(conn, what.head, kept, now)


def _erase(conn: db.Connection, head: int, kept: Shape, now: int) -> Erased:
    q = load("forget")
    given = {"now": now, "until": head}
    positions = tuple(row[0] for row in conn.execute(q["entries"], given))
    keys, emails = tuple(conn.execute(q["keys_named"]).fetchall()), tuple(row[0] for row in conn.execute(q["emails"]))
    counts = {"statements": len(positions), "fields": _fields(conn, kept)}
    for name in ("operations", "quarantine", "statuses", "foreign_rows", "subscriber_keys", "events", "requests", "echoes",
                 "rereads", "departed", "vanished", "ambiguous", "records"):
        counts[name] = conn.execute(q[name], given if ":now" in q[name] else {}).rowcount
    counts["webhooks"] = _inbox(conn, keys)
    digests = tuple(digest.hex() for email in emails for digest in suppressions.digests(email)
                    if conn.execute(q["digest"], (digest,)).rowcount)
    for table in _named(conn, "target_", "rank_"):
        counts["rows"] = counts.get("rows", 0) + conn.execute(
            f"DELETE FROM {table} WHERE person IN (SELECT id FROM gone_person)").rowcount
    for name, table in (("attributes", "attr"), ("decisions", "decision")):
        if _named(conn, table):
            conn.execute(q[name])
    for table in _named(conn, "rec_"):
        conn.execute(f"DELETE FROM {table} WHERE record IN"
                     " (SELECT g.id FROM gone_record g CROSS JOIN record r ON r.id = g.id WHERE r.deleted = 1)")
    conn.execute(q["bury"])
    counts["addresses"] = conn.execute(q["addresses"], given).rowcount
    conn.execute(q["mark_records"], given)
    conn.execute(q["again"])
    conn.execute(q["settle"])
    waiting = int(conn.execute(q["in_flight"], {"connection": None}).fetchone()[0])
    return Erased({name: count for name, count in counts.items() if count}, positions, keys, emails, digests, waiting)


def _inbox(conn: db.Connection, keys: Sequence[tuple[str, str]]) -> int:
    """Take the person's events out of deliveries not looked up yet; how many. An address stands there by its hash."""
    everywhere = {name for row in conn.execute("SELECT lower(hex(hash)), email FROM gone_address") for name in row if name}
    gone = 0
    for id_, connection, notices in conn.execute(load("forget")["undelivered"]).fetchall():
        events, names = orjson.loads(notices), everywhere.union(key for where, key in keys if where == connection)
        kept = [e for e in events if names.isdisjoint(cell for cell in e if isinstance(cell, str))]
        if len(kept) < len(events):
            gone += len(events) - len(kept)
            conn.execute("UPDATE inbox SET notices = ? WHERE id = ?", (orjson.dumps(kept).decode(), id_))
    return gone


def _named(conn: db.Connection, *prefixes: str) -> list[str]:
    return [name for (name,) in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if any(name == p or (p.endswith("_") and name.startswith(p) and name[len(p):].isdigit()) for p in prefixes)]


def _fields(conn: db.Connection, kept: Shape) -> int:
    """Blank everything but the consent fields of the records, and the related rows that are theirs."""
    blanked = 0
    for table in _named(conn, "rec_"):
        stream = int(table.removeprefix("rec_"))
        columns = [row[1] for row in conn.execute(f"PRAGMA table_info({table})") if row[1] != "record"]
        keep = kept.keep.get(stream, frozenset())
        if going := [c for c in columns if c not in keep]:
            blanked += conn.execute(f"UPDATE {table} SET {_nulls(going)}"
                                    " WHERE record IN (SELECT id FROM gone_record)").rowcount
        owner = kept.owners.get(stream)
        if owner in columns:
            blanked += conn.execute(f"UPDATE {rec(stream)} SET {_nulls(columns)}"
                                    f" WHERE {quote(str(owner))} IN (SELECT rid FROM gone_record)").rowcount
    return blanked


def _nulls(columns: Sequence[str]) -> str:
    return ", ".join(f"{quote(c)} = NULL" for c in columns)


def erase_blocked(conn: db.Connection, hashes: Sequence[bytes], until: int, kept: Shape, now: int) -> Erased:
    """As ``erase`` in a state from before somebody was forgotten: whoever holds a blocked address there is.

    :param until: the ledger position up to which statements go
    :param now: when that was
    """
    q = load("forget")
    _tables(conn)
    conn.executemany(q["addresses_named"], ((h,) for h in hashes))
    conn.execute(q["mark_records_at"], {"now": now})
    marked = {row[0] for row in conn.execute("SELECT id FROM record WHERE forgotten IS NOT NULL")}
    conn.execute(q["records_at"])
    conn.execute(q["people"])
    conn.execute(q["keys"])
    conn.execute(q["spare_keys"])
    erased = _erase(conn, until, kept, now)
    # Records at other addresses may be somebody else's: they are read again, and judged by what they hold.
    conn.executemany("UPDATE record SET forgotten = NULL WHERE id = ?",
                     ((row[0],) for row in conn.execute("SELECT id FROM gone_record").fetchall() if row[0] not in marked))
    return erased


# --------------------------------------------------------------------------- copies

def rewrite(path: Path, what: Erasure, kept: Shape, now: int) -> bool:
    """Erase the person in a backup. False where it cannot be read as a state of this version."""
    try:
        with closing(db.connect(path)) as conn:
            conn.execute("BEGIN IMMEDIATE")
            erase(conn, what, kept, now)
            conn.execute("COMMIT")
            return scrub(conn)
    except db.Error:
        return False


def scrub(conn: db.Connection) -> bool:
    """Leave nothing of what was erased in the write-ahead log. False while somebody reads what is in there."""
    busy = conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    conn.execute("PRAGMA incremental_vacuum(2000)")
    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return not busy


# --------------------------------------------------------------------------- who is forgotten, and who comes back

def known(conn: db.Connection) -> tuple[frozenset[bytes], frozenset[tuple[int, str]]]:
    """(keyed hashes of forgotten addresses, (stream, id) of forgotten records)."""
    q = load("forget")
    return (frozenset(bytes(row[0]) for row in conn.execute(q["known_hashes"])),
            frozenset((row[0], row[1]) for row in conn.execute(q["known_records"])))


class Again(NamedTuple):
    """A forgotten address where somebody has since asked for mail. ``people``: JSON, who did; None = nobody in particular,
    so whoever has it. ``records``: theirs (stream, id), to be read again."""

    address: int
    people: str | None
    records: Sequence[tuple[int, str]]


def spoken_again(conn: db.Connection, tolerance: int, *, separate: bool) -> list[Again]:
    """Who was forgotten and is to be known again; where an address may be several people's (``separate``), no other."""
    q, speakers = load("forget"), dict[int, set[int | None]]()
    for address, person in conn.execute(q["spoken_again"], {"tolerance": tolerance}):
        speakers.setdefault(address, set()).add(person)
    found = []
    for address, who in speakers.items():
        people = None if None in who or not separate else orjson.dumps([*who]).decode()
        records = conn.execute(q["records_again"], {"address": address, "people": people}).fetchall()
        found.append(Again(address, people, records))
    return found


def lift(conn: db.Connection, again: Again) -> None:
    """Who comes with this address is known again."""
    q = load("forget")
    conn.execute(q["lift_records"], {"address": again.address, "people": again.people})
    conn.execute(q["lift_address"], (again.address,))


# --------------------------------------------------------------------------- what is with the providers

class KeyAt(NamedTuple):
    """A subscriber key that a provider is to delete."""

    key: str
    request_id: str | None
    error: str | None


def keys_at(conn: db.Connection, id_: int, connection: int) -> list[KeyAt]:
    """The keys of an erasure that one connection is not done with."""
    return [KeyAt(*row) for row in conn.execute(load("forget")["keys_at"], (id_, connection))]


def in_flight(conn: db.Connection, what: Erasure, connection: int) -> int:
    """Operations about the person that a connection has not answered yet."""
    _gather(conn, what)
    return int(conn.execute(load("forget")["in_flight"], {"connection": connection}).fetchone()[0])


def asked(conn: db.Connection, id_: int, connection: int, key: str, request: str | None, error: str | None, *,
          name: str) -> None:
    """A provider accepted, or refused, to delete a key, which is called ``name`` from now on."""
    conn.execute(load("forget")["key_asked"], {"erasure": id_, "connection": connection, "key": key, "request": request,
                                               "error": error, "name": name})


def key_done(conn: db.Connection, id_: int, connection: int, key: str) -> None:
    """A provider is done with a key."""
    conn.execute(load("forget")["key_done"], {"erasure": id_, "connection": connection, "key": key})


def note(conn: db.Connection, id_: int, receipt: Mapping[str, Any]) -> None:
    """Keep the receipt; it holds no personal data."""
    conn.execute(load("forget")["receipt"], {"erasure": id_, "receipt": orjson.dumps(receipt).decode()})


def finish(conn: db.Connection, id_: int, now: int) -> None:
    """Everything is gone everywhere."""
    for name in ("drop_keys", "done"):
        conn.execute(load("forget")[name], {"erasure": id_, "now": now})


def keys_left(conn: db.Connection, id_: int) -> list[dict[str, Any]]:
    """What is still to be deleted at the providers: connection, whether it accepted, its last refusal, how many keys."""
    return [{"connection": name, "accepted": bool(accepted), "error": error, "keys": count}
            for name, accepted, error, count in conn.execute(load("forget")["keys_left"], (id_,))]


def names(conn: db.Connection, what: Erasure) -> frozenset[tuple[str, str]]:
    """The ids of an erasure's records, by the sources that speak of them: the stream, and its connection."""
    sources = {id_: names for id_, *names in conn.execute(load("forget")["sources"])}
    return frozenset((source, rid) for stream, rid in what.records for source in sources[stream])
