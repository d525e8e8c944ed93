"""Pages of CRM records into the record tables: one transaction holds rows, dirty marks, statements and the cursor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import orjson

from state import addresses, db, flags, ledger, relations
from state.queries import load
from state.relations import Relations, SourceDef

Prepared = Sequence[Sequence[Any]]
"""A page by columns: rid, modified, deleted, merged_into, normalised email, address hash, then the fields in stream
order. None at all where it has no rows."""


class Stored(NamedTuple):
    """What a page did: rows read, records that are new, records whose mapped content moved, entries written."""

    rows: int
    fresh: int
    changed: int
    entries: int


class Sight(NamedTuple):
    """Records with the same in their consent fields: the cells of ``flags.flag_changes``, and of each its record,
    address, record id and address hash."""

    cells: Sequence[Any]
    records: Sequence[int]
    addresses: Sequence[int | None]
    rids: Sequence[str]
    hashes: Sequence[bytes | None]


Entries = Iterable[ledger.NewEntry | ledger.Alike]
Speak = Callable[[SourceDef, Sequence[tuple[Any, ...]]], Entries]
"""Turns changed consent fields (flags.flag_changes) into entries; pure, given by the cycle."""
Meet = Callable[[SourceDef, Iterable[Sight]], Entries]
"""The same for consent fields that nobody looked at before."""


def store(conn: db.Connection, rel: Relations, stream: int, columns: Prepared, *, cursor: str | None,
          sweep: int, now: int, speak: Speak, book: ledger.Book, meet: Meet | None = None, first: bool = False,
          complete: int | None = None, unknown: frozenset[str] = frozenset()) -> Stored:
    """Take one page, read at ``now`` at the latest. Rows that repeat what is known dirty nobody.

    :param complete: when the reading began that ends with this page
    :param first: at a first link new records are met, not heard
    :param unknown: consent fields whose values nobody took down yet, changed or not: they are met in all records
    """
    q = load("records")
    page = _fill(conn, rel, stream, columns)
    given: dict[str, Any] = {"stream": stream, "first": page.first, "now": now, "sweep": sweep,
                             "met": False, "shared": False}
    if conn.execute(q["note_addresses"]).rowcount < page.size - page.hashes.count(None):
        conn.execute(q["hold_addresses"])
        addresses.spell(conn, "page", "held", page.email, forgotten=True)
        given |= {"met": True, "shared": rel.join_by_address != "separate"}
    conn.execute(q["add_addresses"].replace(":email", page.email))
    fresh = conn.execute(q["add_records"], given).rowcount
    if fresh < page.size:
        conn.execute(q["know_records"], given)
    entries = list(_said(conn, rel, page, stream, speak, meet, first, unknown))
    changed = _take_in(conn, rel, stream, given, page.size - fresh)
    if rel.source(stream) is not None and fresh and conn.execute(q["dirty_entangled"], given).rowcount < fresh:
        conn.execute(q["dirty_alone"])
    if entries:
        book.append(conn, entries, now)
        known = list(_of_known(entries, page.first))
        conn.executemany(q["dirty_person_of_record"], ((record,) for record, _ in known))
        conn.executemany(q["dirty_holders"], ((address,) for _, address in known))
    if cursor is not None:
        conn.execute(q["advance"], {"stream": stream, "cursor": cursor, "complete": complete})
    return Stored(page.size, fresh, changed, sum(len(e.records) if isinstance(e, ledger.Alike) else 1 for e in entries))


def _of_known(entries: Entries, first: int) -> Iterable[tuple[int, int | None]]:
    """Record and address of each entry about a record that was there before the page; new ones, which are dirty anyhow, have
    the ids from ``first`` on. What is alike is about new records alone, or about known ones alone."""
    for e in entries:
        if isinstance(e, ledger.NewEntry):
            if e.record is not None and e.record < first:
                yield e.record, e.address
        elif e.records[0] < first:
            yield from zip(e.records, e.addresses, strict=True)


class _Page(NamedTuple):
    """What the temporary table ``page`` was filled with: rows ``first`` and following. Row n is record n at address n,
    unless its ``known`` and ``held`` say otherwise. ``email`` is the column of normalised
    addresses. ``fields`` by slot."""

    size: int
    first: int
    email: str = "email"
    rids: Sequence[str] = ()
    hashes: Sequence[bytes | None] = ()
    fields: Sequence[Sequence[Any]] = ()


def _said(conn: db.Connection, rel: Relations, page: _Page, stream: int, speak: Speak, meet: Meet | None, first: bool,
          unknown: frozenset[str]) -> Entries:
    """What the consent fields of the page say."""
    source = rel.source(stream)
    if source is None or not source.flags or not page.size:
        return
    sql = flags.flag_changes(rel, source)
    assert sql is not None
    if first and meet is not None:
        yield from meet(source, _sights(conn, rel, source, page, sql))
        sql += " AND p.fresh = 0"
    yield from speak(source, _without_echoes(conn, source, conn.execute(sql).fetchall()))
    if unknown and meet is not None:
        late = replace(source, flags=tuple(f for f in source.flags if f.field in unknown))
        every = flags.flag_changes(rel, late, every=True)
        shapes: dict[tuple[Any, ...], list[tuple[Any, ...]]] = defaultdict(list)
        for record, rid, fresh, address, hash_, _, *cells in conn.execute(every or "").fetchall():
            if not fresh:
                shapes[tuple(cells)].append((record, address, rid, hash_))
        yield from meet(late, [Sight(cells, *zip(*whose, strict=True)) for cells, whose in shapes.items()])


def _sights(conn: db.Connection, rel: Relations, source: SourceDef, page: _Page, sql: str) -> Iterable[Sight]:
    """The new records of the page. Only one of those with the same values is asked what they mean."""
    together: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    inputs = list(zip(*(page.fields[i] for i in flags.flag_inputs(rel, source)), strict=True))
    if len(set(inputs)) == 1:
        together[inputs[0]] = list(range(page.size))
    else:
        for i, values in enumerate(inputs):
            together[values].append(i)
    known = {n - page.first for n, in conn.execute("SELECT n FROM page WHERE known IS NOT NULL")}
    held = {n - page.first: address for n, address in conn.execute("SELECT n, held FROM page WHERE held IS NOT NULL")}
    alike = {page.first + same[0]: same for every in together.values()
             if (same := [i for i in every if i not in known] if known else every)}
    asked = sql + " AND p.n IN (SELECT value FROM json_each(?))"
    for record, _, _, _, _, _, *cells in conn.execute(asked, (orjson.dumps(list(alike)).decode(),)).fetchall():
        same = alike[record]
        records = [page.first + i for i in same]
        hashes = [page.hashes[i] for i in same]
        addresses: Sequence[int | None] = records
        if held or None in hashes:
            addresses = [None if hash_ is None else held.get(i, page.first + i)
                         for i, hash_ in zip(same, hashes, strict=True)]
        yield Sight(cells, records, addresses, [page.rids[i] for i in same], hashes)


def _take_in(conn: db.Connection, rel: Relations, stream: int, given: Mapping[str, Any], known: int) -> int:
    """Take the page's values into the stream's table; who is concerned by what moved is dirty. Returns how many of the
    ``known`` records have moved."""
    q, sql, source = load("records"), relations.store_page(rel, stream), rel.source(stream)
    concerned = list(relations.fan_out(rel, stream))
    conn.execute("DELETE FROM moved")
    changed = conn.execute(sql["moved"]).rowcount if known else 0
    if source is not None and known:
        conn.execute(q["dirty_moved"])
        conn.execute(q["dirty_moved_records"].replace(":renamed", sql["renamed"]), {"filtered": source.where is not None})
        conn.execute(q["depart"], given)
    if source is not None:
        conn.execute(q["depart_unseen"], given)
        conn.execute(q["dirty_departed"])
    if source is not None and (known or given["met"]):
        conn.execute(q["dirty_neighbours"], given)
    conn.execute(sql["store"])
    if known:
        if sql["told"]:
            conn.execute(sql["told"])
        conn.execute(q["update_records"], given)
    if concerned:
        conn.execute(q["moved_fresh"])
        for statement in concerned:
            conn.execute(statement)
    return changed


def _without_echoes(conn: db.Connection, source: SourceDef, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The rows of ``flag_changes``, a value we are just writing counting as an old one: the poll overtook the reply."""
    ours = {(record, name): value
            for record, columns, payload in conn.execute(load("records")["in_flight"])
            for name, value in zip(orjson.loads(columns), orjson.loads(payload), strict=True)}
    if not ours:
        return rows
    found = []
    for row in rows:
        cells = list(row)
        for index, flag in enumerate(source.flags):
            old = flags.FLAG_OFFSET + index * flags.FLAG_COLUMNS
            if (row[0], flag.field) in ours and ours[row[0], flag.field] == cells[old + 1]:
                cells[old] = cells[old + 1]
        found.append(tuple(cells))
    return found


