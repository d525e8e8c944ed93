"""Wishes: what a chunk of people should have at each remote object, against what they effectively have.

Effective = the target (last acknowledged state) overlaid with operations in flight. An unsent wish is replaced by a newer
one; while an operation is in flight its person waits, except that a suppression never waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from state import db, drift, history, parcels
from state.queries import load
from state.relations import (
    NEVER_SAID,
    OPTED_IN,
    OPTED_OUT,
    AudienceDef,
    ContainerDef,
    FlagDef,
    Relations,
    SourceDef,
    mailable,
    quote,
    rec,
    standing,
)

PLANNED, HELD, QUEUED, SEALED, DONE, REJECTED, DROPPED = 0, 1, 2, 3, 10, 11, 12
SUPPRESS, GRANT, HARMLESS = 0, 1, 2
NEWCOMER = "block_newcomer"


_INSERT = ("INSERT INTO operation (connection, object, kind, class, person, record, key, address, columns, payload,"
           " before, permit, depends_on, state, run)")


def forget_wishes(conn: db.Connection) -> list[tuple[Any, ...]]:
    """Unsent operations of the chunk's people give way to what is computed now. Returns the opt-outs among them that were
    on their way to a lane (see ``still_queued``)."""
    q = load("plan")
    conn.execute(q["unranked"])
    parcels.unpack_people(conn)
    queued = [row[:-1] for row in conn.execute(q["forget_wishes"]) if row[-1]]
    conn.execute(q["wait"])
    return queued


def still_queued(conn: db.Connection, queued: Sequence[tuple[Any, ...]]) -> None:
    """An opt-out that was queued and is demanded again stays queued. The cycle plans the people of the express way once
    more, and until it has looked at everybody nothing it plans is released: a click would wait as long."""
    if queued:
        conn.executemany(load("plan")["still_queued"], queued)


def containers(conn: db.Connection, rel: Relations, run: int) -> None:
    """Status operations: opt-outs at every subscriber of the person, reopenings only where the decision says so."""
    db.scratch(conn, "shut", ["status INTEGER PRIMARY KEY", "person INTEGER"])
    for connection in sorted({c.connection for c in rel.containers if c.keyed_by == "key"}):
        conn.execute(load("plan")["shut"], {"connection": connection})
    for c in rel.containers:
        given = _given(c, rel, run)
        for name, sql in _container_sql(c, rel).items():
            if name != NEWCOMER:
                conn.execute(sql, given)


def newcomers(conn: db.Connection, rel: Relations, run: int) -> None:
    """Once the rows are planned: what those refuse who come to a destination by one."""
    for c in rel.containers:
        sql = _container_sql(c, rel).get(NEWCOMER)
        if sql is not None:
            conn.execute(sql, _given(c, rel, run))


def _given(c: ContainerDef, rel: Relations, run: int) -> Mapping[str, Any]:
    return {"connection": c.connection, "object": c.object, "container": c.container, "run": run,
            "create": int(c.create_unknown), "sisters": orjson.dumps(rel.sisters(c)).decode(),
            "mails": int(any(a.connection == c.connection for a in rel.audiences))}


def _container_sql(c: ContainerDef, rel: Relations) -> dict[str, str]:
    """A stop of all mail with exceptions: the lists of every other topic are shut, and only then the switch for all mail is
    opened, where a topic is delivered to which the person came back (``seal`` lets it wait)."""
    q = load("plan")
    names = ["block_address", "reopen_address"] if c.keyed_by == "address" else [
        "block_key", "block_unknown", "carry_key", "reopen_key", NEWCOMER]
    code = "d.master" if c.about is None else f"d.{standing(c.about)}"
    out, may, back = f"{code} >= {OPTED_OUT}", "1", "0"
    if c.object in rel.switches:
        back = f"({out} AND ({rel.came_back(c.unit, c.connection)}))"
        out = f"({out} AND NOT ({rel.came_back(c.unit)}))"
    elif c.topic is not None:
        may = f"d.{mailable(c.topic)} = 1"
        if c.connection in {a.connection for a in rel.audiences}:
            out = f"({out} OR (({rel.forbids(c.topic)}) AND NOT {may} AND ({rel.came_back(None)})))"
    reopened = (f"({back} OR ({may} AND ({code} = {OPTED_IN} OR ({code} = {NEVER_SAID}"
                f" AND (s.ours IS NOT NULL OR {history.TAKEN_BACK})))))")
    return {n: q[n].replace(":opted_out", out).replace(":reopened", reopened) for n in names}


def member(a: AudienceDef, rel: Relations) -> str:
    """SQL over a, d, p (address): whether the person belongs to the audience. Deny by default."""
    topic = next(t for t in rel.topics if t.id == a.topic)
    parts = ["a.address IS NOT NULL", "ad.undeliverable IS NULL", f"d.{mailable(a.topic)} = 1",
             "NOT " + _asked("ambiguous", "EXISTS (SELECT 1 FROM ambiguous m WHERE m.person = a.person)")]
    parts += [f"({where}) IS TRUE" for where in (topic.where, a.where) if where]
    if a.limit is not None:
        parts.append(f"EXISTS (SELECT 1 FROM rank_{a.object} q WHERE q.person = a.person)")
    return " AND ".join(parts)


def _asked(among: str, exists: str) -> str:
    """A question asked of each person only where it may be true of anybody: SQLite looks once whether the table (and its
    condition) ``among`` has rows at all."""
    return f"(EXISTS (SELECT 1 FROM {among}) AND {exists})"


def _refused(payload: str) -> str:
    """Whether the destination has refused this very row, and nobody looked at it since."""
    return _asked("quarantine WHERE closed_at IS NULL", "EXISTS (SELECT 1 FROM operation x"
                  " CROSS JOIN object b ON b.id = x.object CROSS JOIN quarantine z"
                  " ON z.connection = x.connection AND z.object = b.name AND z.key = x.key AND z.closed_at IS NULL"
                  f" WHERE x.person = c.person AND x.object = :object AND x.state = {REJECTED} AND x.key = k.key"
                  f" AND x.address IS a.address AND x.payload = json_array({payload}))")


_OWNER = "coalesce(whose.person, c.person)"
"""Who has a row now: its person may have been merged away, and ``whose`` is her record then."""
_OPTS_OUT = """EXISTS (SELECT 1 FROM json_each(u.said) s WHERE s.value->>2 = 'opt_out'
        AND NOT (s.value->>0 = 'topic' AND s.value->>1 IN (SELECT value FROM json_each(:others))))"""
"""Whether an utterance is a refusal, and not of other topics alone."""


def _refused_behind(owner: str, address: str) -> str:
    """Whether a row stands at an address its person has left, and somebody refused there since it was written, or whoever
    has the address now ever did. The row's new address may wait behind a hold; that it leaves this one must not. SQL over t,
    and for whose the row is now and which address that one has."""
    return f"""(t.person IS NOT NULL AND t.address IS NOT {address}
    AND (EXISTS (SELECT 1 FROM entry e CROSS JOIN utterance u ON u.id = e.utterance AND {_OPTS_OUT}
        WHERE e.address = t.address AND e.seen_at >= coalesce((SELECT g.sealed_at FROM operation o
          CROSS JOIN batch g ON g.id = o.batch WHERE o.id = t.operation), 0))
      OR EXISTS (SELECT 1 FROM record h CROSS JOIN record w ON w.person = h.person CROSS JOIN entry e ON e.record = w.id
        CROSS JOIN utterance u ON u.id = e.utterance AND {_OPTS_OUT}
        WHERE h.address = t.address AND h.deleted = 0 AND h.person <> {owner})))"""


def audience_sql(a: AudienceDef, rel: Relations) -> dict[str, str]:
    """The statements for one audience: ``upsert``, ``remove``. Bind what ``audiences`` gives."""
    source = ("chunk c CROSS JOIN attr a ON a.person = c.person CROSS JOIN decision d ON d.person = c.person"
              " CROSS JOIN address ad ON ad.id = a.address"
              " CROSS JOIN subscriber_key k ON k.connection = :connection AND k.person = c.person AND k.until = 0")
    wanted = member(a, rel)
    values = [sql for _, sql, _ in a.fields]
    old = [f"t.{quote(name)}" for name in a.columns]
    differs = " OR ".join(["t.person IS NULL", "t.key IS NOT k.key", "t.address IS NOT a.address",
                           *(f"{o} IS NOT ({v})" for o, v in zip(old, values, strict=True))])
    flying = _asked("operation WHERE state = 3", "EXISTS (SELECT 1 FROM operation f WHERE f.person = {p}.person"
                    " AND f.object = :object AND f.state = 3{more})")
    vanished = _asked("vanished", "EXISTS (SELECT 1 FROM vanished v WHERE v.object = :object AND v.person = c.person)")
    rejected = _asked("rejection", "EXISTS (SELECT 1 FROM rejection j WHERE j.object = :object AND j.person = c.person"
                      " AND j.kind = '{kind}')")
    payload, before = ", ".join(values), ", ".join(old)
    status = "o.kind = 'status' AND o.connection = :connection"
    depends = "(SELECT max(o.id) FROM operation o WHERE o.person = c.person AND o.state <= 3 AND ({}))"
    # Whoever changes from one segment of a topic to another leaves before entering.
    siblings = ",".join(str(s.object) for s in rel.audiences
                        if a.segment and s.segment and (s.connection, s.topic) == (a.connection, a.topic) and s != a)
    entering = f"({status}) OR (t.person IS NULL AND o.kind = 'remove' AND o.object IN ({siblings}))"
    first = f"CASE WHEN c.person <= :newest THEN {depends.format(entering if siblings else status)} END"
    behind = _refused_behind(_OWNER, "a.address")
    return {
        "upsert": f"""{_INSERT} SELECT :connection, :object, 'upsert',
            CASE WHEN t.key IS NOT k.key OR t.address IS NOT a.address THEN {GRANT} ELSE {HARMLESS} END,
            c.person, 0, k.key, a.address, :columns, json_array({payload}), iif(t.person IS NULL, NULL, json_array({before}))
            , d.position, {first}, iif(t.person IS NULL, :fresh, :state), :run
            FROM {source} LEFT JOIN {a.table} t ON t.person = c.person
            WHERE {wanted} AND ({differs}) AND NOT {flying.format(p='c', more='')}
            AND NOT {vanished} AND NOT (t.person IS NULL AND {rejected.format(kind='upsert')})
            AND NOT {_refused(payload)} AND NOT {_refused_behind('c.person', 'a.address')}""",
        "remove": f"""{_INSERT} SELECT :connection, :object, 'remove',
            CASE WHEN d.{mailable(a.topic)} = 1 AND NOT {behind} THEN {HARMLESS} ELSE {SUPPRESS} END,
            c.person, 0, coalesce(t.key, k.key), t.address, '[]', '[]',
            CASE WHEN t.person IS NULL THEN NULL ELSE json_array({before}) END,
            NULL, {depends.format(status)}, :state, :run
            FROM chunk c LEFT JOIN {a.table} t ON t.person = c.person
            LEFT JOIN subscriber_key k ON k.connection = :connection AND k.person = c.person AND k.until = 0
            LEFT JOIN record whose ON whose.id = iif(c.records = 0, c.person, NULL)   -- merged away: who has it now decides
            LEFT JOIN decision d ON d.person = {_OWNER}
            LEFT JOIN attr a ON a.person = {_OWNER} LEFT JOIN address ad ON ad.id = a.address
            WHERE (t.person IS NOT NULL OR {flying.format(p='c', more=" AND f.kind = 'upsert'")})
            AND coalesce(t.key, k.key) IS NOT NULL
            AND ({behind} OR {_OWNER} <> c.person OR ({wanted}) IS NOT TRUE)
            AND NOT {flying.format(p='c', more=" AND f.kind = 'remove'")}
            AND (coalesce(d.{mailable(a.topic)}, 0) <> 1
              OR NOT ({flying.format(p='c', more='')} OR {rejected.format(kind='remove')}))""",
    }


def forget_rejections(conn: db.Connection, a: AudienceDef, rel: Relations, parameters: Mapping[str, Any]) -> None:
    """What an operator rejected is asked anew once the wish was another in between: who was to leave is wanted again, who
    was to come is not wanted any more."""
    wanted = (f"EXISTS (SELECT 1 FROM attr a CROSS JOIN decision d ON d.person = a.person CROSS JOIN address ad"
              f" ON ad.id = a.address WHERE a.person = rejection.person AND {member(a, rel)})")
    conn.execute(f"DELETE FROM rejection WHERE object = :object AND person IN (SELECT person FROM chunk)"
                 f" AND (kind = 'remove') = {wanted}", {**parameters, "object": a.object})


def audiences(conn: db.Connection, rel: Relations, run: int, parameters: Mapping[str, Any]) -> None:
    """Row operations of every audience for the chunk. Rows of a first plan come by the million: they are queued at once, in
    a lane that its approval will open, the new ones in parcels."""
    shut = {row[0] for row in conn.execute("SELECT id FROM connection WHERE approved_at IS NULL")}
    by_id = {connection for connection, (value, _) in rel.key_values.items() if value == "crm_id"}
    topics = {a.topic for a in rel.audiences}
    parts, rejections = [], conn.execute("SELECT EXISTS (SELECT 1 FROM rejection)").fetchone()[0]
    for a in rel.audiences:
        columns = orjson.dumps(a.columns).decode()
        given = {**parameters, "connection": a.connection, "object": a.object, "run": run, "columns": columns,
                 "state": QUEUED if a.connection in shut else PLANNED,
                 "fresh": parcels.PACKED if a.connection in shut else PLANNED,
                 "by_id": a.connection in by_id,
                 "others": orjson.dumps(sorted(topics - {a.topic})).decode()}
        if rejections:
            forget_rejections(conn, a, rel, parameters)
        sql = audience_sql(a, rel)
        removed = conn.execute(sql["remove"], given).rowcount
        parts.append((sql["upsert"], given, removed))
        if removed:
            conn.execute(load("plan")["back_again"].replace(":mailable", f"d.{mailable(a.topic)} = 1"), given)
        conn.execute(drift.removals(a, f"{rel.forbids(a.topic)} OR d.{standing(a.topic)} >= {OPTED_OUT}"), given)
    newest = conn.execute("SELECT max(person) FROM operation").fetchone()[0]  # nothing of whoever is newer comes first
    for a, (upsert, given, removed) in zip(rel.audiences, parts, strict=True):
        count = conn.execute(upsert, {**given, "newest": newest}).rowcount
        if removed:
            conn.execute(load("plan")["after_the_other"], given)
        if a.connection in shut:
            parcels.pack(conn, a.connection, a.object, given["columns"], count)
        drift.remove_former(conn, a, run)


def drop_wishes(conn: db.Connection) -> None:
    """Leave of what is wished for the chunk's people only what keeps mail from them, and nothing at a connection whose first
    plan nobody has approved. Whoever calls this has the rest planned again."""
    conn.execute(load("plan")["drop_wishes"])


def release_suppressions(conn: db.Connection) -> int:
    """Queue what the chunk's people need not to be mailed, the only wishes left (``drop_wishes``). Returns how many."""
    return int(conn.execute(load("plan")["release_suppressions"]).rowcount)


