"""Why somebody is, or is not, in a list: every rule taken apart with this person's values.

The same compiled SQL that decides is asked for one person, part by part, so the explanation cannot differ from the
answer. Indexed look-ups only: it takes as long with a million people as with ten. Shows personal data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from mappings.functions import clock_parameters
from mappings.model import Mapping as MappingFile
from mappings.types import Compiled, Type
from state.people import Case
from state.plan import member
from state.queries import load
from state.relations import AudienceDef, mailable, quote, rec
from state.store import Store
from syncd import subjects
from syncd.compile import CompiledMapping
from syncd.config import Config
from syncd.consent import RULES, Decision, TopicDecision
from syncd.guard import sort_of
from syncd.model import Micros
from syncd.normalise import decimal_text
from syncd.reconcile import Reconciler
from syncd.views import Json, instant

OPEN = {0: "planned", 1: "held", 2: "queued", 3: "sent"}
CLOSED = {10: "done", 11: "rejected", 12: "dropped"}


class Explainer:
    """Explains people of one state at one instant."""

    def __init__(self, store: Store, compiled: CompiledMapping, mapping: MappingFile, config: Config,
                 now: Micros) -> None:
        self.store = store
        self.compiled = compiled
        self.rel = compiled.relations
        self.mapping = mapping
        self.config = config
        self.bound = clock_parameters(now, compiled.zones)
        self.reconciler = Reconciler(self.rel.topics, config.policy.clock_tolerance)
        self.q = load("views")

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
        topics = {t.id: self._topic(t.id, person, decision, has_row) for t in self.rel.topics}
        return {
            "person": person, "ambiguous": ambiguous[0][0] if ambiguous else None,
            "waits_for_next_cycle": bool(self.store.rows(self.q["is_dirty"], {"person": person})[0][0]),
            "records": self._records(person, address), "attributes": self._attributes(person),
            "all_marketing": subjects.decision_json(decision.master), "blocked_by": list(decision.blocked_by),
            "topics": topics,
            "segments": {s: self._segment(s, person, topics, has_row) for s in self.mapping.segments},
            "statuses": [{"connection": c, "container": container or "all mail", "key": key, "status": status,
                          "since": instant(at), "origin": origin}
                         for c, container, key, status, at, origin in self.store.rows(
                             self.q["statuses_of"], {"person": person, "address": case.address})],
            "destinations": self._destinations(person)}

    def _records(self, person: int, address: int | None) -> list[Json]:
        found = []
        for id_, stream, connection, object_, rid, at, modified, deleted, merged, first in self.store.rows(
                self.q["records_of"], (person,)):
            fields = self.rel.streams.get(stream, ())
            values: Sequence[Any] = [None] * len(fields)
            if fields:
                rows = self.store.rows(f"SELECT {', '.join(quote(f.name) for f in fields)} FROM {rec(stream)}"
                                       " WHERE record = ?", (id_,))
                values = rows[0] if rows else values
            found.append({
                "stream": f"{connection}.{object_}", "id": rid, "has_this_address": address is None or at == address,
                "modified": instant(modified), "deleted": bool(deleted), "merged_into": merged,
                "first_seen": instant(first),
                "fields": {f.name: shown(v, f.type) for f, v in zip(fields, values, strict=True)}})
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

    def _topic(self, topic: str, person: int, decision: Decision, has_row: bool) -> Json:
        answer = decision.topics[topic]
        rule = self._rule(f"topic {topic}", person, has_row)
        why = [*self._obstacles(person, has_row), *self._consent_obstacle(topic, person, answer)]
        if rule is not None and rule["value"] is not True:
            why.append(f"the topic's rule is {_truth(rule['value'])}")
        return {"name": self.mapping.topics[topic].name, "in": not why,
                "why": why or [RULES[answer.rule]], "decision": subjects.decision_json(answer), "rule": rule}

    def _segment(self, segment: str, person: int, topics: Json, has_row: bool) -> Json:
        about = self.mapping.segments[segment]
        topic = topics[about.topic]
        rule = self._rule(f"segment {segment}", person, has_row)
        why = [] if topic["in"] else [f"not in the topic {about.topic}", *topic["why"]]
        if rule is not None and rule["value"] is not True:
            why.append(f"the segment's rule is {_truth(rule['value'])}")
        rank = self._rank(segment, person) if about.limit is not None else None
        if rank is not None and rank["place"] is None:
            why.append(f"not among the first {about.limit}")
        return {"topic": about.topic, "in": not why, "why": why or ["in the topic, and every part of the rule is true"],
                "rule": rule, "rank": rank}

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

    def _rule(self, name: str, person: int, has_row: bool) -> Json | None:
        """A rule with the value of every part for this person; None where there is no rule."""
        compiled = self.compiled.parts.get(name)
        if compiled is None:
            return None
        values = self._values([part.sql for part in compiled.parts], person) if has_row else None
        parts = [{"part": part.label, "value": None if values is None else shown(values[i], part.type)}
                 for i, part in enumerate(compiled.parts)]
        return {"value": parts[0]["value"] if parts else self._value(compiled, person), "parts": parts}

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
        """The place in a ranked segment, the own value of the first key and that of the last member."""
        audience = next((a for a in self.rel.audiences if a.segment == segment and a.limit is not None), None)
        if audience is None:
            return None
        members = [row[0] for row in self.store.rows(
            f"SELECT q.person FROM rank_{audience.object} q CROSS JOIN attr a ON a.person = q.person"
            f" ORDER BY {audience.order_by}, a.person", self.bound)]
        order = self.compiled.parts[f"order {segment}"]
        return {"limit": audience.limit, "members": len(members), "by": order.parts[0].label if order.parts else "",
                "place": members.index(person) + 1 if person in members else None,
                "value": self._value(order, person),
                "cutoff": self._value(order, members[-1]) if members else None}

    # ------------------------------------------------------------------ destinations

    def _destinations(self, person: int) -> list[Json]:
        keys = {name: (key, bool(existing)) for name, key, existing in self.store.rows(self.q["keys_of"], (person,))}
        operations = [_operation(row) for row in self.store.rows(self.q["operations_of"], (person,))]
        names = {id_: name for id_, name, *_ in self.store.rows(load("guard")["approved"])}
        found = []
        for audience in self.rel.audiences:
            connection = names[audience.connection]
            object_ = self.compiled.audience_names[audience.object]
            own = [o for o in operations if o["connection"] == connection and o["object"] == object_]
            key, existing = keys.get(connection, (None, False))
            found.append({
                "connection": connection, "object": object_, "topic": audience.topic, "segment": audience.segment,
                "key": key, "existed_before": existing, **self._target(audience, person),
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
     hold) = row
    return {"operation": id_, "connection": connection, "object": object_, "sort": sort_of(kind, class_, bool(fresh)),
            "state": OPEN.get(state) or CLOSED[state], "key": key, "columns": orjson.loads(columns),
            "after": None if payload is None else orjson.loads(payload),
            "before": None if before is None else orjson.loads(before), "permit": permit, "reason": reason,
            "at": instant(closed), "run": run, "hold": hold}


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
