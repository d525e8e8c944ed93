"""After a restore: what the journal knows beyond the backup goes back into the ledger, and everything is doubted.

Positions are those of the journal, because other statements name them. The chain goes on from the backup's; the
salts are new, as the journal holds none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from state import db, statuses
from state.ledger import NewEntry, Utterance
from state.queries import load
from state.store import Store


class Line(NamedTuple):
    """One journalled entry: its position, its utterance without the connection, what ``Book.append`` wrote of it."""

    position: int
    spoken: tuple[Any, ...]
    rid: str | None
    hash: str | None
    key: str | None
    said_lo: int | None
    said_hi: int
    evidence: str | None
    knowledge: int | None
    retracts: int | None
    seen_at: int


def read(path: Path, after: int) -> list[Line]:
    """The journal's entries beyond position ``after``, in order.

    A line may repeat positions: it was written for a transaction that was rolled back and then done again, so the
    last one counts. An unfinished last line is a write that was interrupted; its transaction never happened.

    :raises state.db.StateDamaged: a line in between cannot be read, or positions are missing
    """
    found: dict[int, Line] = {}
    with path.open("rb") as stream:
        for number, text in enumerate(stream, 1):
            if not text.endswith(b"\n"):
                break
            try:
                first, spoken, entries = orjson.loads(text)
            except (orjson.JSONDecodeError, ValueError):
                raise db.StateDamaged(f"line {number} of the journal cannot be read") from None
            words = {id_: tuple(rest) for id_, *rest in spoken}
            for position, (word, *content) in enumerate(entries, first):
                if position > after:
                    found[position] = Line(position, words[word], *content)
    if found and sorted(found) != list(range(after + 1, after + 1 + len(found))):
        raise db.StateDamaged("the journal lacks entries between the backup and its own end; use a newer backup")
    return [found[position] for position in sorted(found)]


def replay(store: Store, lines: Iterable[Line]) -> int:
    """Append journalled entries to the ledger; returns how many. The store must have been opened without a journal."""
    def job(conn: db.Connection) -> int:
        connections = {name: id_ for id_, name in conn.execute("SELECT id, name FROM connection")}
        count = 0
        for seen_at, group in groupby(lines, key=lambda line: line.seen_at):
            entries = [_entry(conn, line, connections) for line in group]
            store.book.append(conn, entries, seen_at)
            statuses.mark(conn, entries)
            count += len(entries)
        return count
    return store.write(job)


def _entry(conn: db.Connection, line: Line, connections: Mapping[str, int]) -> NewEntry:
    """The entry under the restored state's ids. A record the backup does not have yet is named by its id as key, so
    that the entry is bound when it is read."""
    q = load("restore")
    source = str(line.spoken[0])
    connection, _, object_ = source.partition(".")
    key, record, address = line.key, None, None
    if line.rid is not None:
        row = conn.execute(q["record"], {"connection": connection, "object": object_, "rid": line.rid}).fetchone()
        record, key = (row[0], key) if row else (None, line.rid)
    if line.hash is not None:
        hashed = bytes.fromhex(line.hash)
        conn.execute(q["add_address"], (hashed,))
        address = conn.execute(q["address"], (hashed,)).fetchone()[0]
    return NewEntry(Utterance(connections.get(connection), *line.spoken), record, address, line.said_lo, line.said_hi,
                    key, line.evidence, line.knowledge, line.retracts)


def doubt_everything(store: Store) -> None:
    """Every stream is read from its beginning and listed, everyone is decided anew, and what that changes beyond
    opt-outs waits for approval."""
    def job(conn: db.Connection) -> None:
        q = load("restore")
        conn.execute(q["forget_cursors"])
        conn.execute(q["everyone"])
        conn.execute(q["unapprove"])
    store.write(job)


def head(store: Store) -> int:
    """The ledger's last position."""
    return int(store.rows("SELECT coalesce(max(position), 0) FROM entry")[0][0])
