"""Why somebody is, or is not, in a list: every rule taken apart with this person's values.

The same compiled SQL that decides is asked for one person, part by part, so the explanation cannot differ from the
answer. Everything comes from the state, by indexed look-ups: it takes as long with a million people as with ten, and no
connection is asked. Shows personal data.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from mappings.functions import clock_parameters
from mappings.model import Mapping as MappingFile
from mappings.types import Compiled, Type
from state.people import Case
from state.plan import member
from state.queries import load
from state.relations import AudienceDef, FlagDef, mailable, quote, rec
from state.store import Store
from syncd.compile import CompiledMapping
from syncd.config import Config
from syncd.consent import RULES, Decision, TopicDecision
from syncd.desk import subjects
from syncd.desk.views import Json, instant
from syncd.model import Micros
from syncd.normalise import decimal_text
from syncd.pending import sort_of
from syncd.reconcile import Reconciler, senders_of

OPEN = {0: "planned", 1: "held", 2: "queued", 3: "sent"}
CLOSED = {10: "done", 11: "rejected"}


@dataclass(frozen=True, slots=True)
class Person:
    """What the parts of an explanation share: the case and its decision, the records with the values as they are stored,
    the writes (newest first), and what keeps the person out of every list, consent aside."""

    case: Case
    decision: Decision
    records: Sequence[tuple[Json, int, Mapping[str, Any]]]
    operations: Sequence[Json]
    has_row: bool
    obstacles: Sequence[str]
    stopped: frozenset[str]
    """Connections that hold a stop of all mail under a key of this person's."""

    @property
    def id(self) -> int:
        return self.case.person