def requests(conn: db.Connection, asked: Sequence[tuple[int, str]], withdrawn: Sequence[tuple[int, str]],
             now: int) -> None:
    """Remember flags (record, field) that were turned towards mail without evidence; forget those turned back."""
    q = load("records")
    conn.executemany(q["withdraw"], withdrawn)
    conn.executemany(q["ask"], ((record, field, now) for record, field in asked))


def quarantine(conn: db.Connection, connection: int, object_: str, doubts: Sequence[tuple[str, str]], now: int) -> None:
    """List the records of the present page that hold what cannot be used, as (id, reason); strike off those of it that no
    longer do."""
    q = load("records")
    given = {"connection": connection, "object": object_, "now": now}
    if conn.execute(q["doubtful"], given).fetchone():
        conn.execute(q["repaired"], {**given, "still": orjson.dumps(doubts).decode()})
    conn.executemany(q["doubt"], ({**given, "key": rid, "reason": reason} for rid, reason in doubts))


def _fill(conn: db.Connection, rel: Relations, stream: int, columns: Prepared) -> _Page:
    """Load the page into the temporary table ``page``; the last row of an id wins."""
    first = int(conn.execute(load("records")["next_id"]).fetchone()[0])
    slots = [f"f{i}" for i in range(max(map(len, rel.streams.values())))]
    conn.execute("CREATE TEMP TABLE IF NOT EXISTS moved (record INTEGER PRIMARY KEY)")
    # As wide as any stream needs it: pages of several come by turns.
    db.scratch(conn, "page", [
        "n INTEGER PRIMARY KEY", "known INTEGER", "held INTEGER", "rid TEXT", "modified", "deleted",
        "merged", "email", "hash", *slots,
        "record INTEGER AS (coalesce(known, n))", "fresh INTEGER AS (known IS NULL)",
        "address INTEGER AS (CASE WHEN hash IS NOT NULL THEN coalesce(held, n) END)"])
    if not columns:
        return _Page(0, first)
    latest = {rid: place for place, rid in enumerate(columns[0])}
    if len(latest) < len(columns[0]):
        columns = [[column[place] for place in latest.values()] for column in columns]
    size = len(latest)
    fields = dict(zip(slots, columns[6:], strict=False))
    # Nearly every address is written as it is normalised: one of the two is bound.
    email = next((slot for slot, column in fields.items() if column == columns[4]), "email")
    own: dict[str, Sequence[Any]] = dict(zip(_OWN, columns, strict=False))
    if email in fields:
        del own["email"]
    db.insert_columns(conn, "page", {"n": range(first, first + size), **own, **fields})
    return _Page(size, first, email, columns[0], columns[5], columns[6:])


