"""Salesforce as a CRM: the verbs of ``connectors.base.Connector``."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from connectors.base import CallCounter, Capabilities
from connectors.errors import ConnectorError, LostReply, Misconfigured, RejectRecord
from connectors.http import Http
from connectors.salesforce import erasing
from connectors.salesforce.consent.joining import Joined
from connectors.salesforce.consent.objects import INDIVIDUAL, Consents, is_consent
from connectors.salesforce.consent.writing import COLLECTION, Wishes, worst
from connectors.salesforce.health import examine
from connectors.salesforce.records.reading import Cursor, Reader
from connectors.salesforce.records.source import Source, history_source, id_source, record_source
from connectors.salesforce.settings import SalesforceSettings
from connectors.salesforce.wire import describe as schema
from connectors.salesforce.wire.calls import Wire
from connectors.salesforce.wire.errors import call_error, call_outcome, problem_of, row_outcomes
from connectors.salesforce.wire.values import id18, is_id, to_json
from connectors.shapes import later
from syncd.model import UNKNOWN, Batch, Catalogue, Field, FieldInfo, Health, Op, Outcome, Page, StreamSpec, Value

DESCRIBE_AGE = 3600.0  # seconds for which an object's description is believed, unless a call tells otherwise


class SalesforceConnector:
    """One org. ``changes`` may run in several threads at once, for different streams.

    ``clock`` gives the local time in seconds, ``sleep`` waits (for Bulk jobs only).
    """

    capabilities = Capabilities(
        batch={"update": COLLECTION}, concurrency=4, writes=2, deletes_visible=True, merges_visible=True,
        topic_consent=False, keyed_by="key", irreversible=frozenset(), erases_records=True)

    def __init__(self, settings: SalesforceSettings, *, http_factory: Callable[..., Http] = Http,
                 clock: Callable[[], float] = time.time, sleep: Callable[[float], None] = time.sleep) -> None:
        self.counter = CallCounter()
        self._settings, self._clock = settings, clock
        self._wire = Wire(settings, self.counter, http_factory, clock)
        self._reader = Reader(self._wire, settings, self._now, sleep)
        self._described: dict[str, tuple[float, schema.Described | None]] = {}
        self._consents = Consents(self._wire, self._reader, self._describe, self._now)

    @property
    def server_skew(self) -> float | None:
        """Salesforce's clock minus ours, in seconds; None before the first answer."""
        return self._wire.http.server_skew

    def _now(self) -> float:
        """The server's time: a window cut by our own clock would skip or repeat rows."""
        return self._clock() + (self.server_skew or 0.0)

    def login(self) -> None:
        """See ``Connector.login``."""
        self._wire.session()

    def check(self) -> Health:
        """See ``Connector.check``; calls: /limits, a token and five describes unless we have them."""
        session = self._wire.session()
        limits = self._wire.limits()
        health = examine(self._settings, session, limits, self._wire.usage, self._describe,
                         self._reader.stale)
        if not health.ok:
            self._described.clear()  # the remedy is a right in Salesforce: see it as soon as it is given
        return health

    def describe(self, objects: Sequence[str] = (), fields: Mapping[str, Collection[str]] | None = None) -> Catalogue:
        """See ``Connector.describe``. Fields of parents that a reference always leads to come as "Account.Name", and consent
        of the Individuals that records point to as ``consents`` says."""
        self._described.clear()
        self._consents.forget()
        found = {}
        for name in objects or schema.STANDARD:
            described = self._describe(name)
            if described is not None and described.queryable:
                ways = {way for way, _ in described.parents} if fields is None else {
                    field.partition(".")[0] for field in fields.get(name, ()) if "." in field}
                parents = {way: parent for way, target in described.parents
                           if way in ways and (parent := self._describe(target)) is not None}
                found[name] = info = described.info(parents)
                if INDIVIDUAL in described.fields and (fields is None or any(map(is_consent, fields.get(name, ())))):
                    found[name] = replace(info, fields=(*info.fields, *self._consents.fields()), properties={
                        **info.properties, "creates_individuals": self._settings.create_individuals})
        return Catalogue(found)

    def learnt(self) -> str:
        """See ``Connector.learnt``: every description by object, of those that are not there too."""
        return schema.to_notes({name: described for name, (_, described) in self._described.items()})

    def recall(self, notes: str) -> None:
        """See ``Connector.recall``."""
        now = self._clock()
        self._described = {name: (now, described) for name, described in schema.from_notes(notes).items()}

    def feeds(self, containers: Sequence[str]) -> list[StreamSpec]:
        """The field history of contacts, leads and person accounts, where the org keeps it. No fields are named: all
        tracked ones are told, until the caller names those that mean consent."""
        return [StreamSpec(name, "history") for name in schema.MERGEABLE
                if any(flag in self._fields(name) for flag in schema.MASTER_FLAGS)
                and self._describe(schema.history_of(name)[0]) is not None]

    def changes(self, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        """See ``Connector.changes``. An ``ids_only`` listing always begins anew."""
        if spec.ids_only:
            return self._reader.listing(id_source(spec))
        if (joined := self._joined(spec)) is not None:
            return joined.changes(cursor)
        return self._reader.changes(self._source(spec), cursor)

    def fetch(self, spec: StreamSpec, keys: Sequence[str]) -> Page:
        """See ``Connector.fetch``. For a history stream: the changes of these records."""
        joined = self._joined(spec)
        source = id_source(spec) if spec.ids_only else self._source(joined.plain if joined is not None else spec)
        key = schema.history_of(spec.object)[1] if spec.kind == "history" else "Id"
        ids = list(dict.fromkeys(id18(k) for k in keys if is_id(k)))
        rows = [*self._reader.having(source, key, ids)]
        return Page(rows if joined is None else joined.rows(rows), Cursor(0).text(), last=True)

    def apply(self, batch: Batch) -> Sequence[Outcome]:
        """See ``Connector.apply``. Only ``update``, through Collections: each row succeeds or fails by itself."""
        if batch.kind != "update":
            raise Misconfigured(f"Salesforce connections cannot {batch.kind}.", remedy="Only records are updated here.")
        if len(batch.ops) > COLLECTION:
            raise Misconfigured(f"A batch has {len(batch.ops)} operations; {COLLECTION} are allowed.")
        held = [(i, c) for i, c in enumerate(batch.columns) if is_consent(c)]
        if not held:
            return self._update(batch)
        wishes = self._wishes(batch, held)
        own = [i for i, c in enumerate(batch.columns) if not is_consent(c)]
        if not own:
            done = wishes.fulfil()
            return [done[op.key] for op in batch.ops]
        plain = self._update(replace(batch, columns=tuple(batch.columns[i] for i in own), ops=[
            op._replace(values=tuple(op.values[i] for i in own)) for op in batch.ops]))
        try:
            done = wishes.fulfil()
        except ConnectorError as error:  # the records themselves are written
            done = {op.key: later(error) for op in batch.ops}
        return [worst((outcome, done[op.key])) for op, outcome in zip(batch.ops, plain, strict=True)]

    def _update(self, batch: Batch) -> list[Outcome]:
        """Fields of the records themselves."""
        columns = self._writable(batch)
        outcomes: list[Outcome | None] = [None] * len(batch.ops)
        records: list[dict[str, Any]] = []
        sent: list[int] = []
        for index, op in enumerate(batch.ops):
            try:
                records.append(_record(batch.object, columns, op))
                sent.append(index)
            except RejectRecord as error:
                outcomes[index] = Outcome("rejected", f"{error.code}: {error.message}")
        if records:
            for index, (outcome, _) in zip(sent, self._save("PATCH", records, self._is_opt_out(batch)), strict=True):
                outcomes[index] = outcome
        return [UNKNOWN if o is None else o for o in outcomes]

    def settle(self, request_id: str, batch: Batch) -> Sequence[Outcome] | None:
        """Nothing is ever accepted for later here, so nothing is known about ``request_id``."""
        return [UNKNOWN] * len(batch.ops)

    def erasing(self, *, delete: bool) -> str:
        """See ``RecordEraser.erasing``."""
        return erasing.erasing(delete)

    def erase_records(self, object: str, keys: Sequence[str], *, delete: bool) -> Sequence[Outcome]:
        """See ``RecordEraser.erase_records``."""
        return erasing.erase(keys, functools.partial(self._find, object), self._save, delete=delete)

    def close(self) -> None:
        """Release sockets."""
        self._wire.http.close()

    def _describe(self, name: str) -> schema.Described | None:
        known = self._described.get(name)
        if known is None or self._clock() - known[0] > DESCRIBE_AGE:
            known = self._described[name] = self._clock(), self._wire.describe(name)
        return known[1]

    def _fields(self, name: str) -> Mapping[str, FieldInfo]:
        """What we may read of an object; nothing when it does not exist."""
        described = self._describe(name)
        return {} if described is None else described.fields

    def _source(self, spec: StreamSpec) -> Source:
        if spec.kind not in ("record", "history"):
            raise Misconfigured(f"Salesforce has no {spec.kind} streams.", remedy="Use record or history.")
        described = self._describe(spec.object)
        fields = {} if described is None else described.fields
        if described is None or not fields:
            raise Misconfigured(f"Salesforce does not let us use the object {spec.object}.", code="INVALID_TYPE",
                                remedy="Check its name, and that the integration user may read it.")
        if spec.kind == "record":
            parents = schema.parents_of(described, (f.name for f in spec.fields), self._describe)
            return record_source(spec, fields, parents)
        own = self._wire.session().user
        origins = {id18(self._settings.connect_user): "connect", own: "self"}
        origins.pop("", None)
        return history_source(spec, fields, origins)

    def _writable(self, batch: Batch) -> list[FieldInfo]:
        """The fields of a batch's columns.

        :raises Misconfigured: one of them cannot be written; nothing was sent
        """
        known = self._fields(batch.object)
        bad = sorted(c for c in batch.columns if c not in known or not known[c].writable)
        if bad:
            self._described.pop(batch.object, None)  # rights may be given any time: look again next time
            raise Misconfigured(f"Salesforce does not let us write {batch.object} ({', '.join(bad)}).",
                                remedy="Give the integration user edit access to the field.",
                                code="INVALID_FIELD_FOR_INSERT_UPDATE")
        return [known[c] for c in batch.columns]

    def _is_opt_out(self, batch: Batch) -> bool:
        """True when a row sets a master flag, or writes a field that the mapping named as consent."""
        if not set(batch.columns).isdisjoint(self._settings.opt_out_fields):
            return True
        flags = [i for i, c in enumerate(batch.columns) if c in schema.MASTER_FLAGS]
        return any(op.values[i] == 1 for op in batch.ops for i in flags)

    def _joined(self, spec: StreamSpec) -> Joined | None:
        """The stream with consent of its own rows among its fields; None where it has none."""
        if spec.kind != "record" or spec.ids_only or not any(is_consent(f.name) for f in spec.fields):
            return None
        return Joined(self._consents, self._reader, spec, self._source)

    def _wishes(self, batch: Batch, held: Sequence[tuple[int, str]]) -> Wishes:
        places = {name: self._consents.place(name) for _, name in held}
        wanted = {op.key: {places[name]: op.values[i] for i, name in held} for op in batch.ops}

        return Wishes(self._consents, batch.object, wanted, functools.partial(self._find, batch.object), self._save,
                      self._settings.create_individuals)

    def _find(self, object: str, keys: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Value]]:
        """Living records by their ids: those of these fields that we may read."""
        known = self._fields(object)
        spec = StreamSpec(object, fields=tuple(Field(n, known[n].type) for n in names if n in known))
        start, deleted = len(spec.columns) - len(spec.fields), spec.columns.index("deleted")
        return {str(row[0]): dict(zip((f.name for f in spec.fields), row[start:], strict=True))
                for row in self.fetch(spec, keys).rows if not row[deleted]}

    def _save(self, method: str, records: Sequence[Mapping[str, Any]], urgent: bool) -> list[tuple[Outcome, str | None]]:
        """One outcome per record of a Collections call, and the id of the record where that is told."""
        content: dict[str, Any] = {"json": {"allOrNone": False, "records": records}}
        if method == "DELETE":
            content = {"params": {"ids": ",".join(str(r["id"]) for r in records), "allOrNone": "false"}}
        try:
            reply = self._wire.call(
                method, f"{self._wire.root}/composite/sobjects", write=True, urgent=urgent, **content,
                route={"PATCH": "update", "POST": "create", "DELETE": "delete"}[method],
                # A duplicate rule that also runs on edits would refuse an opt-out for a stranger's likeness.
                headers={"Sforce-Duplicate-Rule-Header": "allowSave=true"})
        except LostReply:
            return [(UNKNOWN, None)] * len(records)
        if reply.status >= 500:  # it may have failed after the records were saved
            return [(UNKNOWN, None)] * len(records)
        if reply.status not in (200, 201):
            outcome = call_outcome(problem_of(reply).code, len(records))
            if outcome is None:
                raise call_error(reply, records[0].keys())
            return [(outcome, None)] * len(records)
        return row_outcomes(reply, len(records))


def _record(object: str, columns: Sequence[FieldInfo], op: Op) -> dict[str, Any]:
    """:raises RejectRecord: the key or a value cannot be sent"""
    if not is_id(op.key):
        raise RejectRecord("The id is not one of Salesforce's.", code="MALFORMED_ID")
    values = {f.name: to_json(f.type, v) for f, v in zip(columns, op.values, strict=True)}
    return {"attributes": {"type": object}, "id": op.key, **values}