class Explainer:
    """Explains people of one state at one instant."""

    def __init__(self, store: Store, compiled: CompiledMapping, mapping: MappingFile, config: Config,
                 now: Micros) -> None:
        self.store = store
        self.compiled = compiled
        self.rel = compiled.relations
        self.mapping = mapping
        self.config = config
        self.now = now
        self.bound = clock_parameters(now, compiled.zones)
        self.reconciler = Reconciler(self.rel.topics, config.policy.clock_tolerance, senders=senders_of(mapping))
        self.q = load("views")
        self.records = {object_ for _, object_ in compiled.record_objects.values()}
        """Ids of the CRM objects we write."""

    def as_of(self, described: Micros | None) -> Json:
        """How old what is told may be: the stream whose last complete reading is longest ago, and when the connections
        were described."""
        streams = [feed.stream for feed in self.compiled.feeds if feed.audience is None]
        read = self.store.rows(self.q["read_to_end"], (orjson.dumps(streams).decode(),))
        stream, oldest = min(read, key=lambda row: row[1] or 0, default=(None, None))
        return {"now": instant(self.now), "read_to_end": instant(oldest), "oldest_stream": stream,
                "described": instant(described)}

    def explain(self, address: str | None, crm_id: str | None) -> Json:
        """Everybody who holds, or held, an address; or the person of one CRM record.

        :raises Failure: the address is none, the record is unknown
        """
        if address is not None:
            subject = subjects.at_address(self.store, self.config, address)
        else:
            subject = subjects.at_record(self.store, crm_id or "")
        cases = [subjects.case_of(self.store, person) for person in subject.people]
        at = [subjects.case_at(self.store, subject.address)] if subject.address is not None else []
        said: dict[tuple[Any, ...], Json] = {}
        for case in (*cases, *at):
            for s in subjects.statements_json(case):
                said.setdefault((s["position"], s["level"], s["topic"] or "", s["state"]), s)
        return {"address": subject.email, "undeliverable_since": instant(subject.undeliverable),
                "people": [self._person(case, subject.address) for case in cases],
                "statements": [said[key] for key in sorted(said)]}

    # ------------------------------------------------------------------ one person

    def _person(self, case: Case, address: int | None) -> Json:
        person = case.person
        decision = self.reconciler.decision(case)
        ambiguous = self.store.rows(self.q["ambiguous"], (person,))
        has_row = bool(self.store.rows("SELECT 1 FROM attr WHERE person = ?", (person,)))
        operations = [_operation(row) for row in self.store.rows(self.q["operations_of"], {"person": person})]
        statuses = self.store.rows(self.q["statuses_of"], {"person": person, "address": case.address})
        one = Person(case, decision, self._records(person, address), operations, has_row, self._obstacles(person, has_row),
                     frozenset(c for c, container, _, status, *_ in statuses if not container and status == "unsubscribed"))
        topics = {t.id: self._topic(t.id, one) for t in self.rel.topics}
        return {
            "person": person, "ambiguous": ambiguous[0][0] if ambiguous else None,
            "waits_for_next_cycle": bool(self.store.rows(self.q["is_dirty"], {"person": person})[0][0]),
            "records": [record for record, _, _ in one.records], "attributes": self._attributes(person),
            "all_marketing": self._said(one, None, decision.master), "blocked_by": list(decision.blocked_by),
            "topics": topics,
            "segments": {s: self._segment(s, one, topics) for s in self.mapping.segments},
            "statuses": [{"connection": c, "container": container or "all mail", "key": key, "status": status,
                          "since": instant(at), "origin": origin}
                         for c, container, key, status, at, origin in statuses],
            "destinations": self._destinations(one)}

    def _records(self, person: int, address: int | None) -> list[tuple[Json, int, Mapping[str, Any]]]:
        """Each record as it is shown, its stream, and its values as they are stored."""
        found: list[tuple[Json, int, Mapping[str, Any]]] = []
        for id_, stream, connection, object_, rid, at, modified, deleted, merged, first in self.store.rows(
                self.q["records_of"], (person,)):
            fields = self.rel.streams.get(stream, ())
            values: Sequence[Any] = [None] * len(fields)
            if fields:
                rows = self.store.rows(f"SELECT {', '.join(quote(f.name) for f in fields)} FROM {rec(stream)}"
                                       " WHERE record = ?", (id_,))
                values = rows[0] if rows else values
            record = {
                "stream": f"{connection}.{object_}", "id": rid, "has_this_address": address is None or at == address,
                "modified": instant(modified), "deleted": bool(deleted), "merged_into": merged,
                "first_seen": instant(first),
                "fields": {f.name: shown(v, f.type) for f, v in zip(fields, values, strict=True)}}
            found.append((record, stream, {f.name: v for f, v in zip(fields, values, strict=True)}))
        return found

    def _attributes(self, person: int) -> Json:
        names = [a.name for a in self.rel.attributes]
        if not names:
            return {}
        rows = self.store.rows(f"SELECT {', '.join(map(quote, names))} FROM attr WHERE person = ?", (person,))
        if not rows:
            return {}
        declared = self.mapping.attributes
        return {a.name: {"value": shown(value, a.type), "type": a.type,
                         "origin": declared[a.name].origin if a.name in declared else "source"}
                for a, value in zip(self.rel.attributes, rows[0], strict=True)}

    # ------------------------------------------------------------------ topics and segments

    def _topic(self, topic: str, one: Person) -> Json:
        answer = one.decision.topics[topic]
        rule = self._rule(f"topic {topic}", one)
        why = [*one.obstacles, *self._consent_obstacle(topic, one.id, answer)]
        if rule is not None and rule["value"] is not True:
            why.append(f"the topic's rule is {_truth(rule['value'])}")
        objects = {c.object for c in self.rel.containers if c.topic == topic} | {
            a.object for a in self.rel.audiences if a.topic == topic and a.segment is None}
        delivering = {d.connection for d in self.mapping.destinations.values() if topic in d.topics}
        return {"name": self.mapping.topics[topic].name, "in": not why, "why": why or [RULES[answer.rule]],
                "held_back_by": sorted(delivering & one.stopped) if not why else [],
                **self._said(one, topic, answer, objects), "rule": rule}

    def _said(self, one: Person, topic: str | None, answer: TopicDecision, objects: Collection[int] = ()) -> Json:
        """What was decided about a topic (None: all marketing), on which statement, beside which values in the CRM, and
        the last write of it to each remote object. ``objects`` = its audiences and lists."""
        flags = {source.stream: [f for f in source.flags if f.topic == topic] for source in self.rel.sources}
        if topic is None:
            objects = {c.object for c in self.rel.containers if c.topic is None}
        fields = {f.field for found in flags.values() for f in found}
        last: dict[Any, Json] = {}
        for o in one.operations:
            if o["state"] in CLOSED.values() and (o["object_id"] in objects or (o["object_id"] in self.records and not
                                                                         fields.isdisjoint(o["columns"]))):
                last.setdefault((o["object_id"], o["key"]), o)
        return {"decision": subjects.decision_json(answer),
                "deciding": subjects.deciding_json(one.case, topic, answer.position),
                "values": [_flag(record, values, flag) for record, stream, values in one.records
                           if not record["deleted"] for flag in flags.get(stream, ())],
                "last_writes": list(last.values())}

    def _segment(self, segment: str, one: Person, topics: Json) -> Json:
        about = self.mapping.segments[segment]
        topic = topics[about.topic]
        rule = self._rule(f"segment {segment}", one)
        why = [] if topic["in"] else [f"not in the topic {about.topic}", *topic["why"]]
        if rule is not None and rule["value"] is not True:
            why.append(f"the segment's rule is {_truth(rule['value'])}")
        rank = self._rank(segment, one.id) if about.limit is not None else None
        if rank is not None and rank["place"] is None:
            why.append(f"not among the first {about.limit}")
        objects = {a.object for a in self.rel.audiences if a.segment == segment}
        return {"topic": about.topic, "in": not why, "why": why or ["in the topic, and every part of the rule is true"],
                "rule": rule, "rank": rank,
                "last_write": next((o for o in one.operations if o["object_id"] in objects
                                    and o["state"] in CLOSED.values()), None)}

    def _obstacles(self, person: int, has_row: bool) -> list[str]:
        """What keeps a person out of every list, consent aside."""
        if not has_row:
            return ["no record of this person is synced: all are deleted, or left out by their source's where"]
        address = self.store.rows("SELECT address FROM attr WHERE person = ?", (person,))[0][0]
        if address is None:
            return ["no usable e-mail address"]
        found = []
        if self.store.rows(self.q["address_by_id"], (address,))[0][2] is not None:
            found.append("mail to the address bounces")
        if self.store.rows(self.q["ambiguous"], (person,)):
            found.append("it is not clear which records are this person's")
        return found

    def _consent_obstacle(self, topic: str, person: int, answer: TopicDecision) -> list[str]:
        """What is stored decides; if the ledger says otherwise by now, the next cycle will."""
        rows = self.store.rows(f"SELECT {mailable(topic)} FROM decision WHERE person = ?", (person,))
        stored = bool(rows and rows[0][0])
        if stored != answer.mailable:
            return ["something was said that the next cycle will decide about"] if answer.mailable else [
                RULES[answer.rule], "the next cycle takes the person out"]
        return [] if stored else [RULES[answer.rule]]

    def _rule(self, name: str, one: Person) -> Json | None:
        """A rule with the value of every part for this person; None where there is no rule."""
        compiled = self.compiled.parts.get(name)
        if compiled is None:
            return None
        values = self._values([part.sql for part in compiled.parts], one.id) if one.has_row else None
        parts = [{"part": part.label, "value": None if values is None else shown(values[i], part.type)}
                 for i, part in enumerate(compiled.parts)]
        return {"value": parts[0]["value"] if parts else self._value(compiled, one.id), "parts": parts}

    def _values(self, expressions: Sequence[str], person: int) -> Sequence[Any] | None:
        if not expressions:
            return ()
        columns = ", ".join(f"({sql})" for sql in expressions)
        rows = self.store.rows(f"SELECT {columns} FROM attr a CROSS JOIN decision d ON d.person = a.person"
                               " WHERE a.person = :person", {**self.bound, "person": person})
        return rows[0] if rows else None

    def _value(self, compiled: Compiled, person: int) -> Any:
        values = self._values([compiled.sql], person)
        return None if values is None else shown(values[0], compiled.type)

    def _rank(self, segment: str, person: int) -> Json | None:
        """The place in a ranked segment, the own value of the first key and that of the last member, as of the last
        ranking."""
        audience = next((a for a in self.rel.audiences if a.segment == segment and a.limit is not None), None)
        if audience is None:
            return None
        table = f"rank_{audience.object}"
        last, members = self.store.rows(f"SELECT person, max(place) FROM {table}")[0]
        place = self.store.rows(f"SELECT place FROM {table} WHERE person = ?", (person,))
        order = self.compiled.parts[f"order {segment}"]
        return {"limit": audience.limit, "members": members or 0, "by": order.parts[0].label if order.parts else "",
                "place": place[0][0] if place else None, "value": self._value(order, person),
                "cutoff": self._value(order, last) if last is not None else None}

    # ------------------------------------------------------------------ destinations

    def _destinations(self, one: Person) -> list[Json]:
        keys: dict[str, tuple[str, bool]] = {}
        others: dict[str, dict[str, list[str]]] = {}
        for name, key, existing, until in self.store.rows(self.q["keys_of"], (one.id,)):
            if until == 0:
                keys[name] = (key, bool(existing))
            else:
                others.setdefault(name, {}).setdefault("moves_to" if until < 0 else "moved_from", []).append(key)
        names = {id_: name for id_, name, *_ in self.store.rows(load("guard")["approved"])}
        taken = dict(self.store.rows(self.q["key_taken"], (one.id,)))
        found = []
        for audience in self.rel.audiences:
            connection = names[audience.connection]
            object_ = self.compiled.audience_names[audience.object]
            own = [o for o in one.operations if o["object_id"] == audience.object]
            key, existing = keys.get(connection, (None, False))
            found.append({
                "connection": connection, "object": object_, "topic": audience.topic, "segment": audience.segment,
                "key": key, "existed_before": existing, "other_keys": others.get(connection, {}),
                "waits": taken.get(connection), **self._target(audience, one.id),
                "last_write": next((o for o in own if o["state"] == "done"), None),
                "pending": [o for o in own if o["state"] in OPEN.values()]})
        return found

    def _target(self, audience: AudienceDef, person: int) -> Json:
        """Whether the row is there, as far as was acknowledged, with its values; and whether it should be."""
        columns = "".join(f", {quote(c)}" for c in audience.columns)
        rows = self.store.rows(f"SELECT key{columns} FROM {audience.table} WHERE person = ?", (person,))
        wanted = self.store.rows(
            "SELECT 1 FROM attr a CROSS JOIN decision d ON d.person = a.person"
            " CROSS JOIN address ad ON ad.id = a.address"
            f" WHERE a.person = :person AND {member(audience, self.rel)}", {**self.bound, "person": person})
        values = {name: shown(value, kind) for (name, _, kind), value in zip(audience.fields, rows[0][1:], strict=True)
                  } if rows else None
        return {"in": bool(rows), "wanted": bool(wanted), "values": values}


