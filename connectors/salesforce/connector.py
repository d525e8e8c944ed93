"""Salesforce as a CRM: the verbs of ``connectors.base.Connector``."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from connectors.base import Account, CallCounter, Capabilities, Judge
from connectors.batches import later, worst
from connectors.errors import ConnectorError, Misconfigured
from connectors.http import Http
from connectors.salesforce import erasing
from connectors.salesforce.consent.joining import Joined
from connectors.salesforce.consent.objects import Consents, is_consent, pointer
from connectors.salesforce.consent.writing import Wishes
from connectors.salesforce.health import examine
from connectors.salesforce.records.reading import Cursor, Reader
from connectors.salesforce.records.source import Source, history_source, id_source, record_source
from connectors.salesforce.records.writing import COLLECTION, Writer
from connectors.salesforce.settings import SalesforceSettings
from connectors.salesforce.wire.calls import Wire
from connectors.salesforce.wire.describe import MASTER_FLAGS, MERGEABLE, STANDARD, Objects, history_of, parents_of
from connectors.salesforce.wire.values import id18, is_id
from syncd.model import UNKNOWN, Batch, Catalogue, Field, Health, Outcome, Page, StreamSpec, Value


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
        self._objects = Objects(self._wire.describe, clock)
        self._writer = Writer(self._wire, settings, self._objects)
        self._consents = Consents(self._wire, self._reader, self._objects.get, self._now)

    @property
    def server_skew(self) -> float | None:
        """Salesforce's clock minus ours, in seconds; None before the first answer."""
        return self._wire.http.server_skew

    def _now(self) -> float:
        """The server's time: a window cut by our own clock would skip or repeat rows."""
        return self._clock() + (self.server_skew or 0.0)

    def login(self) -> Account:
        """See ``Connector.login``."""
        return self._wire.login.account()

    def watch(self, judge: Judge) -> None:
        """See ``Connector.watch``."""
        self._wire.login.judge = judge

    def check(self) -> Health:
        """See ``Connector.check``; calls: /limits, a token and five describes unless we have them."""
        session = self._wire.session()
        limits = self._wire.limits()
        health = examine(self._settings, session, limits, self._wire.usage, self._objects.get, self._reader.stale)
        if not health.ok:
            self._objects.forget()  # the remedy is a right in Salesforce: see it as soon as it is given
        return health

    def describe(self, objects: Sequence[str] = (), fields: Mapping[str, Collection[str]] | None = None) -> Catalogue:
        """See ``Connector.describe``. Fields of parents that a reference always leads to come as "Account.Name", and consent
        of the Individuals that records point to as ``consent.objects`` says."""
        self._objects.forget()
        self._consents.forget()
        found = {}
        for name in objects or STANDARD:
            wanted = None if fields is None else fields.get(name, ())
            info = self._objects.info(name, wanted)
            if info is not None:
                if any(f.name == pointer(name) for f in info.fields) and (wanted is None or any(map(is_consent, wanted))):
                    info = replace(info, fields=(*info.fields, *self._consents.fields()), properties={
                        **info.properties, "creates_individuals": self._settings.create_individuals})
                found[name] = info
        return Catalogue(found)

    def learnt(self) -> str:
        """See ``Connector.learnt``: every description by object, of those that are not there too."""
        return self._objects.to_notes()

    def recall(self, notes: str) -> None:
        """See ``Connector.recall``."""
        self._objects.from_notes(notes)

    def feeds(self, containers: Sequence[str]) -> list[StreamSpec]:
        """The field history of contacts, leads and person accounts, where the org keeps it. No fields are named: all
        tracked ones are told, until the caller names those that mean consent."""
        return [StreamSpec(name, "history") for name in MERGEABLE
                if any(flag in self._objects.fields(name) for flag in MASTER_FLAGS)
                and self._objects.get(history_of(name)[0]) is not None]

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
        key = history_of(spec.object)[1] if spec.kind == "history" else "Id"
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
            return self._writer.update(batch)
        wishes = self._wishes(batch, held)
        own = [i for i, c in enumerate(batch.columns) if not is_consent(c)]
        if not own:
            done = wishes.fulfil()
            return [done[op.key] for op in batch.ops]
        plain = self._writer.update(replace(batch, columns=tuple(batch.columns[i] for i in own), ops=[
            op._replace(values=tuple(op.values[i] for i in own)) for op in batch.ops]))
        try:
            done = wishes.fulfil()
        except ConnectorError as error:  # the records themselves are written
            done = {op.key: later(error) for op in batch.ops}
        return [worst((outcome, done[op.key])) for op, outcome in zip(batch.ops, plain, strict=True)]

    def settle(self, request_id: str, batch: Batch) -> Sequence[Outcome] | None:
        """Nothing is ever accepted for later here, so nothing is known about ``request_id``."""
        return [UNKNOWN] * len(batch.ops)

    def erasing(self, *, delete: bool) -> str:
        """See ``RecordEraser.erasing``."""
        return erasing.erasing(delete)

    def erase_records(self, object: str, keys: Sequence[str], *, delete: bool) -> Sequence[Outcome]:
        """See ``RecordEraser.erase_records``."""
        return erasing.erase(keys, pointer(object), functools.partial(self._find, object), self._writer.save,
                             delete=delete)

    def close(self) -> None:
        """Release sockets."""
        self._wire.http.close()

    def _source(self, spec: StreamSpec) -> Source:
        if spec.kind not in ("record", "history"):
            raise Misconfigured(f"Salesforce has no {spec.kind} streams.", remedy="Use record or history.")
        described = self._objects.get(spec.object)
        if described is None or not described.fields:
            raise Misconfigured(f"Salesforce does not let us use the object {spec.object}.", code="INVALID_TYPE",
                                remedy="Check its name, and that the integration user may read it.")
        if spec.kind == "record":
            parents = parents_of(described, (f.name for f in spec.fields), self._objects.get)
            return record_source(spec, described.fields, parents, persons=(
                spec.becomes == "Account" and dict(described.parents).get("ConvertedAccount") == "Account"
                and "IsPersonAccount" in self._objects.fields("Account")))
        own = self._wire.session().user
        origins = {id18(self._settings.connect_user): "connect", own: "self"}
        origins.pop("", None)
        return history_source(spec, described.fields, origins)

    def _joined(self, spec: StreamSpec) -> Joined | None:
        """The stream with consent of its own rows among its fields; None where it has none."""
        if spec.kind != "record" or spec.ids_only or not any(is_consent(f.name) for f in spec.fields):
            return None
        return Joined(self._consents, self._reader, spec, self._source)

    def _wishes(self, batch: Batch, held: Sequence[tuple[int, str]]) -> Wishes:
        places = {name: self._consents.place(name) for _, name in held}
        wanted = {op.key: {places[name]: op.values[i] for i, name in held} for op in batch.ops}
        return Wishes(self._consents, batch.object, wanted, functools.partial(self._find, batch.object), self._writer.save,
                      self._settings.create_individuals)

    def _find(self, object: str, keys: Sequence[str], names: Sequence[str]) -> dict[str, dict[str, Value]]:
        """Living records by their ids: those of these fields that we may read."""
        known = self._objects.fields(object)
        spec = StreamSpec(object, fields=tuple(Field(n, known[n].type) for n in names if n in known))
        start, deleted = len(spec.columns) - len(spec.fields), spec.columns.index("deleted")
        return {str(row[0]): dict(zip((f.name for f in spec.fields), row[start:], strict=True))
                for row in self.fetch(spec, keys).rows if not row[deleted]}
