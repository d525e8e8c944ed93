"""Consent fields as a CRM's field history sees them: what is known of them, and which values are only echoes.

An *echo* is a field that a connector between CRM and provider (Marketing Cloud Connect) set because of something the
person told the provider. The provider's own statement says what that was; the field stays as it was found.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from state import db, ledger
from state.queries import load
from state.relations import FlagDef, SourceDef, quote, rec

TAKEN_BACK = ("EXISTS (SELECT 1 FROM record v CROSS JOIN entry w ON w.record = v.id"
              " WHERE v.person = c.person AND w.retracts IS NOT NULL)")
"""SQL over c: an admin recorded that something said about the person never was hers. A flag left standing because of it
could not be set again, and whoever sets flags would believe that she is out."""

EchoKey = tuple[int, str]
"""(record, field)."""


def known_flags(source: SourceDef) -> str:
    """SQL for the stored values of a source's consent fields: (record id, value per flag) of the ids in JSON ``:rids``."""
    columns = "".join(f", x.{quote(flag.field)}" for flag in source.flags)
    return (f"SELECT r.rid{columns} FROM json_each(:rids) j"
            f" CROSS JOIN record r ON r.stream = {source.stream} AND r.rid = j.value"
            f" CROSS JOIN {rec(source.stream)} x ON x.record = r.id")


def remember(conn: db.Connection, echoes: Iterable[tuple[int, str, int]], overwritten: Iterable[EchoKey], now: int) -> None:
    """Keep the fields (record, field, instant) that turned out to be echoes; forget those that somebody set since."""
    q = load("history")
    conn.executemany(q["overwritten"], overwritten)
    conn.executemany(q["echoed"], ((record, field, at, now) for record, field, at in echoes))


def untraced(conn: db.Connection, until: int, window: int) -> list[tuple[Any, ...]]:
    """Echoes seen by ``until`` (µs) that echo nothing we know of: (record, field, at, stream, record id, address,
    connection). ``window``: how much older than its echo the original may be."""
    return conn.execute(load("history")["untraced"], {"until": until, "window": window}).fetchall()


def settle(conn: db.Connection, book: ledger.Book, until: int, orphans: Sequence[ledger.NewEntry],
           fields: Sequence[EchoKey], now: int) -> None:
    """Let the echoes seen by ``until`` rest. The ``orphans`` among them, those of ``fields``, become entries."""
    q, records = load("history"), load("records")
    if orphans:
        book.append(conn, orphans, now)
        conn.executemany(q["overwritten"], fields)
        conn.executemany(records["dirty_person_of_record"], ((e.record,) for e in orphans))
        conn.executemany(records["dirty_holders"], ((e.address,) for e in orphans))
    conn.execute(q["traced"], (until,))


def is_echo(flag: FlagDef, was: Sequence[str]) -> str:
    """SQL over c and r: the flag holds an echo, and no word of the person after it asks for mail. ``was``: the former ids of
    the flag's topic."""
    words = [["master", None, "opt_in"]] if flag.topic is None else [["topic", id_, "opt_in"] for id_ in (flag.topic, *was)]
    said = " OR ".join(f"instr(u.said, '{orjson.dumps(word).decode()[:-1]}') > 0" for word in words)
    return (f"EXISTS (SELECT 1 FROM echo q WHERE q.record = r.id AND q.field = '{quote(flag.field)[1:-1]}'"
            " AND NOT EXISTS (SELECT 1 FROM record p CROSS JOIN entry e ON e.record = p.id"
            " CROSS JOIN utterance u ON u.id = e.utterance WHERE p.person = c.person AND u.person_made"
            f" AND e.said_lo > q.at AND ({said})))")