def _operation(row: Sequence[Any]) -> Json:
    (id_, connection, object_, kind, class_, fresh, state, key, columns, payload, before, permit, reason, closed, run,
     hold, object_id) = row
    return {"operation": id_, "connection": connection, "object": object_, "object_id": object_id,
            "sort": sort_of(kind, class_, bool(fresh)),
            "state": OPEN.get(state) or CLOSED[state], "key": key, "columns": orjson.loads(columns),
            "after": None if payload is None else orjson.loads(payload),
            "before": None if before is None else orjson.loads(before), "permit": permit, "reason": reason,
            "at": instant(closed), "run": run, "hold": hold}


def _flag(record: Json, values: Mapping[str, Any], flag: FlagDef) -> Json:
    """A consent field of one record: its value, what the mapping says that means, and who is said to have set it when."""
    fields = record["fields"]
    return {"stream": record["stream"], "id": record["id"], "field": flag.field, "value": fields[flag.field],
            "means": flag.meanings.get(values[flag.field], "unknown"),
            "lacks": flag.needs if flag.needs is not None and fields[flag.needs] is None else None,
            "said_at": fields[flag.said_at] if flag.said_at else None,
            "method": fields[flag.method] if flag.method else None}


def _truth(value: Any) -> str:
    return "unknown (a value is missing)" if value is None else str(value).lower()


def shown(value: Any, kind: str) -> Any:
    """A stored value as people write it."""
    if value is None:
        return None
    if kind in (Type.DECIMAL, Type.MONEY):
        return decimal_text(int(value))
    if kind == Type.INSTANT:
        return instant(int(value))
    if kind == Type.BOOL:
        return bool(value)
    if kind == Type.CHOICES:
        return [part for part in str(value).split(";") if part]
    return value
