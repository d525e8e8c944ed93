"""The destinations' half of the compiled mapping: what each audience should hold, which list follows which topic, under
which key people are known there, and the streams by which both are read back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from connectors.base import Connector
from mappings import expressions as ex
from mappings.model import Audience, Destination, Segment
from mappings.model import Mapping as MappingFile
from mappings.problems import MappingProblems, Problem
from mappings.types import Compiled, ExpressionScope, Type
from state import relations as rel
from state.store import Store
from syncd import sends
from syncd.feeds import Feed
from syncd.model import AudienceDefinition, Catalogue, FieldInfo, StreamSpec
from syncd.sends import Containers

T = TypeVar("T")

REST = "mapping"
"""What of a mapping does not fit, where no stream or connection is to blame."""


@dataclass(slots=True)
class Wiring:
    """What one connection offers the compiler."""

    id: int
    connector: Connector
    catalogue: Catalogue


@dataclass(slots=True)
class Destinations:
    """What compiling them gave. Audiences are known by their object's id in the state."""

    keys: Mapping[int, tuple[str, bool]]
    """As ``Relations.key_values``."""
    audiences: list[rel.AudienceDef] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)
    """Audience -> its name at the provider."""
    churn: dict[int, float] = field(default_factory=dict)
    """Audience -> the share of it that may leave in one cycle."""
    creates: dict[int, tuple[str, AudienceDefinition]] = field(default_factory=dict)
    """Audience -> connection, and how to create it there."""
    containers: list[rel.ContainerDef] = field(default_factory=list)
    known: dict[int, Containers] = field(default_factory=dict)
    """Connection -> what its lists mean."""
    specs: dict[str, dict[str, StreamSpec]] = field(default_factory=dict)
    """Connection's name -> container -> its status stream."""
    feeds: list[Feed] = field(default_factory=list)
    histories: set[tuple[str, str]] = field(default_factory=set)
    """(connection, object) where the vendor keeps field history."""


@dataclass(slots=True)
class Subscriptions:
    """What the mapping says about the lists of one connection."""

    topics: dict[str, list[str]] = field(default_factory=dict)
    """List -> the topics it stands for."""
    adopted: set[str] = field(default_factory=set)
    create_unknown: bool = False
    unit: str | None = None
    """The business unit that a stop of all mail there is limited to."""


def unit_is_wider(destination: Destination, catalogue: Catalogue) -> list[Problem]:
    """The problem of a unit whose stops of all mail hold for more than itself: they would be recorded too narrow."""
    people = catalogue.objects.get("subscribers")
    if destination.unit is None or people is None or people.properties.get("master_unsubscribe") != "ENTIRE_ENTERPRISE":
        return []
    return [Problem.at(
        destination.place, f'A stop of all mail here holds for the whole enterprise, not for the unit "{destination.unit}".',
        "Take the unit out of the mapping, or change the unsubscribe settings of the business unit.")]


def _of_its_size(destination: Destination, catalogue: Catalogue) -> None:
    """:raises MappingProblems: its unit is not"""
    if wide := unit_is_wider(destination, catalogue):
        raise MappingProblems(wide)


class Fit(Protocol):
    """Gives what a job gives, or None where it does not fit and that may be (``Compiler._try``)."""

    def __call__(self, of: str, job: Callable[[], T], /) -> T | None:
        """``of``: the connection or stream it is about."""


