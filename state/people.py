"""What is known about the dirty people, chunk by chunk: attributes, decisions, subscriber keys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import orjson

from state import db, ledger, relations
from state.queries import load
from state.relations import OPTED_OUT, Relations
from syncd.model import Scope, Statement

CHUNK = 5_000
"""People per transaction: about 100 ms of writing."""
NEAR = 4
"""A chunk is taken from a range of ids where it is one in so many of them."""
DEAR = 400
"""Of them at most so many who have to be folded one by one."""


class Decided(NamedTuple):
    """One person's decision as the table holds it: ``topics`` maps what ``Relations.decided`` names to (mailable, standing
    code); ``master`` is about all mail everywhere."""

    position: int
    master: int
    topics: Mapping[str, tuple[int, int]]


class Case(NamedTuple):
    """Everything the fold needs about one person. ``holders`` maps addresses to the people who hold them now."""

    person: int
    address: int | None
    statements: Sequence[Statement]
    holders: Mapping[int, frozenset[int]]


Fold = Callable[[Case], Decided]


def take(conn: db.Connection, rel: Relations, most: int = CHUNK) -> int:
    """Move up to ``most`` dirty people into ``chunk``; returns how many. Fewer where many of them have much to fold: such
    people come together, and are twenty times as dear as those of whom one thing is known."""
    count, first, last = map(int, conn.execute(load("people")["next"], (most,)).fetchone())
    given, near = {"first": first, "last": last}, last - first < NEAR * count
    if _take(conn, rel, "records_of_near" if near else "records_of_dirty", given) < count:
        conn.execute(load("people")["take_former"], given)
    dear = conn.execute(load("people")["dear"], (DEAR,)).fetchone() if count > DEAR else None
    return count if dear is None else count - int(conn.execute(load("people")["leave"], dear).rowcount)


def take_these(conn: db.Connection, rel: Relations, people: Iterable[int]) -> int:
    """Move these people into ``chunk``, dirty or not; at most CHUNK. Returns how many there are."""
    count = _take(conn, rel, "records_of_these", {"these": orjson.dumps(list(people)).decode()})
    return count - conn.execute(load("people")["nobody"]).rowcount


def _take(conn: db.Connection, rel: Relations, records: str, given: Mapping[str, int | str]) -> int:
    conn.execute("CREATE TEMP TABLE IF NOT EXISTS chunk (person INTEGER PRIMARY KEY, live INTEGER, records INTEGER,"
                 " record INTEGER, position INTEGER)")
    conn.execute("DELETE FROM chunk")
    streams = ",".join(str(s.stream) for s in rel.sources) or "NULL"
    sql = load("people")["take"].replace(":streams", streams).replace(":records", load("people")[records])
    return int(conn.execute(sql, given).rowcount)


def put_off(conn: db.Connection) -> None:
    """The chunk's people are done with for now, and to be looked at again later."""
    conn.execute(load("people")["put_off"])
    conn.execute(load("people")["done"])


def call_back(conn: db.Connection, most: int) -> int:
    """The next so many people who were put off are dirty again; how many that are."""
    q = load("people")
    conn.execute(q["call_back"], (most,))
    return int(conn.execute(q["called_back"], (most,)).rowcount)


def due(conn: db.Connection, rel: Relations, parameters: Mapping[str, Any]) -> None:
    """Store for each person of the chunk the instant at which a time-dependent rule next flips."""
    rules = [due for due in (*(a.due for a in rel.attributes), *(t.due for t in rel.topics),
                             *(a.due for a in rel.audiences)) if due]
    if not rules:
        return
    parts = [f"coalesce({rule}, 9223372036854775807)" for rule in rules]
    earliest = parts[0] if len(parts) == 1 else f"min({', '.join(parts)})"
    conn.execute(f"UPDATE attr AS a SET due = nullif({earliest}, 9223372036854775807)"
                 " WHERE a.person IN (SELECT person FROM chunk)", parameters)


def wake(conn: db.Connection, now: int, after: tuple[int, int], most: int) -> tuple[int, tuple[int, int]]:
    """The next so many people whose time-dependent answer has flipped become dirty. Returns how many those are, and
    (instant, person) of the last."""
    rows = conn.execute(load("people")["due"], (now, *after, most)).fetchall()
    conn.executemany("INSERT OR IGNORE INTO dirty VALUES (?)", ((person,) for _, person in rows))
    return len(rows), rows[-1] if rows else after