_OWN = ("rid", "modified", "deleted", "merged", "email", "hash")


def seen_ids(conn: db.Connection, stream: int, ids: Sequence[str], sweep: int) -> list[str]:
    """Mark records found by a numbered listing. Returns those it should not have found, because they are unknown or were
    taken for deleted: no change told of them, so they have to be read."""
    q = load("records")
    listed = orjson.dumps(ids).decode()
    conn.execute(q["seen"], {"sweep": sweep, "stream": stream, "ids": listed})
    return [row[0] for row in conn.execute(q["strangers"], (listed, stream))]


def bury(conn: db.Connection, stream: int, sweep: int, after: str, most: int) -> tuple[int, str]:
    """Of the next so many records of a stream, those that a complete listing did not contain are deleted; their people are
    dirty. Returns how many were looked at, and the id of the last."""
    q, given = load("records"), {"stream": stream, "sweep": sweep, "after": after, "most": most}
    count, upto = conn.execute(load("views")["stream_range"], given).fetchone()
    for name in ("dirty_unseen", "bury_unseen"):
        conn.execute(q[name], {**given, "upto": upto})
    return int(count), str(upto)


def unseen(conn: db.Connection, stream: int, sweep: int) -> tuple[int, int]:
    """(live records a listing did not contain, live records)."""
    row = conn.execute(load("records")["count_unseen"], (sweep, stream)).fetchone()
    return int(row[0] or 0), int(row[1])
