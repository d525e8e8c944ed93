"""After a restore: what the journal knows beyond the backup goes back into the ledger, and everything is doubted.

Positions are those of the journal, because other statements name them. The chain goes on from the backup's; the
salts are new, as the journal holds none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

from state import addresses, db, statuses
from state.journal import Journal, Line
from state.ledger import Book, NewEntry, Utterance
from state.queries import load


def replay(conn: db.Connection, lines: Iterable[Line]) -> int:
    """Append journalled entries to the ledger, and not once more to the journal; returns how many."""
    connections = {name: id_ for id_, name in conn.execute("SELECT id, name FROM connection")}
    book, count = Book(Journal(None)), 0
    for seen_at, group in groupby(lines, key=lambda line: line.seen_at):
        entries = [_entry(conn, line, connections) for line in group]
        book.append(conn, entries, seen_at)
        statuses.mark(conn, entries)
        count += len(entries)
    return count


def _entry(conn: db.Connection, line: Line, connections: Mapping[str, int]) -> NewEntry:
    """The entry under the restored state's ids. A record the backup does not have yet is named by its id as key, so
    that the entry is bound when it is read."""
    q = load("restore")
    source = str(line.spoken[0])
    connection, _, object_ = source.partition(".")
    key, record, address = line.key, None, None
    if line.hash is not None:
        address = addresses.known(conn, bytes.fromhex(line.hash))
    if line.rid is not None:
        row = conn.execute(q["record"], {"connection": connection, "object": object_, "rid": line.rid,
                                         "address": address}).fetchone()
        record, key = (row[0], key) if row else (None, line.rid)
    return NewEntry(Utterance(connections.get(connection), *line.spoken), record, address, line.said_lo, line.said_hi,
                    key, line.evidence, line.knowledge, line.retracts)


def doubt_everything(conn: db.Connection) -> None:
    """Every stream is read from its beginning and listed, everyone is decided anew, and what that changes beyond
    opt-outs waits for approval."""
    q = load("restore")
    conn.execute(q["forget_cursors"])
    conn.execute(q["everyone"])
    conn.execute(q["unapprove"])
