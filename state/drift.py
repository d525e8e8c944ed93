"""Remote drift: rows an audience holds that we did not write, and rows of ours that are gone.

A complete listing of an audience is compared with its target. A foreign row is remembered; it is removed when its person
must not be mailed, or when the mapping owns all rows. A row of ours that vanished is not silently added again: it waits in a
hold until somebody says whether to add it or to accept that it is gone. One that somebody gave another address is written as
it should be, or, where somebody refused at that address, removed first. A foreign row whose address no record has belongs to
no person; what was said under the address decides about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Any

from state import addresses, db
from state.parcels import Members
from state.queries import load
from state.relations import AudienceDef, mailable


def begin(conn: db.Connection) -> None:
    """Before the first page of a listing."""
    conn.execute("CREATE TEMP TABLE IF NOT EXISTS listed (object INTEGER, person INTEGER, PRIMARY KEY (object, person))"
                 " WITHOUT ROWID")


def store(conn: db.Connection, a: AudienceDef, rows: Iterable[tuple[Any, ...]], sweep: int, began: int) -> None:
    """Take a page of rows: (key, normalised email, hash) each; ``began`` as in ``vanish``."""
    q = load("drift")
    begin(conn)
    conn.execute(q["page_table"])
    conn.execute("DELETE FROM row_page")
    db.insert(conn, q["fill"], rows)
    given = {"object": a.object, "connection": a.connection, "sweep": sweep, "began": began}
    addresses.resolve(conn, "row_page")
    conn.execute(q["listed"].replace(":target", a.table), given)
    conn.executemany("INSERT OR IGNORE INTO dirty VALUES (?)",
                     conn.execute(q["readdressed"].replace(":target", a.table), given).fetchall())
    conn.execute(q["foreign"].replace(":target", a.table), given)
    conn.execute(q["dirty_foreign"], given)
    conn.execute(q["judge_page"], given)


def found(conn: db.Connection, a: AudienceDef, rows: Iterable[tuple[Any, ...]], sweep: int, began: int) -> None:
    """Take rows that were looked up by their keys at ``began``, outside of any listing."""
    store(conn, a, rows, sweep, began)
    conn.execute("DELETE FROM listed WHERE object = ?", (a.object,))


def shown(conn: db.Connection, a: AudienceDef, sweep: int) -> int:
    """How many rows the readings of a listing have shown together."""
    begin(conn)
    return int(conn.execute(load("drift")["shown"], {"object": a.object, "sweep": sweep}).fetchone()[0])


def lacks(conn: db.Connection, a: AudienceDef, began: int, after: int, most: int) -> tuple[int, int, bool]:
    """Whether a listing that ended has not shown one of the next so many rows of ours; ``began`` as in ``vanish``.

    :returns: (rows looked at, the person of the last, whether one is missing)
    """
    begin(conn)
    count, given = _range(conn, a, after, most)
    missing = conn.execute(load("drift")["not_listed"].replace(":target", a.table) + " LIMIT 1",
                           {**given, "began": began, "now": began}).fetchone()
    return count, given["upto"], missing is not None


def vanish(conn: db.Connection, a: AudienceDef, began: int, after: int, most: int) -> tuple[int, int]:
    """Of the next so many rows of ours, those that a complete listing did not show have vanished. Returns how many were
    looked at, and the person of the last.

    :param began: µs: what was acknowledged after this may be too young to have been listed
    """
    begin(conn)  # an audience that does not exist yet had no page
    count, given = _range(conn, a, after, most)
    gone = conn.execute("INSERT OR IGNORE INTO vanished (object, person, since) "
                        + load("drift")["not_listed"].replace(":target", a.table), {**given, "began": began, "now": began})
    if gone.rowcount:
        conn.execute(f"DELETE FROM {a.table} WHERE person > :after AND person <= :upto"
                     " AND person IN (SELECT person FROM vanished WHERE object = :object)", given)
    conn.execute("DELETE FROM listed WHERE object = :object AND person > :after AND person <= :upto", given)
    return count, given["upto"]


def _range(conn: db.Connection, a: AudienceDef, after: int, most: int) -> tuple[int, dict[str, int]]:
    given = {"object": a.object, "after": after, "most": most}
    count, given["upto"] = conn.execute(load("drift")["range"].replace(":target", a.table), given).fetchone()
    return int(count), given


def finish(conn: db.Connection, a: AudienceDef, sweep: int, now: int) -> None:
    """A complete listing ended, and all rows of ours were looked at: forget foreign rows that left, hold what vanished."""
    begin(conn)
    conn.execute(load("drift")["foreign_gone"], {"object": a.object, "sweep": sweep})
    conn.execute("DELETE FROM listed WHERE object = ?", (a.object,))
    _hold(conn, a, now)


def _hold(conn: db.Connection, a: AudienceDef, now: int) -> None:
    """Keep one open hold per audience with vanished rows that nobody decided about."""
    q = load("drift")
    count = conn.execute("SELECT count(*) FROM vanished WHERE object = ? AND accepted = 0", (a.object,)).fetchone()[0]
    if count:
        conn.execute(q["hold"], {"object": a.object, "connection": a.connection, "now": now,
                                 "reason": f"{count} rows of ours vanished there; approve adds them again, reject accepts"})


def decide(conn: db.Connection, object_: int, *, again: bool) -> int:
    """The verdict on an audience's vanished rows: add them again, or accept that they are gone."""
    q = load("drift")
    if again:
        conn.execute(q["dirty_vanished"], (object_,))
        return int(conn.execute("DELETE FROM vanished WHERE object = ? AND accepted = 0", (object_,)).rowcount)
    return int(conn.execute("UPDATE vanished SET accepted = 1 WHERE object = ? AND accepted = 0", (object_,)).rowcount)


