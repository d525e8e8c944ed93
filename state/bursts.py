"""Bursts: many opt-outs at once that no person made. They count like all others; only what they would write to other systems
waits under a hold, and all of them can be retracted together.

A burst is a set of ranges of ledger positions, each of one source; its number is that of its hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from state import db
from state.queries import load

CHUNK = 5_000
"""Operations looked at, and statements retracted, at a time."""

Range = tuple[int, str, int, int]
"""(connection, source, after, up to): the opt-outs of that source that no person made, between two ledger positions."""


class Waiting(NamedTuple):
    """A suppression planned at another system because of a burst. ``doubtful``: something else may demand it as well."""

    operation: int
    person: int
    object: int
    columns: str
    hold: int
    doubtful: int


class Word(NamedTuple):
    """A statement of a burst, as far as a retraction must repeat it."""

    position: int
    record: int | None
    address: int | None
    key: str | None
    channel: str
    purpose: str
    unit: str | None


def unjudged(conn: db.Connection, tolerance: int) -> tuple[int, int, list[tuple[int, str, int]]]:
    """(after, up to, [(connection, source, opt-outs that no person made)]) of what came since ``judged``.

    :param tolerance: µs between a click and the status that shows it
    """
    q = load("bursts")
    upto = int(conn.execute(q["head"]).fetchone()[0])
    row = conn.execute(q["judged_to"]).fetchone()
    after = int(row[0]) if row else 0
    if after >= upto:
        return upto, upto, []
    return after, upto, conn.execute(q["unjudged"], {
        "after": after, "upto": upto, "tolerance": tolerance}).fetchall()


def judged(conn: db.Connection, upto: int) -> None:
    """Everything up to a position was looked at."""
    conn.execute(load("bursts")["judged"], (upto,))


def people(conn: db.Connection) -> int:
    """How many people there are."""
    return int(conn.execute(load("bursts")["people"]).fetchone()[0])


def add(conn: db.Connection, hold: int, connection: int, source: str, after: int, upto: int) -> None:
    """A burst, or more of one whose hold is open."""
    conn.execute(load("bursts")["add"], {"hold": hold, "connection": connection, "source": source, "after": after,
                                         "upto": upto})


def open_ranges(conn: db.Connection) -> list[Range]:
    """The ranges of every burst nobody decided about."""
    return [row[:4] for row in conn.execute(load("bursts")["open"])]


def candidates(conn: db.Connection, *, separate: bool) -> Iterator[list[Waiting]]:
    """Planned operations that wait, unless something else demands them; in parts, each to be put aside before the next.

    :param separate: several people may hold one address, so that a neighbour's refusal may demand them
    """
    q = load("bursts")
    for object_, kind in conn.execute(q["planned"]).fetchall():
        given: dict[str, int | str] = {"separate": int(separate), "object": object_, "kind": kind, "after": 0, "most": CHUNK}
        while part := conn.execute(q["candidates"], given).fetchall():
            yield [Waiting._make(row) for row in part]
            given["after"] = part[-1][0]


def unsure(conn: db.Connection) -> tuple[int, list[Waiting]]:
    """What was just planned for the chunk and may rest on an undecided burst, or on one that nobody has looked for yet: the
    position up to which bursts were looked for, and the suppressions at other systems."""
    q = load("bursts")
    row = conn.execute(q["judged_to"]).fetchone()
    judged = int(row[0]) if row else 0
    after = min([judged, *(part[2] for part in open_ranges(conn))])
    return judged, [Waiting(id_, person, object_, columns, 0, True)
                    for id_, person, object_, columns in conn.execute(q["unsure_of_chunk"], {"after": after})]


def leave(conn: db.Connection, chosen: Iterable[Waiting]) -> None:
    """Take operations back that are only planned."""
    conn.executemany(load("bursts")["leave"], ((w.operation,) for w in chosen))


def wait(conn: db.Connection, chosen: Iterable[Waiting]) -> None:
    """Put operations under their bursts' holds."""
    conn.executemany(load("bursts")["wait"], ((w.hold, w.operation) for w in chosen))


def ranges(conn: db.Connection, burst: int) -> list[Range]:
    """A burst's ranges; none where there is no such burst."""
    return conn.execute(load("bursts")["ranges"], (burst,)).fetchall()


def to_retract(conn: db.Connection, part: Range, most: int) -> list[Word]:
    """The first of a range's statements that nobody retracted."""
    return [Word(*row) for row in conn.execute(load("bursts")["to_retract"], {**_given(part), "most": most})]


def own_word(conn: db.Connection, parts: Sequence[Range]) -> int:
    """How many people of a burst opted out themselves, too."""
    q = load("bursts")["own_word"]
    return sum(int(conn.execute(q, _given(part)).fetchone()[0]) for part in parts)


def of_statement(conn: db.Connection, connection: int | None, source: str, position: int) -> int | None:
    """The burst a statement is part of, if any."""
    row = conn.execute(load("bursts")["of_statement"], {"connection": connection, "source": source,
                                                        "position": position}).fetchone()
    return int(row[0]) if row else None


def close(conn: db.Connection, burst: int, now: int) -> None:
    """Everything of a burst was retracted: nothing of it waits any more."""
    conn.execute(load("bursts")["close"], (now, burst))


def _given(part: Range) -> dict[str, int | str]:
    return dict(zip(("connection", "source", "after", "upto"), part, strict=True))
