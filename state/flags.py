"""Which consent fields the ledger knows: one that the mapping names only now, or reads otherwise than before, holds values
nobody took down. They become the field's baseline, as at a first link, in one reading of the stream from its start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from state import addresses, db
from state.queries import load
from state.relations import FlagDef, Relations, SourceDef, field_sql, quote, rec


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

    :returns: rows as of ``flag_changes``; how many records were looked at, and the last of them
    """
    count, upto = conn.execute(load("identify")["range"], {"after": after, "most": most}).fetchone()
    columns, holds = [], []
    for flag in source.flags:
        value, made = f"x.{quote(flag.field)}", f"CASE WHEN {flag.person_made} THEN 1 ELSE 0 END"
        said, method = (f"x.{quote(name)}" if name else "NULL" for name in (flag.said_at, flag.method))
        said = said_sql(flag, said)
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


def doubt(conn: db.Connection, rel: Relations, stream: int, columns: Sequence[Sequence[Any]]) -> None:
    """After a restore: where a record refuses in the backup and as just read, and its person came back, syncd may have
    turned that back in between, and somebody may have set it again. A record that has not changed says nothing; in another
    one, and in what lies beside it, the backup's value gives way to what syncd writes, so that what is read counts as said
    since.

    :param columns: the page, as in ``state.records.store``
    """
    source, q = rel.source(stream), load("flags")
    if source is None or not columns:
        return
    was = {topic.id: topic.was for topic in rel.topics}
    place = {f.name: n for n, f in enumerate(rel.streams[stream], len(columns) - len(rel.streams[stream]))}
    for flag in source.flags:
        refusing = [value for value, meaning in flag.meanings.items() if meaning == "opt_out"]
        if "opt_in" not in flag.writes or not refusing:
            continue
        rows = [(rid, modified, None if hash_ is None else addresses.find(conn, hash_), into)
                for rid, modified, into, hash_, value in zip(
                    columns[0], columns[1], columns[3], columns[5], columns[place[flag.field]], strict=True)
                if value in refusing]
        if not rows:
            continue
        found = conn.execute(q["doubts"].replace(":table", rec(stream)).replace(":field", quote(flag.field)), {
            "rows": orjson.dumps(rows).decode(), "stream": stream, "refusing": orjson.dumps(refusing).decode(),
            "beside": "." in flag.field,
            "topics": None if flag.topic is None else orjson.dumps([flag.topic, *was[flag.topic]]).decode()}).fetchall()
        conn.executemany(f"UPDATE {rec(stream)} SET {quote(flag.field)} = ? WHERE record = ?",
                         ((flag.writes["opt_in"], row[0]) for row in found))


# --------------------------------------------------------------------------- what a page says

FLAG_OFFSET, FLAG_COLUMNS = 6, 5
"""Where the flags begin in a row of ``flag_changes``, and how many columns each has."""


def flag_inputs(rel: Relations, source: SourceDef) -> list[int]:
    """The places, among the stream's fields, of those that say what a record's flags mean."""
    read = [(flag.field, flag.said_at, flag.method, flag.person_made or "") for flag in source.flags]
    return [place for place, f in enumerate(rel.streams[source.stream])
            if any(f.name in (field, said_at, method) or field_sql(f.name) in made for field, said_at, method, made in read)]


def flag_changes(rel: Relations, source: SourceDef, every: bool = False) -> str | None:
    """Rows of ``page`` whose consent fields are new or different: (record, rid, fresh, address, hash, modified, then per
    flag its old value, new value, said_at, method, person_made). The person made nothing where nothing of the flag moved:
    what was found at a first link is not said again because another field of the record changed; nor where the value alone
    moved and her word of that date is known: then somebody set it again. A date that stood there before is no later than the
    record's last change. A tombstone counts when it is first read, and only what it holds. ``every``: those of all rows,
    changed or not. A condition may follow."""
    if not source.flags:
        return None
    slot = {f.name: f"f{i}" for i, f in enumerate(rel.streams[source.stream])}
    columns, different = [], []
    for flag in source.flags:
        old = f"x.{quote(flag.field)}"
        new = f"CASE WHEN p.deleted AND p.{slot[flag.field]} IS NULL THEN {old} ELSE p.{slot[flag.field]} END"
        written = f"p.{slot[flag.said_at]}" if flag.said_at else "NULL"
        said = said_sql(flag, written)
        method = f"p.{slot[flag.method]}" if flag.method else "NULL"
        made = _over_page(flag.person_made, slot) if flag.person_made else "0"
        # A confirmation may leave the box and its date as they were.
        own = [f"{old} IS NOT {new}", *(f"x.{quote(name)} IS NOT {value}"
                                        for name, value in ((flag.said_at, written), (flag.method, method)) if name)]
        told = " AND ".join(f"NOT ({condition})" for condition in own[1:]) or "0"
        moved = "1" if every else f"p.fresh OR (({' OR '.join(own)}) AND NOT ({told} AND {_heard(flag, said)}))"
        at = f"CASE WHEN x.{quote(flag.said_at)} IS {written} AND {said} > r.modified THEN r.modified ELSE {said} END" \
            if flag.said_at else said
        columns.append(f"{old}, {new}, {at}, {method}, CASE WHEN {moved} THEN {made} ELSE 0 END")
        different += own
    if every:
        different.append("1")
    return (f"SELECT p.record, p.rid, p.fresh, p.address, p.hash, p.modified, {', '.join(columns)} FROM page p"
            f" LEFT JOIN {rec(source.stream)} x ON x.record = p.record AND p.fresh = 0"
            " LEFT JOIN record r ON r.id = p.record"
            f" WHERE (p.fresh = 1 OR (NOT (p.deleted AND r.deleted) AND ({' OR '.join(different)})))")


def said_sql(flag: FlagDef, written: str) -> str:
    """SQL of the earliest instant (µs) that a value of the flag's ``said_at`` can mean. A day has begun at UTC+14 first."""
    return f"(CAST(strftime('%s', {written}) AS INTEGER) - 14 * 3600) * 1000000" if flag.daily else written


def _heard(flag: FlagDef, said: str) -> str:
    """SQL over the page: the person's opt-in of the date ``said`` is in the ledger."""
    words = f'["topic","{flag.topic}","opt_in"' if flag.topic is not None else '["master",null,"opt_in"'
    return ("EXISTS (SELECT 1 FROM entry e CROSS JOIN utterance u ON u.id = e.utterance AND u.person_made = 1"
            f" WHERE e.record = p.record AND e.said_lo = {said} AND instr(u.said, '{words}'))")


def _over_page(sql: str, slot: Mapping[str, str]) -> str:
    """A record expression re-addressed from the stored row to the arriving one."""
    for name, column in sorted(slot.items(), key=lambda item: -len(item[0])):
        sql = sql.replace(field_sql(name), f"p.{column}")
    return sql
