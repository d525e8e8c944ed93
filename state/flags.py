"""Which consent fields the ledger knows: one that the mapping names only now, or reads otherwise than before, holds values
nobody took down. They become the field's baseline, as at a first link, in one reading of the stream from its start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from state import db
from state.queries import load
from state.relations import FlagDef, Relations, SourceDef, quote, rec


def conform(conn: db.Connection, rel: Relations) -> None:
    """Compare the mapping's consent fields with those known. Where a stream that was read before has others, it is read from
    its start."""
    q = load("flags")
    now = {former: topic.id for topic in rel.topics for former in topic.was}
    for source in rel.sources:
        types = {f.name: f.type for f in rel.streams[source.stream]}
        wanted = {(flag.field, _meaning(flag, types.get(flag.field))): _evidence(flag) for flag in source.flags}
        rows = conn.execute(q["known"], (source.stream,)).fetchall()
        stored = {(field, meaning) for field, meaning, *_ in rows}
        settled = {(field, _renamed(meaning, now)): heard for field, meaning, unknown, heard in rows if not unknown}
        conn.executemany(q["forget"], ((source.stream, *known) for known in stored - wanted.keys()))
        conn.executemany(q["learn"], ((source.stream, *new, settled.get(new, wanted[new]), int(new not in settled),
                                       source.stream) for new in wanted.keys() - stored))
        if wanted.keys() - stored - settled.keys():
            conn.execute(q["from_the_start"], (source.stream,))


def _renamed(meaning: str, now: Mapping[str, str]) -> str:
    """A field that speaks of a topic under its former id means what it meant."""
    topic, *rest = orjson.loads(meaning)
    return orjson.dumps([now.get(topic, topic), *rest]).decode()


def _meaning(flag: FlagDef, type_: str | None) -> str:
    return orjson.dumps([flag.topic, type_, sorted(map(str, flag.meanings.items()))]).decode()


def _evidence(flag: FlagDef) -> str:
    return orjson.dumps([flag.said_at, flag.method, flag.person_made]).decode()


def unheard(conn: db.Connection, source: SourceDef) -> tuple[FlagDef, ...]:
    """The consent fields of a source of which another rule than the one they were heard by says now what a person made."""
    sql = load("flags")["unheard"]
    return tuple(flag for flag in source.flags if flag.person_made is not None
                 and conn.execute(sql, (source.stream, flag.field, _evidence(flag))).fetchone()[0])


def held(conn: db.Connection, source: SourceDef, after: int, most: int) -> tuple[list[tuple[Any, ...]], int, int]:
    """Of the next so many records, those whose consent fields hold an opt-in that a person made, unless it is older than a
    baseline of the record's, and so part of that.

    :returns: rows as of ``relations.flag_changes``; how many records were looked at, and the last of them
    """
    count, upto = conn.execute(load("identify")["range"], {"after": after, "most": most}).fetchone()
    columns, holds = [], []
    for flag in source.flags:
        value, made = f"x.{quote(flag.field)}", f"CASE WHEN {flag.person_made} THEN 1 ELSE 0 END"
        said, method = (f"x.{quote(name)}" if name else "NULL" for name in (flag.said_at, flag.method))
        # Nobody says a thing after it was written down; when that was read first is not known any more.
        at = f"CASE WHEN {said} > r.modified THEN min({said}, r.first_seen) ELSE {said} END"
        columns.append(f"{value}, {value}, {at}, {method}, {made}")
        meant = orjson.dumps([v for v, meaning in flag.meanings.items() if meaning == "opt_in"]).decode().replace("'", "''")
        holds.append(f"({value} IN (SELECT value FROM json_each('{meant}')) AND {made} AND NOT EXISTS (SELECT 1 FROM entry e"
                     " CROSS JOIN utterance u ON u.id = e.utterance AND u.baseline = 1 AND u.source = :source"
                     f" WHERE e.record = r.id AND e.seen_at >= {said}))")
    sql = (f"SELECT r.id, r.rid, 0, r.address, a.hash, r.modified, {', '.join(columns)} FROM record r"
           f" CROSS JOIN {rec(source.stream)} x ON x.record = r.id LEFT JOIN address a ON a.id = r.address"
           f" WHERE r.id > :after AND r.id <= :upto AND r.stream = {source.stream} AND r.deleted = 0"
           f" AND ({' OR '.join(holds)})")
    given = {"after": after, "upto": upto, "source": source.name}
    return conn.execute(sql, given).fetchall(), int(count), int(upto)


def heard(conn: db.Connection, source: SourceDef) -> None:
    """What the consent fields of a source hold was heard by the rules of today."""
    conn.executemany(load("flags")["heard"], ((rule := _evidence(flag), source.stream, flag.field, rule)
                                              for flag in source.flags))


def unknown(conn: db.Connection, stream: int) -> frozenset[str]:
    """The fields of a stream whose values are still to become the baseline."""
    return frozenset(row[0] for row in conn.execute(load("flags")["unknown"], (stream,)))


def lacking(conn: db.Connection, connection: str, object_: str, field: str) -> tuple[int, int]:
    """(living records of a stream in which a field is empty, all of them); nothing where it was never read."""
    row = conn.execute(load("flags")["stream"], (connection, object_)).fetchone()
    if row is None or not conn.execute("SELECT 1 FROM pragma_table_info(?) WHERE name = ?", (rec(row[0]), field)).fetchone():
        return 0, 0
    without, every = conn.execute(
        f"SELECT count(*) FILTER (WHERE x.{quote(field)} IS NULL), count(*) FROM record r CROSS JOIN {rec(row[0])} x"
        " ON x.record = r.id WHERE r.stream = ? AND r.deleted = 0", (row[0],)).fetchone()
    return int(without), int(every)


def known(conn: db.Connection, stream: int) -> None:
    """The stream was read from its start to its end: every field has its baseline."""
    conn.execute(load("flags")["settled"], (stream,))
