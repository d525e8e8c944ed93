"""The mapping made into relations: every expression compiled, every stream, list and audience given its id in the state.

This is the only place where mapping, connectors' descriptions and state meet; the result holds no mapping word that the
steps would have to look up again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar, cast

from connectors.errors import ConnectorError, Misconfigured
from mappings import expressions as ex
from mappings.fields import record_fields
from mappings.model import ConsentField, PeopleSource, RelatedStream, StreamName
from mappings.model import Mapping as MappingFile
from mappings.online import no_box, unreadable, unseen
from mappings.problems import MappingProblems, Place, Problem
from mappings.types import Column, Compiled, ExpressionScope, Related, Type
from state import ledger
from state import relations as rel
from state.store import Store
from syncd.destinations import REST, DestinationCompiler, Wiring
from syncd.feeds import Feed
from syncd.model import AudienceDefinition, Field, FieldInfo, FieldType, StreamSpec
from syncd.sends import Containers

MEANINGS: tuple[Literal["opt_in"], Literal["opt_out"]] = ("opt_in", "opt_out")
NAME_ATTRIBUTES = ("first_name", "last_name", "name")
T = TypeVar("T")

CRM_ID_SQL = "(SELECT r.rid FROM record r WHERE r.id = a.record)"


@dataclass(slots=True)
class CompiledMapping:
    """The compiled mapping: relations for the state, feeds for pull, and what delivery and guard need."""

    relations: rel.Relations
    feeds: list[Feed]
    containers: dict[int, Containers]
    container_specs: dict[str, dict[str, StreamSpec]]
    record_objects: dict[int, tuple[int, int]]
    zones: frozenset[str]
    churn: dict[int, float]
    creates: dict[int, tuple[str, AudienceDefinition]] = field(default_factory=dict)
    audience_names: dict[int, str] = field(default_factory=dict)
    parts: dict[str, Compiled] = field(default_factory=dict)
    """Compiled rules by "topic offers", "segment top_100", "order top_100" (its first key), for explain."""
    unfit: dict[str, ConnectorError] = field(default_factory=dict)
    """What does not fit, by stream ("sf.Contact"), connection or ``REST``: while there is any, opt-outs are carried and
    nothing else."""
    unread: list[tuple[Feed, ConnectorError]] = field(default_factory=list)
    """The feeds that are left out meanwhile: what they hold might be taken for something else."""


class Compiler:
    """Compiles one mapping against one state. ``wiring`` by connection name.

    :param unfit: where given, what does not fit is put there and left out (docs/decisions/0022-what-fits.md); connections
        that could not be asked are there already
    """

    def __init__(self, mapping: MappingFile, store: Store, wiring: Mapping[str, Wiring],
                 unfit: dict[str, ConnectorError] | None = None) -> None:
        self.unfit = unfit
        self.unseen = bool(unfit)
        self.mapping = mapping
        self.store = store
        self.wiring = wiring
        self.types: dict[str, dict[str, FieldInfo]] = {}
        self.streams: dict[str, int] = {}
        self.fields: dict[str, tuple[Field, ...]] = {}
        self.zones: set[str] = set()
        self.parts: dict[str, Compiled] = {}
        self.attribute_types: dict[str, Type] = {}
        self.retyped: dict[str, ConnectorError] = {}

    def compile(self) -> CompiledMapping:
        """:raises MappingProblems: what only shows with the vendors' types or the state at hand, unless ``unfit`` takes it
        """
        self._try(REST, self._carry_on)
        self._streams()
        sources = tuple(self._source(rank, s) for rank, s in enumerate(self.mapping.people.sources.values()))
        related = {r.name: self._related(r) for r in self.mapping.related.values()}
        attributes = self._attributes(sources, related)
        scope = self._person_scope(related)
        topics = tuple(self._topic(t, scope) for t in self.mapping.topics)
        there = DestinationCompiler(self.mapping, self.store, self.wiring, scope, self._note, self._try).compile()
        relations = rel.Relations(
            self.mapping.fingerprint,
            {self.streams[s]: tuple(rel.FieldDef(f.name, f.type) for f in fields) for s, fields in self.fields.items()},
            sources, tuple(self._related_def(r) for r in self.mapping.related.values()), attributes, topics,
            tuple(there.audiences), tuple(there.containers), there.keys, self.mapping.people.same_email)
        objects = {}
        for source in sources:
            name = StreamName.parse(source.name)
            connection = self.wiring[name.connection].id
            objects[source.stream] = (connection, self.store.object(connection, name.object, "record"))
        feeds = [*self._record_feeds(sources, there.histories), *there.feeds]
        unread = [(feed, error) for feed in feeds if (error := self._unfit(feed)) is not None]
        left_out = {feed.stream for feed, _ in unread}
        return CompiledMapping(relations, [feed for feed in feeds if feed.stream not in left_out], there.known, there.specs,
                               objects, frozenset(self.zones), there.churn, there.creates, there.names, self.parts,
                               self.unfit or {}, unread)

    def _unfit(self, feed: Feed) -> ConnectorError | None:
        unfit = self.unfit or {}
        found = unfit.get(feed.name) or unfit.get(feed.name.partition(".")[0])
        return found or (self.retyped.get(feed.name) if unfit else None)

    def _try(self, of: str, job: Callable[[], T]) -> T | None:
        """``job()``; None where it does not fit, and that may be.

        :raises MappingProblems, ConnectorError: it may not
        """
        try:
            return job()
        except (MappingProblems, ConnectorError) as error:
            if self.unfit is None:
                raise
            if isinstance(error, ConnectorError):
                self.unfit.setdefault(of, error)
            elif not (of == REST and self.unseen):  # what follows from a connection that nobody could ask is not told too
                self.unfit.setdefault(of, Misconfigured(str(error), code="mapping", remedy="Correct the mapping or what it"
                                                        " names; then `syncd check --online`."))
            return None

    def _expression(self, of: str, text: str, scope: ExpressionScope, expect: Type | None, place: Place) -> Compiled | None:
        return self._try(of, lambda: ex.compile_expression(text, scope, expect=expect, place=place))

    def _carry_on(self) -> None:
        """A topic that somebody refused is still there, under this id or another: nobody would know the refusals else.

        :raises MappingProblems:
        """
        carried = {name for t in self.mapping.topics.values() for name in (t.id, *t.was)}
        with self.store.reading() as conn:
            refused = {t: words for t, words in ledger.refused_topics(conn).items() if t not in carried}
            lost = {t: count for t, words in refused.items() if (count := ledger.count_of(conn, words))}
        if lost:
            place = next((t.place for t in self.mapping.topics.values()), self.mapping.people.place)
            raise MappingProblems(
                Problem.at(place._replace(column=0), f'The topic "{topic}" is gone, and {count} opt-outs of it are known.',
                           f'Write "was: [{topic}]" at the topic that carries it on; one that is no longer mailed stays here'
                           " without a destination.") for topic, count in lost.items())

    # ------------------------------------------------------------------ streams

    def _streams(self) -> None:
        wanted = {name: list(fields) for name, fields in record_fields(self.mapping).items()}
        for name, source in self.mapping.people.sources.items():
            flag = self._master(source)
            if flag is not None and flag not in wanted.setdefault(name, []):
                wanted[name].append(flag)
        for name, fields in wanted.items():
            stream = StreamName.parse(name)
            wiring = self.wiring[stream.connection]
            info = wiring.catalogue.objects.get(stream.object)
            self.types[name] = {f.name: f for f in info.fields} if info else {}
            before = self._before(wiring.id, stream.object)
            if info is None and before:  # it cannot be seen now: what was read of it is not to be read again for that
                fields = [*before, *(f for f in fields if f not in before)]
            self.fields[name] = tuple(Field(f, self._type(name, f, before)) for f in fields)
            if any(before.get(f.name, f.type) != f.type for f in self.fields[name]):
                self.retyped[name] = Misconfigured(f"{name} has fields of another type than before.", code="mapping",
                                                   remedy="It is read again once the rest of the mapping fits.")
            row = self.store.stream(wiring.id, stream.object, "record", self._fields_text(name),
                                    self._tells(name))
            self.streams[name] = row.id

    def _tells(self, name: str) -> bool:
        """Whether a field of the stream says something about consent."""
        source = self.mapping.people.sources.get(name)
        return source is not None and (self._master(source) is not None or bool(source.also_stops) or any(
            f.stream == name for topic in self.mapping.topics.values() for f in topic.fields.values()))

    def _fields_text(self, name: str) -> str:
        return ",".join(f"{f.name}:{f.type}" for f in self.fields[name])

    def _before(self, connection: int, object_: str) -> Mapping[str, str]:
        """Field -> type as it was when the stream was compiled last."""
        rows = self.store.rows("SELECT fields FROM stream WHERE connection = ? AND object = ? AND kind = 'record'",
                               (connection, object_))
        return dict(f.split(":") for f in rows[0][0].split(",") if f) if rows else {}

    def _type(self, stream: str, name: str, before: Mapping[str, str]) -> FieldType:
        """A field that is hidden at present keeps its type: what was read of it stays, and reading on says what is wrong."""
        known = self.types[stream].get(name)
        return known.type if known else cast(FieldType, before.get(name, "text"))

    def _master(self, source: PeopleSource) -> str | None:
        if source.master is not None:
            return source.master
        stream = StreamName.parse(source.stream)
        info = self.wiring[stream.connection].catalogue.objects.get(stream.object)
        return info.master_flag if info else None

    def _record_feeds(self, sources: Iterable[rel.SourceDef], histories: Collection[tuple[str, str]]) -> list[Feed]:
        people = {s.name: s for s in sources}
        feeds = []
        for name, fields in self.fields.items():
            stream = StreamName.parse(name)
            wiring = self.wiring[stream.connection]
            index = {f.name: i for i, f in enumerate(fields)}
            source = self.mapping.people.sources.get(name)
            email = index.get(self._plain(source, "email") or "") if source is not None else None
            becomes = StreamName.parse(source.becomes).object if source is not None and source.becomes else None
            flags = {flag.field for flag in people[name].flags} if name in people else set()
            tracked = (StreamSpec(stream.object, "history", tuple(f for f in fields if f.name in flags))
                       if flags and (stream.connection, stream.object) in histories else None)
            spec = StreamSpec(stream.object, "record", fields, becomes=becomes)
            feeds.append(Feed(wiring.id, wiring.connector, name, spec, bool(flags), self.streams[name], email, True,
                              history=tracked))
        return feeds

    @staticmethod
    def _plain(source: PeopleSource, attribute: str) -> str | None:
        found = source.attributes.get(attribute)
        return found.field if found is not None else None

    # ------------------------------------------------------------------ sources

    def _record_scope(self, stream: str) -> ExpressionScope:
        columns = {f.name: Column(rel.field_sql(f.name), Type.of_field(f.type),
                                  self.types[stream][f.name].choices if f.name in self.types[stream] else ())
                   for f in self.fields[stream]}
        columns |= {name: Column("r.rid", Type.TEXT) for name in ("Id", "id")}
        return ExpressionScope(columns, {}, self.mapping.people.currency)

    def _source(self, rank: int, source: PeopleSource) -> rel.SourceDef:
        scope = self._record_scope(source.stream)
        attributes: dict[str, str] = {}
        for name, a in source.attributes.items():
            if a.expression is not None:
                compiled = self._expression(source.stream, a.expression.text, scope, None, a.expression.place)
                sql, kind = (compiled.sql, compiled.type) if compiled is not None else ("NULL", Type.NULL)
            else:
                column = scope.columns[a.field or ""]
                sql, kind = column.sql, column.type
            if a.currency is not None or a.currency_code is not None:
                kind = Type.MONEY
                attributes[f"{name}.currency"] = (scope.columns[a.currency].sql if a.currency is not None
                                                  else _text(a.currency_code or ""))
            attributes[name] = sql
            self._try(source.stream, functools.partial(self._agree, name, kind, a.place))
        where = None
        if source.where is not None:
            compiled = self._expression(source.stream, source.where.text, scope, Type.BOOL, source.where.place)
            where = compiled.sql if compiled is not None else None
        flags = [self._flag(topic.id, f, scope) for topic in self.mapping.topics.values()
                 for f in topic.fields.values() if f.stream == source.stream]
        flags += [self._flag(None, f, scope) for f in source.consents]
        master = self._master(source)
        for info in filter(None, map(self.types[source.stream].get, filter(None, (master, *source.also_stops)))):
            self._fit(source.stream, (*no_box(source, info.name, Type.of_field(info.type)), *unseen(source.place, info)))
        if master is not None:
            flags.append(rel.FlagDef(master, None, {1: "opt_out", 0: "unknown", None: "unknown"},
                                     {"opt_out": 1, "opt_in": 0}))
        flags += [rel.FlagDef(flag, None, {1: "opt_out", 0: "unknown", None: "unknown"}, {}) for flag in source.also_stops]
        into = self.streams.get(source.becomes) if source.becomes else None
        fields = {f.name for f in self.fields[source.stream]}
        names = tuple(f for a in NAME_ATTRIBUTES if (f := self._plain(source, a)) in fields)
        return rel.SourceDef(self.streams[source.stream], source.stream, rank, attributes, where, into, tuple(flags), names)

    def _agree(self, name: str, kind: Type, place: object) -> None:
        known = self.attribute_types.setdefault(name, kind)
        if known != kind and Type.NULL not in (known, kind):
            raise MappingProblems([Problem.at(place, f'attribute "{name}" is {kind} here and {known} elsewhere.',  # type: ignore[arg-type]
                                              "Convert one of them, so that every source gives the same type.")])

    def _flag(self, topic: str | None, f: ConsentField, scope: ExpressionScope) -> rel.FlagDef:
        self._fit(f.stream, unreadable(f, self.types[f.stream]))
        boolean = scope.columns[f.field].type == Type.BOOL
        def stored(value: str) -> str | int:
            return {"true": 1, "false": 0}.get(value, value) if boolean else value
        meanings: dict[str | int | None, str] = {**dict.fromkeys(f.silent, "nothing"),
                                                 **{stored(v): m for v, m in f.values.items()}}
        writes: dict[str, str | int] = {}
        for meaning in MEANINGS:
            value = f.value_for(meaning)
            if value is not None:
                writes[meaning] = stored(value)
        if boolean and "opt_out" not in writes:
            writes["opt_out"] = 0
        if boolean and "opt_in" not in writes and meanings.get(1) == "opt_out":
            writes["opt_in"] = 0  # who came back is not left with a box that says no: nobody could tick it again
        made = None
        if f.person_made is not None:
            columns = dict(scope.columns)
            for alias, source in (("method", f.method), ("said_at", f.said_at)):
                if source is not None:
                    columns[alias] = scope.columns[source]
            said = self._expression(f.stream, f.person_made.text, ExpressionScope(columns), Type.BOOL, f.person_made.place)
            made = said.where_sql if said is not None else None
        name = StreamName.parse(f.stream)
        info = self.wiring[name.connection].catalogue.objects.get(name.object)
        made_there = info is not None and info.properties.get("creates_individuals")
        return rel.FlagDef(f.field, topic, meanings, writes, f.said_at, f.method, made, None if made_there else f.needs,
                           f.dated, f.said_at is not None and scope.columns[f.said_at].type == Type.DATE)

    def _fit(self, of: str, problems: Iterable[Problem]) -> None:
        def told() -> None:
            if found := list(problems):
                raise MappingProblems(found)
        self._try(of, told)

    # ------------------------------------------------------------------ related rows

    def _related_def(self, r: RelatedStream) -> rel.RelatedDef:
        people = (self.streams[r.of],)
        if r.via is not None:
            return rel.RelatedDef(r.name, self.streams[r.stream], self.streams[r.via.stream], r.via.record_field,
                                  r.via.row_field, people)
        assert r.join is not None
        return rel.RelatedDef(r.name, self.streams[r.stream], None, r.join[0], None, people)

    def _related(self, r: RelatedStream) -> Related:
        scope = self._record_scope(r.stream)
        columns = {}
        for name, a in r.attributes.items():
            if a.expression is not None:
                compiled = self._expression(r.stream, a.expression.text, scope, None, a.expression.place)
                columns[name] = Column(compiled.sql, compiled.type) if compiled is not None else Column("NULL", Type.NULL)
                continue
            column = scope.columns[a.field or ""]
            currency = (scope.columns[a.currency].sql if a.currency is not None
                        else _text(a.currency_code) if a.currency_code is not None else None)
            kind = Type.MONEY if currency is not None else column.type
            columns[name] = Column(column.sql, kind, column.choices, currency)
        return Related(columns, rel.related_template(self._related_def(r)))

    # ------------------------------------------------------------------ people

    def _person_scope(self, related: Mapping[str, Related]) -> ExpressionScope:
        columns = {name: Column(rel.attribute_sql(name), kind,
                                currency_sql=rel.attribute_sql(f"{name}.currency") if kind == Type.MONEY else None)
                   for name, kind in self.attribute_types.items()}
        columns["crm_id"] = Column(CRM_ID_SQL, Type.TEXT)
        return ExpressionScope(columns, related, self.mapping.people.currency)

    def _attributes(self, sources: tuple[rel.SourceDef, ...],
                    related: Mapping[str, Related]) -> tuple[rel.AttributeDef, ...]:
        names = list(dict.fromkeys(n for s in sources for n in s.attributes))
        found = [rel.AttributeDef(n, str(self.attribute_types.get(n, Type.TEXT)).replace("null", "text"))
                 for n in names]
        declared = self.mapping.attributes
        self.attribute_types |= {a.name: Type(a.type) for a in declared.values()}
        scope = self._person_scope(related)
        compiled = {a.name: self._expression(REST, a.value.text, scope, Type(a.type), a.value.place)
                    for a in declared.values()}
        for name in _ordered({n: c.columns & declared.keys() if c is not None else () for n, c in compiled.items()}):
            c = compiled[name]
            if c is None:
                found.append(rel.AttributeDef(name, declared[name].type, "NULL"))
                continue
            self._note(f"attribute {name}", c)
            found.append(rel.AttributeDef(name, str(c.type), c.sql, c.due_sql))
            if c.type == Type.MONEY:
                found.append(rel.AttributeDef(f"{name}.currency", "text", c.currency_sql or "NULL"))
        return tuple(found)

    def _note(self, name: str, compiled: Compiled) -> None:
        self.parts[name] = compiled
        self.zones |= compiled.zones

    def _topic(self, topic_id: str, scope: ExpressionScope) -> rel.TopicDef:
        topic = self.mapping.topics[topic_id]
        texts = []
        if topic.personas:
            texts.append("(" + " or ".join(f"has(personas, '{p}')" for p in topic.personas) + ")")
        if topic.where is not None:
            texts.append(f"({topic.where.text})")
        where = due = None
        if texts:
            place = topic.where.place if topic.where is not None else topic.place
            compiled = self._expression(REST, " and ".join(texts), scope, Type.BOOL, place)
            if compiled is not None:
                self._note(f"topic {topic_id}", compiled)
            where, due = (compiled.sql, compiled.due_sql) if compiled is not None else ("NULL", None)
        return rel.TopicDef(topic_id, where, topic.opt_in, due, topic.channel, topic.purpose, topic.unit, topic.was)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _ordered(needs: Mapping[str, Iterable[str]]) -> list[str]:
    """Names so that each comes after those it needs; the checks have refused circles."""
    done: list[str] = []
    def visit(name: str) -> None:
        if name not in done:
            for other in needs[name]:
                visit(other)
            done.append(name)
    for name in needs:
        visit(name)
    return done