def everyone(conn: db.Connection, after: int, most: int) -> tuple[int, int]:
    """Of the next so many people, all become dirty. Returns how many there are, and the last of them."""
    count, upto = conn.execute(load("people")["range"], {"after": after, "most": most}).fetchone()
    conn.execute(load("people")["dirty_range"], {"after": after, "upto": upto})
    return int(count), int(upto)


def of_stream(conn: db.Connection, stream: int, since: int | None, after: str, most: int) -> tuple[int, str, int]:
    """Of the next so many records of a stream, the people of those changed ``since`` (µs; None: of all) become dirty.

    :returns: (records looked at, id of the last, people who became dirty)
    """
    q, given = load("views"), {"stream": stream, "since": since, "after": after, "most": most}
    count, upto = conn.execute(q["stream_range"], given).fetchone()
    return int(count), str(upto), int(conn.execute(q["dirty_stream"], {**given, "upto": upto}).rowcount)


# --------------------------------------------------------------------------- consent

def statements(rows: Iterable[Sequence[Any]], person: int | None = None) -> list[Statement]:
    """Rows of ``ledger.of_person``/``of_address`` as the fold's statements."""
    found = []
    for (position, subject, address, channel, said, source, method, made, lo, hi, seen, knowledge, retracts, purpose,
         baseline, evidence, unit, holder) in rows:
        for level, topic, state, *rest in orjson.loads(said):
            scope = Scope(level, topic, tuple(rest[0]) if rest else (), unit)
            found.append(Statement(
                position, subject, holder if person is None else person, address, channel, scope, state, source, method,
                bool(made), lo, hi, seen, knowledge, retracts, purpose, bool(baseline), bool(baseline), evidence))
    return found


def case(conn: db.Connection, person: int, address: int | None) -> Case:
    """Gather one person's case: its own statements, those of its address, those of whoever else holds that address, or held
    it last and has no record any more: wherever that one refused, the mailbox stays quiet for who is entered with it anew.
    """
    q = load("ledger")
    found = {(s.position, s.scope): s for s in statements(conn.execute(q["of_person"], (person,)), person)}
    holders: dict[int, frozenset[int]] = {}
    if address is not None:
        had = dict(conn.execute(load("people")["holders"], (address,)).fetchall())
        holders[address] = frozenset(other for other, holds in had.items() if holds) | {person}
        for s in statements(conn.execute(q["of_address"], (address,))):
            found.setdefault((s.position, s.scope), s)
        for other in had.keys() - {person}:
            for s in statements(conn.execute(q["of_person"], (other,)), other):
                left = s.state == "opt_out" and not had[other]
                found.setdefault((s.position, s.scope), replace(s, address=address) if left else s)
    return Case(person, address, _sure(conn, person, _seen(conn, list(found.values()))), holders)


def _seen(conn: db.Connection, said: list[Statement]) -> list[Statement]:
    """What an author knew ends before the first refusal that was nobody's she could see: that of a record which a merge, or
    another address, joined with hers only later. ``state.ledger.known`` looked no further than the person of that time."""
    refusals = [s for s in said if s.state == "opt_out"]
    if len(said) < 2 or not any(s.state == "opt_in" and s.knowledge for s in said):
        return said
    positions = orjson.dumps([s.position for s in said]).decode()
    of = {position: (record, joined)
          for position, record, joined in conn.execute(load("people")["joined"], (positions,)).fetchall()}

    def hidden(o: Statement, s: Statement) -> bool:
        if o.person != s.person or o.address == s.address or o.position not in of or s.position not in of:
            return False
        (one, since), (other, later) = of[o.position], of[s.position]
        return bool(one != other and not 0 < max(since, later) < s.position)

    found = []
    for s in said:
        if s.state == "opt_in" and s.knowledge:
            upto = min((o.position - 1 for o in refusals if o.position <= s.knowledge and hidden(o, s)), default=s.knowledge)
            found.append(replace(s, knowledge=upto))
        else:
            found.append(s)
    return found


def _sure(conn: db.Connection, person: int, said: list[Statement]) -> list[Statement]:
    """Without the opt-ins that might be somebody else's: as long as the records may be several people's, none of them comes
    back for another who refused. What was said under the address, or under a key, was said by any of them, whichever it is
    bound to."""
    q = load("people")
    if len(said) < 2 or conn.execute(q["is_ambiguous"], (person,)).fetchone() is None:
        return said
    record = dict(conn.execute(q["record_of_entries"], (person,)).fetchall())
    refusing = {record.get(s.position) for s in said if s.state == "opt_out"}
    return [s for s in said if s.state != "opt_in" or s.retracts is not None or not refusing
            or refusing == {record.get(s.position)} != {None}]


