"""Relations that follow the mapping: their definitions, and the SQL generated from them.

The mapping's expressions arrive as finished scalar SQL over the aliases fixed here (``x`` a source's typed record table,
``a`` the person's attributes, ``d`` the person's decision); every FROM, JOIN and DDL is written in this package.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from syncd.model import FieldType

_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_.]{0,127}$")


def quote(name: str) -> str:
    """An identifier for SQL. Only names that vendors and mappings can have are let through.

    :raises ValueError: for anything else, so that no text of a file ever becomes SQL
    """
    if not _NAME.match(name):
        raise ValueError(f"not a usable name: {name!r}")
    return f'"{name}"'


SQL_TYPE: Mapping[str, str] = {
    "text": "TEXT", "id": "TEXT", "date": "TEXT", "choices": "TEXT",
    "bool": "INTEGER", "integer": "INTEGER", "decimal": "INTEGER", "money": "INTEGER", "instant": "INTEGER",
}
"""Column types; decimals and money are whole ten-thousandths."""


@dataclass(frozen=True, slots=True)
class FieldDef:
    name: str
    type: FieldType


@dataclass(frozen=True, slots=True)
class FlagDef:
    """A consent field of a CRM object. ``meanings`` maps a stored value to opt_in, opt_out or unknown, or to nothing (where
    it says as little after an opt_in); ``writes`` maps opt_in/opt_out to the value we write. No ``topic`` = the master flag.
    A record in which the field ``needs`` is empty cannot hold it."""

    field: str
    topic: str | None
    meanings: Mapping[str | int | None, str]
    writes: Mapping[str, str | int]
    said_at: str | None = None
    method: str | None = None
    person_made: str | None = None
    """SQL over ``x`` that is 1 where the person set the flag herself."""
    needs: str | None = None
    dated: bool = False
    """``said_at`` is the date of a refusal, too."""
    daily: bool = False
    """``said_at`` holds a day, without a time."""


@dataclass(frozen=True, slots=True)
class SourceDef:
    """One stream that feeds people. ``rank`` orders sources for survivorship, 0 first. SQL is over ``x``. ``names`` are the
    fields that make up a person's name."""

    stream: int
    name: str
    rank: int
    attributes: Mapping[str, str]
    where: str | None = None
    absorbs_into: int | None = None
    flags: tuple[FlagDef, ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RelatedDef:
    """A path from people to rows of another stream: person's record ← link.person_field, link.row_field → row;
    ``link`` None = the row itself carries ``person_field``."""

    name: str
    stream: int
    link: int | None
    person_field: str
    row_field: str | None
    person_streams: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AttributeDef:
    """``derived`` is SQL over ``a`` (base attributes and related paths); None = taken from the sources."""

    name: str
    type: str
    derived: str | None = None
    due: str | None = None


@dataclass(frozen=True, slots=True)
class TopicDef:
    """``was`` lists former ids: what was said about those was said about this topic."""

    id: str
    where: str | None
    opt_in: str
    due: str | None = None
    channel: str = "email"
    purpose: str = "marketing"
    unit: str | None = None
    was: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AudienceDef:
    """What one remote audience should hold. ``where``/``order_by`` are SQL over ``a``; ``fields`` are (remote column,
    SQL over a, type). Rows that are not ours are removed where the mapping owns all (``exclusive``); once, where it
    ``clears`` what was there before us."""

    object: int
    connection: int
    topic: str
    where: str | None
    fields: tuple[tuple[str, str, str], ...]
    key_column: str
    email_column: str
    segment: str | None = None
    order_by: str | None = None
    limit: int | None = None
    due: str | None = None
    exclusive: bool = False
    clears: bool = False

    @property
    def table(self) -> str:
        return f"target_{self.object}"

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name, _, _ in self.fields)


@dataclass(frozen=True, slots=True)
class ContainerDef:
    """A list whose status follows a topic's decision (``topic`` None = the container of all mail, of the business unit
    ``unit`` only where one is named)."""

    object: int
    connection: int
    container: str
    topic: str | None
    create_unknown: bool
    keyed_by: str = "key"
    unit: str | None = None
    account: str | None = None
    """Whose subscribers they are, where connections share them: who becomes one at one of these is one at all."""

    @property
    def about(self) -> str | None:
        """Whose decision it follows: a topic's, a business unit's, or None = that about all mail everywhere."""
        return self.topic or (unit_id(self.unit) if self.unit is not None else None)