# --------------------------------------------------------------------------- CRM flags

def flags(conn: db.Connection, rel: Relations, run: int, objects: Mapping[int, tuple[int, int]], *,
          only_suppressions: bool = False) -> None:
    """Write-backs: consent fields of the chunk's records that contradict the decision. ``objects``: stream ->
    (connection, object)."""
    for source in rel.sources:
        if not source.flags:
            continue
        db.scratch(conn, "against", ["record INTEGER PRIMARY KEY", "person INTEGER"])
        db.scratch(conn, "flagwish", ["record INTEGER", "field TEXT", "value", "before", "class INTEGER",
                                      "PRIMARY KEY (record, field)"])
        wishes = [_flag_wish(flag, meaning, rel) for flag in source.flags for meaning in flag.writes
                  if meaning == "opt_out" or "opt_out" in flag.meanings.values()]
        if not wishes:
            continue
        conn.execute(_against(source, [wish.differs for wish in wishes]))
        for wish in wishes:
            conn.execute(_wish(source, wish))
        conn.execute(load("plan")["only_suppressing_flags" if only_suppressions else "suppressing_flags_first"])
        connection, obj = objects[source.stream]
        conn.execute(load("plan")["update_records"], {"connection": connection, "object": obj, "run": run})


def rest_of_flags(conn: db.Connection, rel: Relations, batch: int) -> None:
    """Once a batch of updates is written: whoever's record still refuses what she came back to is dirty. A refusal goes to a
    record by itself, and first."""
    for source in rel.sources:
        left = [f"({_flag_wish(flag, 'opt_in', rel).differs})" for flag in source.flags
                if "opt_in" in flag.writes and "opt_out" in flag.meanings.values()]
        if left:
            conn.execute(
                "INSERT OR IGNORE INTO dirty SELECT o.person FROM operation o"
                f" CROSS JOIN record r ON r.id = o.record AND r.stream = {source.stream}"
                f" CROSS JOIN {rec(source.stream)} x ON x.record = r.id CROSS JOIN decision d ON d.person = o.person"
                f" WHERE o.batch = ? AND o.state = {SEALED} AND o.class = {SUPPRESS} AND ({' OR '.join(left)})", (batch,))


