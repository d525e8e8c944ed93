"""What the mapping says about the people of a chunk, from their records: the rows of ``attr``.

A row that is there as it should be is not written again: most people are looked at because something else changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from state import db
from state.queries import load
from state.relations import Relations, SourceDef, quote, rec

FIXED = ("person", "record", "address", "due")
"""The columns of ``attr`` that follow no mapping."""


def rebuild(conn: db.Connection, relations: Relations, parameters: Mapping[str, Any]) -> None:
    """Make ``attr`` true for the chunk; ``parameters`` bind now and today. Who ceases to be synced leaves the subscriber of
    its key to whoever holds that subscriber's address: they are dirty."""
    _forget(conn, _gone(relations), parameters)
    have = [row[1] for row in conn.execute("PRAGMA table_info(attr)")]
    for sql in statements(relations, [name for name in have if name not in FIXED]):
        conn.execute(sql, parameters)


def hand_over(conn: db.Connection) -> None:
    """Whoever of the chunk has become part of somebody else has no attributes any more: that one's decision counts for what
    is left under the name of both."""
    _forget(conn, "c.records = 0", {})


def _forget(conn: db.Connection, gone: str, parameters: Mapping[str, Any]) -> None:
    q = load("people")
    found = [row[0] for row in conn.execute(q["no_attributes"].replace(":gone", gone), parameters)]
    conn.executemany(q["dirty_heirs"], ((person,) for person in found))


def statements(relations: Relations, columns: Sequence[str] = ()) -> list[str]:
    """Statements that store the attributes of the people in ``chunk``: first those of one live record, by a straight join;
    then the others, attribute by attribute in the order of sources and of freshness. ``columns`` there are that the mapping
    no longer names are emptied."""
    base = [a for a in relations.attributes if a.derived is None]
    names = ["record", "address", *(quote(a.name) for a in base)]
    empty = ["due", *(quote(c) for c in columns if c not in {a.name for a in relations.attributes})]
    old, new = ", ".join([*names, *empty]), ", ".join([*(f"excluded.{n}" for n in names), *("NULL" for _ in empty)])
    insert = f"INSERT INTO attr (person, {', '.join(names)})"
    same = f" ON CONFLICT (person) DO UPDATE SET ({old}) = ({new}) WHERE ({old}) IS NOT ({new})"
    found = []
    for source in relations.sources:
        values = "".join(f", {source.attributes.get(a.name, 'NULL')}" for a in base)
        found.append(
            f"{insert} SELECT c.person, r.id, r.address{values} FROM chunk c CROSS JOIN record r ON r.id = c.record"
            f" AND r.stream = {source.stream} AND r.deleted = 0"
            f" CROSS JOIN {rec(source.stream)} x ON x.record = r.id WHERE c.live = 1 AND {_true(source.where)}{same}")
    shared = "".join(f", {_surviving(relations, a.name)}" for a in base)
    found.append(
        f"{insert} SELECT c.person, {_first(relations, 'r.id')}, {_first(relations, 'r.address', 'r.address')}{shared}"
        f" FROM chunk c WHERE c.live > 1 AND {_first(relations, 'r.id')} IS NOT NULL{same}")
    found.extend(f"UPDATE attr AS a SET {quote(attribute.name)} = {attribute.derived}"
                 " WHERE a.person IN (SELECT person FROM chunk)"
                 for attribute in relations.attributes if attribute.derived is not None)
    return found


def _gone(relations: Relations) -> str:
    """SQL over c: nothing gives the person attributes."""
    if all(source.where is None for source in relations.sources):
        return "c.live = 0"
    return "c.live = 0 OR NOT ({})".format(" OR ".join(
        f"EXISTS (SELECT 1 FROM record r CROSS JOIN {rec(s.stream)} x ON x.record = r.id WHERE r.person = c.person"
        f" AND r.stream = {s.stream} AND r.deleted = 0 AND {_true(s.where)})" for s in relations.sources))


def _true(where: str | None) -> str:
    return f"({where}) IS TRUE" if where else "1"


def _surviving(relations: Relations, attribute: str) -> str:
    choices = [_one(s, s.attributes[attribute], f"({s.attributes[attribute]}) IS NOT NULL")
               for s in relations.sources if attribute in s.attributes]
    return _coalesce(choices)


def _first(relations: Relations, column: str, not_null: str = "1") -> str:
    condition = f"{not_null} IS NOT NULL" if not_null != "1" else "1"
    return _coalesce([_one(s, column, condition) for s in relations.sources])


def _one(source: SourceDef, value: str, condition: str) -> str:
    return (f"(SELECT {value} FROM record r CROSS JOIN {rec(source.stream)} x ON x.record = r.id"
            f" WHERE r.person = c.person AND r.stream = {source.stream} AND r.deleted = 0 AND {condition}"
            f" AND {_true(source.where)} ORDER BY r.modified DESC, r.id LIMIT 1)")


def _coalesce(choices: list[str]) -> str:
    if not choices:
        return "NULL"
    return choices[0] if len(choices) == 1 else f"coalesce({', '.join(choices)})"
