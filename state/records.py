"""Pages of CRM records into the record tables: one transaction holds rows, dirty marks, statements and the cursor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import orjson

from state import db, ledger, relations
from state.queries import load
from state.relations import Relations, SourceDef

Prepared = tuple[Any, ...]
"""(rid, modified, deleted, merged_into, normalised email, address hash, name hash, *fields in stream order)."""


class Stored(NamedTuple):
    """What a page did: rows read, records that are new, records whose mapped content moved, entries written."""

    rows: int
    fresh: int
    changed: int
    entries: int


Speak = Callable[[SourceDef, Sequence[tuple[Any, ...]]], Iterable[ledger.NewEntry | ledger.Alike]]
"""Turns changed consent fields (relations.flag_changes) into entries; pure, given by the cycle."""


def store(conn: db.Connection, rel: Relations, stream: int, rows: Iterable[Prepared], *, cursor: str | None,
          sweep: int, now: int, speak: Speak, book: ledger.Book, complete: bool = False,
          unknown: frozenset[str] = frozenset(), take_down: Speak | None = None) -> Stored:
    """Take one page. Rows that repeat what is known dirty nobody.

    :param unknown: consent fields whose values nobody took down yet, changed or not; ``take_down`` makes entries of them
    """
    q = load("records")
    count = _fill(conn, rel, stream, rows)
    base = conn.execute(q["last_record"]).fetchone()[0]
    given = {"stream": stream, "base": base, "now": now, "sweep": sweep}
    conn.execute(q["add_addresses"])
    conn.execute(q["resolve"], given)
    fresh = conn.execute(q["add_records"], given).rowcount
    source = rel.source(stream)
    entries: list[ledger.NewEntry | ledger.Alike] = []
    if source is not None and source.flags:
        flags = relations.flag_changes(rel, source)
        assert flags is not None
        entries += speak(source, _without_echoes(conn, source, conn.execute(flags).fetchall()))
        if unknown and take_down is not None:
            late = replace(source, flags=tuple(f for f in source.flags if f.field in unknown))
            all_ = relations.flag_changes(rel, late, every=True)
            entries += take_down(late, [row for row in conn.execute(all_ or "").fetchall() if not row[2]])
    sql = relations.store_page(rel, stream)
    conn.execute("DELETE FROM moved")
    changed = conn.execute(f"INSERT INTO moved {sql['changed_rows']}").rowcount
    if source is not None:
        conn.execute(sql["changed"])
        conn.execute(q["dirty_moved_records"])
        if rel.join_by_address == "separate":
            conn.execute(q["dirty_neighbours"], given)
    conn.execute(sql["store"])
    conn.execute(q["update_records"], given)
    if source is not None:
        conn.execute(q["dirty_fresh"])
    for statement in relations.fan_out(rel, stream):
        conn.execute(statement)
    if entries:
        book.append(conn, entries, now)
        known = [e for e in entries if isinstance(e, ledger.NewEntry) and e.record is not None and e.record <= base]
        conn.executemany(q["dirty_person_of_record"], ((e.record,) for e in known))
        conn.executemany(q["dirty_holders"], ((e.address,) for e in known))
    if cursor is not None:
        conn.execute(q["advance"], {"stream": stream, "cursor": cursor,
                                    "complete": now if complete else None})
    return Stored(count, fresh, changed - fresh,
                  sum(len(e.whose) if isinstance(e, ledger.Alike) else 1 for e in entries))


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
            old = relations.FLAG_OFFSET + index * relations.FLAG_COLUMNS
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


def _fill(conn: db.Connection, rel: Relations, stream: int, rows: Iterable[Prepared]) -> int:
    """Load the page into the temporary table ``page``; the last row of an id wins."""
    width, widest = len(rel.streams[stream]), max(map(len, rel.streams.values()))
    slots = [f"f{i}" for i in range(widest)]
    conn.execute("CREATE TEMP TABLE IF NOT EXISTS moved (record INTEGER PRIMARY KEY)")
    # As wide as any stream needs it: pages of several come by turns.
    db.scratch(conn, "page", ["n INTEGER PRIMARY KEY", "rid TEXT", "modified", "deleted", "merged", "email", "hash", "name",
                              "record INTEGER", "fresh INTEGER", "address INTEGER", *slots])
    marks = ",".join("?" * (7 + width))
    columns = "".join(f",{s}" for s in slots[:width])
    cursor = conn.executemany(
        f"INSERT INTO page (rid,modified,deleted,merged,email,hash,name{columns}) VALUES ({marks})",
        {row[0]: row for row in rows}.values())
    return int(cursor.rowcount)


def seen_ids(conn: db.Connection, stream: int, ids: Sequence[str], sweep: int) -> list[str]:
    """Mark records found by a numbered listing. Returns those it should not have found, because they are unknown or were
    taken for deleted: no change told of them, so they have to be read."""
    q = load("records")
    conn.executemany(q["seen"], ((sweep, stream, rid) for rid in ids))
    return [row[0] for row in conn.execute(q["strangers"], (orjson.dumps(ids).decode(), stream))]


def bury(conn: db.Connection, stream: int, sweep: int) -> int:
    """Records that a complete listing did not contain are deleted; their people are dirty. Returns how many."""
    q = load("records")
    conn.execute(q["dirty_unseen"], (stream, sweep))
    return int(conn.execute(q["bury_unseen"], (stream, sweep)).rowcount)


def unseen(conn: db.Connection, stream: int, sweep: int) -> tuple[int, int]:
    """(live records a listing did not contain, live records)."""
    row = conn.execute(load("records")["count_unseen"], (sweep, stream)).fetchone()
    return int(row[0] or 0), int(row[1])