@dataclass(frozen=True, slots=True)
class Relations:
    """Everything the mapping asks of the state; ``fingerprint`` changes when its meaning does."""

    fingerprint: str
    streams: Mapping[int, tuple[FieldDef, ...]]
    sources: tuple[SourceDef, ...]
    related: tuple[RelatedDef, ...]
    attributes: tuple[AttributeDef, ...]
    topics: tuple[TopicDef, ...]
    audiences: tuple[AudienceDef, ...]
    containers: tuple[ContainerDef, ...]
    key_values: Mapping[int, tuple[str, bool]] = field(default_factory=dict)
    """connection -> (SQL over a for a new key or "crm_id", whether existing subscribers are matched by address)."""
    join_by_address: str = "one_person"

    def sisters(self, container: ContainerDef) -> list[int]:
        """The connections of a container's account, its own among them."""
        return sorted({container.connection, *(c.connection for c in self.containers
                                               if c.account is not None and c.account == container.account)})

    @property
    def units(self) -> tuple[str, ...]:
        """The business units that have a decision of their own about all mail."""
        return tuple(sorted({c.unit for c in self.containers if c.unit is not None}))

    @property
    def decided(self) -> tuple[str, ...]:
        """What is decided about each person, beside all mail everywhere: topics, and all mail of each business unit."""
        return (*(t.id for t in self.topics), *map(unit_id, self.units))

    def forbids(self, topic: str) -> str:
        """SQL over d: a standing opt-out from all mail concerns the topic."""
        unit = next(t.unit for t in self.topics if t.id == topic)
        units = self.units if unit is None else [u for u in self.units if u == unit]
        return " OR ".join([f"d.master >= {OPTED_OUT}", *(f"d.{standing(unit_id(u))} >= {OPTED_OUT}" for u in units)])

    def exceptions(self, unit: str | None, connection: int | None = None) -> list[str]:
        """Topics that may be an exception of a stop of all mail: marketing mail that a destination (or the one of
        ``connection``) delivers there."""
        delivered = {a.topic for a in self.audiences if connection in (None, a.connection)}
        return [t.id for t in self.topics if t.id in delivered and t.purpose == "marketing" and t.channel == "email"
                and (unit is None or t.unit in (None, unit))]

    def came_back(self, unit: str | None, connection: int | None = None) -> str:
        """SQL over d, of somebody who stopped all mail: whether the stop has exceptions."""
        return " OR ".join([f"d.{mailable(t)} = 1" for t in self.exceptions(unit, connection)]) or "0"

    @property
    def switches(self) -> tuple[int, ...]:
        """The objects that hold a stop of all mail at a destination."""
        delivering = {a.connection for a in self.audiences}
        return tuple(c.object for c in self.containers if c.topic is None and c.connection in delivering)

    def source(self, stream: int) -> SourceDef | None:
        return next((s for s in self.sources if s.stream == stream), None)


# --------------------------------------------------------------------------- names the expressions use

def rec(stream: int) -> str:
    """The typed table of a record stream."""
    return f"rec_{stream}"


def field_sql(name: str) -> str:
    """A vendor field in a source expression."""
    return f"x.{quote(name)}"


def attribute_sql(name: str) -> str:
    """An attribute in a person expression."""
    return f"a.{quote(name)}"


def related_template(related: RelatedDef) -> str:
    """A correlated aggregate over a path, with the slots the expression emitter fills. Row fields are ``x``'s. A row that
    several links lead to (two roles in one order) counts once."""
    streams = ",".join(map(str, related.person_streams))
    person = f"pr.person = a.person AND pr.stream IN ({streams})"
    if related.link is None:
        return ("(SELECT {function}({argument}) FROM record pr"
                f" CROSS JOIN {rec(related.stream)} x ON x.{quote(related.person_field)} = pr.rid"
                f" CROSS JOIN record xr ON xr.id = x.record AND xr.deleted = 0 WHERE {person}"
                " AND ({filter}))")
    assert related.row_field is not None
    return ("(SELECT {function}({argument}) FROM (SELECT DISTINCT xr.id FROM record pr"
            f" CROSS JOIN {rec(related.link)} l ON l.{quote(related.person_field)} = pr.rid"
            " CROSS JOIN record lr ON lr.id = l.record AND lr.deleted = 0"
            f" CROSS JOIN record xr ON xr.stream = {related.stream} AND xr.rid = l.{quote(related.row_field)}"
            f" AND xr.deleted = 0 WHERE {person}) u"
            f" CROSS JOIN {rec(related.stream)} x ON x.record = u.id WHERE ({{filter}}))")


# --------------------------------------------------------------------------- DDL

def ddl(relations: Relations) -> dict[str, dict[str, str]]:
    """Table -> column -> declaration, for every table that follows the mapping."""
    tables: dict[str, dict[str, str]] = {}
    for stream, fields in relations.streams.items():
        tables[rec(stream)] = {"record": "INTEGER PRIMARY KEY"} | {
            quote(f.name): SQL_TYPE[f.type] for f in fields}
    tables["attr"] = {
        "person": "INTEGER PRIMARY KEY", "record": "INTEGER", "address": "INTEGER", "due": "INTEGER",
    } | {quote(a.name): SQL_TYPE[a.type] for a in relations.attributes}
    tables["decision"] = {"person": "INTEGER PRIMARY KEY", "position": "INTEGER", "master": "INTEGER"} | {
        column: "INTEGER" for name in relations.decided for column in (mailable(name), standing(name))}
    for audience in relations.audiences:
        tables[audience.table] = {
            "person": "INTEGER PRIMARY KEY", "key": "TEXT", "address": "INTEGER", "operation": "INTEGER",
        } | {quote(name): SQL_TYPE[kind] for name, _, kind in audience.fields}
    return tables