class FlagWish(NamedTuple):
    """A value that a consent field should have: where ``differs`` (SQL over d and x) and ``unless`` (over c and r) does not
    hold. The second asks much of other tables, and is asked about the few of whom the first is true."""

    field: str
    value: str
    class_: int
    differs: str
    unless: str


def _flag_wish(flag: FlagDef, meaning: str, rel: Relations) -> FlagWish:
    code = "d.master" if flag.topic is None else f"d.{standing(flag.topic)}"
    column, value = f"x.{quote(flag.field)}", _literal(flag.writes[meaning])
    refusing = [_literal(v) for v, said in flag.meanings.items() if said == "opt_out"]
    there = "1" if flag.needs is None else f"x.{quote(flag.needs)} IS NOT NULL"
    if meaning == "opt_out":
        already = " AND ".join(f"{column} IS NOT {v}" for v in sorted({*refusing, value}))
        return FlagWish(flag.field, value, SUPPRESS, f"{there} AND {code} = {OPTED_OUT} AND {already}", "0")
    refuses = " OR ".join(f"{column} IS {v}" for v in refusing)
    was = next((topic.was for topic in rel.topics if topic.id == flag.topic), ())
    return FlagWish(flag.field, value, GRANT, f"{there} AND {code} IN ({OPTED_IN}, {NEVER_SAID}) AND ({refuses})",
                    f"({code} = {NEVER_SAID} AND NOT {history.TAKEN_BACK}) OR {history.is_echo(flag, was)}")