def decide(conn: db.Connection, rel: Relations, fold: Fold, default: Decided) -> None:
    """Fold every person of the chunk and store the decisions. People about whom nothing was ever said take ``default``;
    those with one and the same single baseline share one fold."""
    q = load("people")
    columns = [c for name in rel.decided for c in (relations.mailable(name), relations.standing(name))]
    names = ["person", "position", "master", *columns]
    insert = f"INSERT INTO decision ({', '.join(names)})"
    same = (f" ON CONFLICT (person) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in names[1:])}"
            f" WHERE ({', '.join(names[1:])}) IS NOT ({', '.join(f'excluded.{c}' for c in names[1:])})")
    marks, shaped = (",".join("?" * (fixed + len(columns))) for fixed in (3, 4))

    def values(decided: Decided) -> list[int]:
        return [v for name in rel.decided for v in decided.topics[name]]

    for table in ("alone (person INTEGER PRIMARY KEY, position, address, utterance, always, nowhere)",
                  "spoken (person INTEGER PRIMARY KEY)"):
        conn.execute(f"CREATE TEMP TABLE IF NOT EXISTS {table}")
        conn.execute(f"DELETE FROM {table.split()[0]}")
    left = conn.execute("SELECT count(*) FROM chunk").fetchone()[0] - conn.execute(q["single_baselines"]).rowcount
    if left:
        left -= conn.execute(q["spoken"]).rowcount
    shapes = []
    for *shape, person, address in conn.execute(q["shapes"]).fetchall():
        decided = fold(case(conn, person, address))
        shapes.append([*shape, decided.master, *values(decided)])
    db.scratch(conn, "answer", [f"{c} INTEGER" for c in ("utterance", "always", "nowhere", "master", *columns)]
               + ["PRIMARY KEY (utterance, always, nowhere)"], " WITHOUT ROWID")
    conn.executemany(f"INSERT INTO answer VALUES ({shaped})", shapes)
    conn.execute(f"{insert} SELECT l.person, l.position, w.master{''.join(f', w.{c}' for c in columns)} FROM alone l"
                 " CROSS JOIN answer w ON w.utterance = l.utterance AND w.always = l.always AND w.nowhere = l.nowhere"
                 f" WHERE true{same}")
    rows = []
    for person, address in conn.execute(q["cases"]).fetchall():
        decided = fold(case(conn, person, address))
        rows.append([person, decided.position, decided.master, *values(decided)])
    conn.executemany(f"{insert} VALUES ({marks}){same}", rows)
    if left:
        quiet = ", ".join(map(str, [default.position, default.master, *values(default)]))
        conn.execute(f"{insert} SELECT c.person, {quiet} FROM chunk c WHERE NOT EXISTS"
                     " (SELECT 1 FROM alone l WHERE l.person = c.person) AND NOT EXISTS"
                     f" (SELECT 1 FROM spoken s WHERE s.person = c.person){same}")
    refused = " OR ".join(f"d.{c} >= {OPTED_OUT}" for c in ("master", *map(relations.standing, rel.decided)))
    db.scratch(conn, "refusing", ["person INTEGER PRIMARY KEY"])
    conn.execute(q["refusing"].replace(":refused", refused))


# --------------------------------------------------------------------------- keys

def assign_keys(conn: db.Connection, rel: Relations, now: int) -> None:
    """Give each living person of the chunk its subscriber key at each destination, once and for good; what was said under
    that key before is theirs. Whoever's key is somebody else's for good waits in quarantine."""
    q = load("people")
    for connection, (value, match_email) in rel.key_values.items():
        given = {"connection": connection, "now": now}
        if conn.execute(q["any_taken"], given).fetchone()[0]:
            conn.execute(q["keys_free"], given)
        db.scratch(conn, "keyless", ["person INTEGER PRIMARY KEY", "record INTEGER", "address INTEGER"])
        left = conn.execute(q["keyless"], given).rowcount
        new = "r.rid" if value == "crm_id" else f"({value})"
        steps = [q["keys_existing"] if match_email else q["keys_alike"].replace(":value", new),
                 q["keys_new"].replace(":value", new)]
        if value == "crm_id":
            # Somebody keeps that key who had this record once, or has one of the same id elsewhere.
            steps.append(q["keys_new"].replace(":value", "r.rid || '.' || c.person"))
        for sql in steps:
            if left and (found := conn.execute(sql, given).rowcount):
                left -= found
                conn.execute(q["keys_found"], given) if left else conn.execute("DELETE FROM keyless")
        if left:
            conn.execute(q["keys_taken"].replace(":value", new), given)
        conn.executemany(q["more_was_said"], ledger.bind_chunk(conn, connection))