def indexes(relations: Relations) -> Iterable[str]:
    """Indexes for the instants at which answers flip, and for the paths from a related row back to its person."""
    yield "CREATE INDEX IF NOT EXISTS attr_due ON attr (due) WHERE due IS NOT NULL"
    for r in relations.related:
        for stream, column in ((r.link or r.stream, r.person_field), (r.link, r.row_field)):
            if stream is not None and column is not None:
                name = f"{rec(stream)}_{re.sub('[^A-Za-z0-9]', '_', column)}"
                yield f"CREATE INDEX IF NOT EXISTS {name} ON {rec(stream)} ({quote(column)})"


def unit_id(unit: str) -> str:
    """How all mail of a business unit is called among the topics; no topic's id has a dot."""
    return f"unit.{unit}"


def mailable(topic: str) -> str:
    """Decision column: 1 = the person may be mailed this topic."""
    return quote(f"mailable.{topic}")


def standing(topic: str) -> str:
    """Decision column: what was last validly said about this topic alone (see OPT codes)."""
    return quote(f"standing.{topic}")


NEVER_SAID, OPTED_IN, PENDING, OPTED_OUT, ADDRESS_OUT = 0, 1, 2, 3, 4
"""Codes of ``decision.master`` and ``decision.standing.*``. ADDRESS_OUT: somebody else, or nobody knows
who, refused at this address; the providers are told, the person's own CRM flags stay as they are."""


# --------------------------------------------------------------------------- storing a page

def store_page(relations: Relations, stream: int) -> dict[str, str]:
    """Statements that take ``page`` (see state/records.py) into the record tables."""
    fields = [quote(f.name) for f in relations.streams[stream]]
    slots = [f"f{i}" for i in range(len(fields))]
    moved = {f: f"x.{f} IS NOT p.{s}" for f, s in zip(fields, slots, strict=True)}
    table, source, different = rec(stream), relations.source(stream), " OR ".join(moved.values()) or "0"
    renamed = " OR ".join(moved[quote(name)] for name in source.names) if source is not None else ""
    columns = "".join(f", {f}" for f in fields)
    consent = {quote(flag.field) for flag in source.flags} if source is not None else set()
    told = ", ".join(f"{f} = coalesce(p.{s}, x.{f})" for f, s in zip(fields, slots, strict=True) if f in consent)
    updates = ", ".join(f"{f} = excluded.{f}" for f in fields)
    conflict = (f"DO UPDATE SET {updates} WHERE ({', '.join(fields)}) IS NOT "
                f"({', '.join(f'excluded.{f}' for f in fields)})") if fields else "DO NOTHING"
    return {
        "store": f"""INSERT INTO {table} (record{columns}) SELECT p.record{''.join(f', p.{s}' for s in slots)} FROM page p
            WHERE NOT p.deleted OR p.fresh ON CONFLICT (record) {conflict}""",
        # What a deleted record's consent fields hold was heard: when it is there again, that is what it may differ from.
        "told": f"UPDATE {table} AS x SET {told} FROM page p WHERE p.record = x.record AND p.deleted AND NOT p.fresh"
                if told else "",
        "renamed": f"p.deleted = 0 AND EXISTS (SELECT 1 FROM {table} x WHERE x.record = p.record AND ({renamed or 0}))",
        "moved": f"""INSERT INTO moved SELECT p.record FROM page p CROSS JOIN record r ON r.id = p.record
            LEFT JOIN {table} x ON x.record = p.record WHERE p.fresh = 0 AND (r.deleted <> p.deleted OR {different})""",
    }


def fan_out(relations: Relations, stream: int) -> Iterable[str]:
    """Statements that mark the people dirty whose related rows (in ``moved``) changed."""
    for r in relations.related:
        people = f"CROSS JOIN record pr ON pr.stream = {{s}} AND pr.rid = {{t}}.{quote(r.person_field)}"
        for person_stream in r.person_streams:
            if stream == (r.link or r.stream):
                yield (f"INSERT OR IGNORE INTO dirty SELECT pr.person FROM moved m CROSS JOIN {rec(stream)} x"
                       f" ON x.record = m.record {people.format(s=person_stream, t='x')}")
            if r.link is not None and stream == r.stream:
                assert r.row_field is not None
                yield (f"INSERT OR IGNORE INTO dirty SELECT pr.person FROM moved m CROSS JOIN record mr ON mr.id = m.record"
                       f" CROSS JOIN {rec(r.link)} l ON l.{quote(r.row_field)} = mr.rid"
                       f" {people.format(s=person_stream, t='l')}")