def _against(source: SourceDef, differs: Sequence[str]) -> str:
    """One look at each of the chunk's records: those of which a consent field contradicts the decision."""
    return ("INSERT INTO against SELECT r.id, c.person FROM chunk c CROSS JOIN decision d ON d.person = c.person"
            f" CROSS JOIN record r ON r.person = c.person AND r.stream = {source.stream} AND r.deleted = 0"
            f" CROSS JOIN {rec(source.stream)} x ON x.record = r.id"
            f" WHERE ({' OR '.join(f'({condition})' for condition in differs)}) AND r.merged_into IS NULL")


def _wish(source: SourceDef, wish: FlagWish) -> str:
    field = quote(wish.field)
    return (f"INSERT INTO flagwish SELECT r.id, '{field[1:-1]}', {wish.value}, x.{field}, {wish.class_}"
            " FROM against c CROSS JOIN decision d ON d.person = c.person CROSS JOIN record r ON r.id = c.record"
            f" CROSS JOIN {rec(source.stream)} x ON x.record = r.id WHERE {wish.differs} AND NOT ({wish.unless})"
            f" AND NOT EXISTS (SELECT 1 FROM request q WHERE q.record = r.id AND q.field = '{field[1:-1]}'"
            f" AND q.reasserted > 0)")


def _literal(value: str | int | None) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(int(value))
    return "'" + value.replace("'", "''") + "'"