def removals(a: AudienceDef, code: str) -> str:
    """SQL that plans to remove foreign rows of the chunk's people whose decision forbids the topic (``code``: the
    condition over d that an opt-out stands)."""
    return load("drift")["remove_blocked"].replace(":blocked", f"d.{mailable(a.topic)} = 0 AND ({code})")


def remove_former(conn: db.Connection, a: AudienceDef, run: int) -> None:
    """Plan to remove the chunk's rows under keys that were given up: those under the new ones are there. To be called
    once the rows are planned."""
    conn.execute(load("drift")["remove_former"].replace(":target", a.table),
                 {"object": a.object, "connection": a.connection, "run": run})


def left_behind(conn: db.Connection, a: AudienceDef, sealed: Members) -> None:
    """Remember the rows that a batch of new rows leaves under another key; to be called before the target moves."""
    conn.execute(sealed.of(load("drift")["left_behind"].replace(":target", a.table)), sealed.given)


def to_judge(conn: db.Connection, most: int) -> list[tuple[int, int | None, int | None]]:
    """(row, address, object) of foreign rows about which something was said; no address where a record has it, whose person
    decides about the row, or where the row is gone."""
    return conn.execute(load("drift")["judging"], (most,)).fetchall()


def judged(conn: db.Connection, rows: Iterable[int], refused: Iterable[tuple[int, int]], run: int) -> None:
    """These rows were looked at; of them those that must go, each with the ledger position that demands it."""
    q = load("drift")
    conn.executemany(q["remove_unheld"], ({"row": row, "position": position, "run": run} for row, position in refused))
    conn.executemany(q["judged"], ((row,) for row in rows))


def to_clear(conn: db.Connection, a: AudienceDef) -> tuple[bool, bool]:
    """Of an audience that is to be cleared of what was there before us: (whether that has not been done, whether nothing is
    left to do). Only a whole listing tells; and nobody has agreed before the first plan was approved."""
    row = conn.execute(load("drift")["to_clear"], (a.object,)).fetchone()
    return (bool(row[0]), bool(row[1])) if row is not None else (False, False)


def own(conn: db.Connection, a: AudienceDef, run: int, after: str, most: int) -> tuple[int, str]:
    """Where the mapping owns all rows, or clears them: plan to remove those of the next so many foreign rows that nobody is
    wanted under. Returns how many were looked at, and the last of their keys."""
    q, given = load("drift"), {"object": a.object, "connection": a.connection, "run": run, "after": after, "most": most}
    if not after:
        conn.execute(q["forget_owned"], given)
    count, upto = conn.execute(q["foreign_range"], given).fetchone()
    conn.execute(q["remove_owned"], {**given, "upto": upto})
    return int(count), str(upto)


def abandoned(conn: db.Connection, mapped: Set[tuple[str, str]]) -> list[tuple[str, str, int]]:
    """(connection, audience, rows) of the audiences that hold rows of ours and that the mapping (its audiences as connection
    and name) no longer names."""
    found = []
    for object_, connection, name in conn.execute(load("drift")["audiences"]).fetchall():
        if (connection, name) not in mapped:
            count = int(conn.execute(f"SELECT count(*) FROM target_{object_}").fetchone()[0])
            found += [(connection, name, count)] if count else []
    return found