class DestinationCompiler:
    """Compiles the destinations of one mapping. ``scope`` is what an expression about a person may name; ``note`` is told
    each rule by its name, ``fit`` decides about what does not fit."""

    def __init__(self, mapping: MappingFile, store: Store, wiring: Mapping[str, Wiring], scope: ExpressionScope,
                 note: Callable[[str, Compiled], None], fit: Fit) -> None:
        self.mapping = mapping
        self.store = store
        self.wiring = wiring
        self.scope = scope
        self.note = note
        self.fit = fit

    def compile(self) -> Destinations:
        """:raises MappingProblems: what only shows with the vendors' types at hand"""
        for d in self.mapping.destinations.values():
            self.fit(d.connection, functools.partial(_of_its_size, d, self.wiring[d.connection].catalogue))
        found = Destinations({self.wiring[d.connection].id: self._key(d) for d in self.mapping.destinations.values()})
        self._audiences(found)
        for name, lists in self._subscriptions().items():
            self._containers(found, name, lists)
        self._row_feeds(found)
        return found

    def _key(self, destination: Destination) -> tuple[str, bool]:
        value = destination.key_value
        if value == "email":
            sql = "(SELECT ad.email FROM address ad WHERE ad.id = a.address)"
        else:
            sql = "crm_id" if value == "crm_id" else self.scope.columns[value].sql
        return sql, destination.key_existing == "match_email"

    # ------------------------------------------------------------------ audiences

    def _audiences(self, found: Destinations) -> None:
        for d in self.mapping.destinations.values():
            connection = self.wiring[d.connection].id
            clears = d.existing_members == "remove"
            found.audiences += [self._audience(connection, delivery.topic, None, delivery.audience, clears)
                                for delivery in d.topics.values() if delivery.audience is not None]
            for part in d.segments.values():
                segment = self.mapping.segments[part.segment]
                found.audiences.append(self._audience(connection, segment.topic, part.segment, part.audience,
                                                       clears))
                if segment.expected_churn is not None:
                    found.churn[found.audiences[-1].object] = segment.expected_churn
            for _, audience in d.audiences:
                object_ = self.store.object(connection, audience.object, "audience")
                found.names[object_] = audience.object
                if audience.create:
                    found.creates[object_] = (d.connection, self._definition(audience))

    def _audience(self, connection: int, topic: str, segment: str | None, audience: Audience,
                  clears: bool) -> rel.AudienceDef:
        object_ = self.store.object(connection, audience.object, "audience")
        columns = self.scope.columns
        fields = tuple((remote, columns[a].sql, str(columns[a].type).replace("null", "text"))
                       for remote, a in audience.fields.items())
        where = order = due = limit = None
        if segment is not None:
            s = self.mapping.segments[segment]
            rules = self.fit(REST, functools.partial(self._rules, s))
            conditions = ["0"]
            if rules is not None:
                conditions, order, due = rules
            limit = s.limit
            where = " AND ".join(conditions) or None
        return rel.AudienceDef(object_, connection, topic, where, fields, audience.primary_key, audience.email_field,
                               segment, order, limit, due, audience.rows == "exclusive", clears)

    def _rules(self, s: Segment) -> tuple[list[str], str | None, str | None]:
        """Conditions of a segment, its order, and when an answer flips, as SQL.

        :raises MappingProblems:
        """
        conditions, order, due = [], None, None
        if s.where is not None:
            compiled = ex.compile_expression(s.where.text, self.scope, expect=Type.BOOL, place=s.where.place)
            self.note(f"segment {s.id}", compiled)
            conditions.append(f"({compiled.sql}) IS TRUE")
            due = compiled.due_sql
        if s.order_by is not None:
            keys = ex.compile_order(s.order_by.text, self.scope, place=s.order_by.place)
            self.note(f"order {s.id}", keys[0].value)
            order = ", ".join(f"{k.value.sql}{' DESC' if k.descending else ''}" for k in keys)
            conditions += [f"{k.value.sql} IS NOT NULL" for k in keys]
        return conditions, order, due

    def _definition(self, audience: Audience) -> AudienceDefinition:
        kinds = {Type.MONEY: "decimal", Type.NULL: "text"}
        columns = self.scope.columns
        fields = tuple(FieldInfo(remote, kinds.get(columns[a].type, str(columns[a].type)))  # type: ignore[arg-type]
                       for remote, a in audience.fields.items())
        return AudienceDefinition(audience.key, audience.key, audience.primary_key, audience.email_field, fields)

    def _row_feeds(self, found: Destinations) -> None:
        """What the audiences hold, listed now and then to find rows that are not ours and rows that vanished."""
        by_id = {w.id: (name, w) for name, w in self.wiring.items()}
        for a in found.audiences:
            name, w = by_id[a.connection]
            object_ = found.names[a.object]
            row = self.store.stream(w.id, object_, "row", "", False)
            found.feeds.append(Feed(w.id, w.connector, f"{name}.{object_}", StreamSpec(object_, "row"), False, row.id,
                                    audience=a))

    # ------------------------------------------------------------------ lists

    def _subscriptions(self) -> dict[str, Subscriptions]:
        """What the mapping says about each connection's lists."""
        found = {name: Subscriptions() for name in self.wiring}
        delivered = {d.connection for d in self.mapping.destinations.values()}
        for topic in self.mapping.topics.values():
            for c in topic.lists.values():
                found[c.connection].topics.setdefault(c.container, []).append(topic.id)
                if c.connection not in delivered:
                    # The CRM's own list is where the mapping says that consent is held: who is on it has opted in.
                    found[c.connection].adopted.add(c.container)
        for d in self.mapping.destinations.values():
            own = found[d.connection]
            own.unit = d.unit
            own.create_unknown = d.unknown_subscriber == "create_unsubscribed"
            for t in d.topics.values():
                if t.publication_list is not None:
                    own.topics.setdefault(t.publication_list, []).append(t.topic)
                    if d.existing_members == "adopt":
                        own.adopted.add(t.publication_list)
        return found

    def _containers(self, found: Destinations, name: str, lists: Subscriptions) -> None:
        """The containers of one connection, and its streams that carry consent."""
        w = self.wiring[name]
        found.known[w.id] = Containers(w.id, name, {c: tuple(dict.fromkeys(ts)) for c, ts in lists.topics.items()},
                                       frozenset(lists.adopted), sends.audiences(self.mapping, name),
                                       sends.campaigns(self.mapping), lists.unit, sends.ids(self.mapping))
        specs = found.specs[name] = {}
        offered = self.fit(name, lambda: w.connector.feeds(list(lists.topics))) or []
        about_sends = next((spec for spec in offered if spec.kind == "send"), None)
        master: Feed | None = None
        for spec in offered:
            if spec.kind == "history":
                found.histories.add((name, spec.object))
                continue
            consent = spec.kind != "send"
            row = self.store.stream(w.id, spec.object, spec.kind, "", consent)
            feed = Feed(w.id, w.connector, f"{name}.{spec.object}", spec, consent, row.id,
                        master=master if spec.kind == "status" and w.connector.capabilities.flips_lists else None,
                        sends=about_sends if spec.kind == "event" else None)
            found.feeds.append(feed)
            if spec.kind == "status":
                master = feed if not spec.container else master
                specs[spec.container or ""] = spec
        people = w.catalogue.objects.get("subscribers")
        account = people.properties.get("account") if people is not None else None
        for container in specs:
            meant: list[str | None] = [None] if container == "" else [*dict.fromkeys(lists.topics.get(container, ()))]
            found.containers.extend(rel.ContainerDef(
                self.store.object(w.id, container, "container"), w.id, container, topic_id,
                lists.create_unknown, w.connector.capabilities.keyed_by,
                lists.unit if topic_id is None else None, str(account) if account else None) for topic_id in meant)
