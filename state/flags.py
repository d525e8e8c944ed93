"""Which consent fields the ledger knows: one that the mapping names only now, or reads otherwise than before, holds values
nobody took down. They become the field's baseline, as at a first link, in one reading of the stream from its start."""

from __future__ import annotations

from collections.abc import Mapping

import orjson

from state import db
from state.queries import load
from state.relations import FlagDef, Relations, quote, rec


def conform(conn: db.Connection, rel: Relations) -> None:
    """Compare the mapping's consent fields with those known. Where a stream that was read before has others, it is read from
    its start."""
    q = load("flags")
    now = {former: topic.id for topic in rel.topics for former in topic.was}
    for source in rel.sources:
        types = {f.name: f.type for f in rel.streams[source.stream]}
        wanted = {(flag.field, _meaning(flag, types.get(flag.field))) for flag in source.flags}
        rows = conn.execute(q["known"], (source.stream,)).fetchall()
        stored = {(field, meaning) for field, meaning, _ in rows}
        settled = {(field, _renamed(meaning, now)) for field, meaning, unknown in rows if not unknown}
        conn.executemany(q["forget"], ((source.stream, field, meaning) for field, meaning in stored - wanted))
        conn.executemany(q["learn"], ((source.stream, field, meaning, int((field, meaning) not in settled), source.stream)
                                      for field, meaning in wanted - stored))
        if wanted - stored - settled:
            conn.execute(q["from_the_start"], (source.stream,))


def _renamed(meaning: str, now: Mapping[str, str]) -> str:
    """A field that speaks of a topic under its former id means what it meant."""
    topic, *rest = orjson.loads(meaning)
    return orjson.dumps([now.get(topic, topic), *rest]).decode()


def _meaning(flag: FlagDef, type_: str | None) -> str:
    return orjson.dumps([flag.topic, type_, sorted(map(str, flag.meanings.items()))]).decode()


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
