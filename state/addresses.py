"""Addresses by their hashes.

Hashes come in no order: in a table of a million each new one falls on another page, and every page is written twice, to
the log and to the file. So new ones gather in the memory of the connection that writes first, in a temporary table, and move
on to the big one many at a time, in the order of the hashes, which writes each page of it once. Other connections find those
that are still to move by looking through them. docs/decisions/0021-addresses-gather.md has the figures.
"""

from __future__ import annotations

from state import db
from state.queries import load

GATHER, FEW = 100_000, 2_000
"""Hashes that gather before any moves on, 4 MB of memory; and those that are left there when much has been read: whoever
opens the state next reads them again."""
MOVE = 10_000
"""Hashes that one transaction moves: 50 ms where each falls on a page of its own."""


def gather(conn: db.Connection) -> None:
    """Once for the connection that writes: whatever has not moved on yet gathers again."""
    q = load("addresses")
    for name in ("gather_table", "gather_view", "gather"):
        conn.execute(q[name])


def find(conn: db.Connection, hash_: bytes) -> int | None:
    """The address with this hash, if it is known."""
    row = conn.execute(load("addresses")["find"], (hash_,)).fetchone()
    return int(row[0]) if row else None


def known(conn: db.Connection, hash_: bytes, email: str | None = None) -> int:
    """The address with this hash, made known if it was not."""
    address = find(conn, hash_)
    if address is None:
        q = load("addresses")
        address = int(conn.execute(q["add"], (hash_, email)).fetchone()[0])
        conn.execute(q["note"], (hash_, address))
    return address


def look_up(conn: db.Connection, page: str) -> None:
    """Give the rows of a temporary table their ``address`` by their ``hash``, where it is known."""
    conn.execute(load("addresses")["look_up"].replace(":page", page))


def spell(conn: db.Connection, page: str, address: str = "address", email: str = "email", *, forgotten: bool) -> None:
    """Addresses that were known by their hashes alone (from a list, from the journal) and that the rows of a temporary table
    name in the clear: from now on their text is known, and so what was imported about its digests.

    :param forgotten: also of who was forgotten: whoever asks has looked whether she may be known again
    """
    q = load("addresses")
    named = q["spell"].replace(":page", page).replace(":address", address).replace(":email", email)
    if found := conn.execute(named, {"forgotten": forgotten}).fetchall():
        conn.execute(q["compare_anew"], (min(found)[0] - 1,))


def resolve(conn: db.Connection, page: str) -> None:
    """Give the rows of a temporary table (n, hash, email, address, …) their ``address``; new ones are added."""
    q = load("addresses")
    look_up(conn, page)
    spell(conn, page, forgotten=False)
    last = conn.execute(q["last"]).fetchone()[0]
    if conn.execute(q["add_of"].replace(":page", page)).rowcount:
        conn.execute(q["note_of"], (last,))
        look_up(conn, page)


def settle(conn: db.Connection, keep: int) -> bool:
    """Move hashes on, as many as one transaction may, if more than ``keep`` have gathered; True while there are more."""
    q = load("addresses")
    if conn.execute(q["waiting"]).fetchone()[0] <= keep:
        return False
    border = conn.execute(q["border"], (MOVE,)).fetchone()
    if border is None:
        conn.execute(q["move_all"])
        conn.execute(q["moved_all"])
        conn.execute(q["moved_to"])
        return False
    conn.execute(q["move"], border)
    conn.execute(q["moved"], border)
    return True
