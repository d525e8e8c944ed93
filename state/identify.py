"""Who is one person: connected components of records, recomputed for the records that moved.

Edges: the same *current* address (where the mapping says that one address is one person), and a record absorbed by another
(merge, conversion). A person's id is the smallest record id of its component, so ids do not depend on the order in which
records arrived, and the part that holds the record first seen keeps its id when a component splits.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from state import db
from state.queries import load
from state.relations import OPTED_OUT, Relations, SourceDef, quote, standing
from state.relations import rec as table

_Row = tuple[int, int, str, int | None, str | None, int]
"""Of a record: person, stream, id there, address, what it was merged into, whether it raises no doubt."""

MAX_RECORDS = 5
"""A component of more live records than this is ambiguous: nobody is guessed."""


def step(conn: db.Connection, rel: Relations, now: int, most: int = 5_000) -> int:
    """Recompute the components of up to ``most`` dirty records; returns how many those were."""
    q = load("identify")
    by_address = rel.join_by_address != "separate"
    absorbed = {s.stream: s.absorbs_into if s.absorbs_into is not None else s.stream for s in rel.sources}
    conn.execute("CREATE TEMP TABLE IF NOT EXISTS turn (record INTEGER PRIMARY KEY)")
    conn.execute("DELETE FROM turn")
    conn.execute("CREATE TEMP TABLE IF NOT EXISTS parted (record INTEGER PRIMARY KEY, was INTEGER, joined INTEGER)")
    conn.execute("CREATE INDEX IF NOT EXISTS temp.parted_was ON parted (was)")
    conn.execute("DELETE FROM parted")
    taken = conn.execute(q["take"], (most,)).rowcount
    conn.execute(q["dirty_turn"])
    linked = [row[0] for row in conn.execute(q["entangled"], {"by_address": by_address})]
    seen: set[int] = set()
    for record in linked:
        if record not in seen:
            seen |= _component(conn, record, by_address, absorbed, rel, now)
    conn.execute(q["part_rest"])
    conn.execute(q["depart"], {"now": now})
    conn.execute(q["done"])
    return int(taken)


def rules(rel: Relations) -> str:
    """What the mapping says about who is one person, as one text."""
    return orjson.dumps([rel.join_by_address, [[s.name, s.where, s.absorbs_into, s.names] for s in rel.sources]]).decode()


def everything(conn: db.Connection, after: int, most: int) -> tuple[int, int]:
    """Of the next so many records, all are looked at again. Returns how many there are, and the last of them."""
    q, given = load("identify"), {"after": after, "most": most}
    count, given["upto"] = conn.execute(q["range"], given).fetchone()
    conn.execute(q["dirty_records"], given)
    return int(count), given["upto"]


def parted(conn: db.Connection, source: SourceDef, topic: str | None,
           was: Sequence[str] = ()) -> list[tuple[int, str, int | None]]:
    """(record, record id, address) of the records of a source that the last step took from a person who had refused a topic
    (None: all mail), and that take the refusal along: it is written on them, and nothing said on the records of the person
    they are now is another witness of it; or it was said about the person they were part of, by the mailbox rather than on
    one of the records.

    :param was: former ids of the topic, under which it may have been said
    """
    q = load("identify")
    code = f"{'d.master' if topic is None else f'd.{standing(topic)}'} = {OPTED_OUT}"
    refusals = [["topic" if name else "master", name, "opt_out"] for name in (topic, *was)]
    found = []
    for refusal in refusals:
        found += conn.execute(q["said_together"].replace(":code", code),
                              {"stream": source.stream, "words": orjson.dumps(refusal).decode()[:-1]}).fetchall()
    given = {"stream": source.stream, "words": orjson.dumps([orjson.dumps([r]).decode() for r in refusals]).decode()}
    for flag in source.flags:
        if flag.topic == topic:
            refusing = [v for v, meaning in flag.meanings.items() if meaning == "opt_out"]
            values = [*refusing, *([flag.writes["opt_out"]] if "opt_out" in flag.writes else [])]
            found += conn.execute(
                "SELECT r.id, r.rid, r.address FROM parted p CROSS JOIN record r ON r.id = p.record AND r.stream = :stream"
                f" CROSS JOIN {table(source.stream)} x ON x.record = r.id CROSS JOIN decision d ON d.person = p.was"
                f" WHERE {code} AND x.{quote(flag.field)} IN (SELECT value FROM json_each(:values))"
                f" AND NOT {q['own_refusal']}", {**given, "values": orjson.dumps(values).decode()}).fetchall()
    return list(dict.fromkeys(found))


def _component(conn: db.Connection, start: int, by_address: bool, absorbed: dict[int, int], rel: Relations,
               now: int) -> set[int]:
    """Recompute every component touched by the persons around ``start``; returns the records looked at."""
    q = load("identify")
    rows: dict[int, _Row] = {}
    edges: dict[int, set[int]] = {}
    frontier = {start}
    while frontier:
        record = frontier.pop()
        row = conn.execute(q["record"], (record,)).fetchone()
        rows[record] = row
        person, stream, rid, address, merged = row[0], row[1], row[2], row[3], row[4]
        near: set[int] = set()
        if by_address and address is not None:
            near.update(r[0] for r in conn.execute(q["same_address"], (address,)))
        if merged is not None:
            near.update(r[0] for r in conn.execute(q["by_rid"], (absorbed.get(stream, stream), merged)))
        near.update(r[0] for r in conn.execute(q["absorbed_by"], (rid,)) if absorbed.get(r[1], r[1]) == stream)
        edges.setdefault(record, set()).update(near)
        for other in near:
            edges.setdefault(other, set()).add(record)
        same_person = {r[0] for r in conn.execute(q["of_person"], (person,))}
        frontier |= (near | same_person) - rows.keys()
    for component in _components(edges):
        _assign(conn, rel, component, rows, now)
    return set(rows)


def _components(edges: dict[int, set[int]]) -> Iterable[set[int]]:
    left = set(edges)
    while left:
        todo, found = [left.pop()], set[int]()
        while todo:
            node = todo.pop()
            found.add(node)
            todo.extend(edges[node] - found)
        left -= found
        yield found


def _assign(conn: db.Connection, rel: Relations, component: set[int],
            rows: dict[int, _Row], now: int) -> None:
    q = load("identify")
    person = min(component)
    at = Counter(rows[record][3] for record in component)
    neighbours = {record for record in component if rows[record][3] is not None and at[rows[record][3]] > 1}
    for record in component:
        if rows[record][0] != person:
            conn.execute(q["dirty"], (rows[record][0],))
            if rows[record][0] not in component:
                conn.execute(q["part"], (record,))
            conn.execute(q["assign"], (person, record in neighbours, record))
        if record != person:
            conn.execute(q["clear"], (record,))
    conn.execute(q["dirty"], (person,))
    reason = None
    if len(component) > 1:
        live = ((rows[r][1], _name(conn, rel, r, rows[r][1])) for r in component if not rows[r][5])
        reason = _ambiguity(rel, [(stream, name) for stream, name in live if name is not None])
    if reason is None:
        conn.execute(q["clear"], (person,))
    else:
        conn.execute(q["ambiguous"], (person, reason, now))


def _name(conn: db.Connection, rel: Relations, record: int, stream: int) -> str | None:
    """The folded name of a record, None where the source's filter lets it not be synced: such records carry consent but
    raise no doubt."""
    source = rel.source(stream)
    if source is None:
        return None
    parts = ", ".join(f"x.{quote(name)}" for name in source.names) or "NULL"
    row = conn.execute(f"SELECT {parts} FROM record r CROSS JOIN {table(stream)} x ON x.record = r.id"
                       f" WHERE r.id = ? AND ({source.where or 1}) IS TRUE", (record,)).fetchone()
    return None if row is None else fold_name(row)


def fold_name(parts: Sequence[Any]) -> str:
    """A name that differs when two people's names differ: case, spaces and accents' encoding do not matter."""
    whole = unicodedata.normalize("NFKC", " ".join(str(part) for part in parts if part is not None))
    return " ".join(whole.casefold().split())


def _ambiguity(rel: Relations, live: list[tuple[int, str]]) -> str | None:
    """Why records, of each its stream and name, may be several people's."""
    if len(live) > MAX_RECORDS:
        return "too_many_records"
    if rel.join_by_address == "exclude" and len(live) > 1:
        return "shared_address"
    names: dict[int, set[str]] = {}
    for stream, name in live:
        names.setdefault(stream, set()).add(name)
    if any(len(found) > 1 for found in names.values()):
        return "different_names"
    return None
