"""The Odoo connector: the contract of ``connectors.base`` in front of the parts that do the work."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from connectors.base import Account, CallCounter, Capabilities, Judge
from connectors.errors import Misconfigured
from connectors.http import Http
from connectors.odoo import erasing
from connectors.odoo.consent.reading import BLACKLIST, Statuses
from connectors.odoo.consent.writing import StatusWriter
from connectors.odoo.health import examine
from connectors.odoo.records.reading import Records
from connectors.odoo.records.writing import RecordWriter
from connectors.odoo.settings import OdooSettings
from connectors.odoo.wire.calls import Wire
from connectors.odoo.wire.describe import Meta, mailing_lists
from syncd.model import Batch, Catalogue, Health, ObjectInfo, Outcome, Page, StreamSpec

RECORDS = ("res.partner", "crm.lead", "mailing.contact")
"""Objects described when none is named, mailing lists beside them."""
BATCH = 500
"""Operations of one batch; creating is fastest between 100 and 500 records a call."""


class OdooConnector:
    """One Odoo database. Consent is by address: the blacklist is all mail, a mailing list is a container."""

    capabilities = Capabilities(
        batch={"update": BATCH, "status": BATCH}, concurrency=2, writes=1, deletes_visible=False, merges_visible=False,
        topic_consent=True, keyed_by="address", erases_records=True)

    def __init__(self, settings: OdooSettings, *, http_factory: Callable[..., Http] = Http,
                 clock: Callable[[], float] = time.time) -> None:
        self.wire = Wire(settings, http_factory=http_factory, clock=clock)
        self._meta = Meta(self.wire)
        self._records = Records(self.wire, self._meta)
        self._statuses = Statuses(self.wire, self._meta, self._records)
        self._writers: dict[str, RecordWriter | StatusWriter] = {
            "update": RecordWriter(self.wire, self._meta), "status": StatusWriter(self.wire, self._meta, self._statuses)}

    @property
    def counter(self) -> CallCounter:
        return self.wire.counter

    @property
    def server_skew(self) -> float | None:
        """The server's clock minus ours, in seconds, as of the latest answer."""
        return self.wire.http.server_skew

    # -- looking

    def login(self) -> Account:
        """See ``Connector.login``."""
        return self.wire.login.account()

    def watch(self, judge: Judge) -> None:
        """See ``Connector.watch``."""
        self.wire.login.judge = judge

    def check(self) -> Health:
        """Log in anew; look at version, rights, what may be hidden, and the key's expiry."""
        return examine(self.wire, self._meta)

    def describe(self, objects: Sequence[str] = (), fields: Mapping[str, Collection[str]] | None = None) -> Catalogue:
        """Models by name and mailing lists as "list:ID". A model that is absent or unreadable is left out; those of
        ``fields`` that are read through parents come under their dotted names."""
        self._meta.forget()
        found: dict[str, ObjectInfo] = {}
        lists = [name for name in objects if name.startswith("list:")]
        if lists or not objects:
            found |= {info.name: info for info in mailing_lists(self.wire) if not objects or info.name in lists}
        for model in objects or RECORDS:
            if model not in lists and self.wire.may(model, "read"):
                found[model] = self._meta.info(model, (fields or {}).get(model, ()))
        return Catalogue(found)

    def learnt(self) -> str:
        """See ``Connector.learnt``: the fields of every model that was met."""
        return self._meta.to_notes()

    def recall(self, notes: str) -> None:
        """See ``Connector.recall``."""
        self._meta.from_notes(notes)

    def feeds(self, containers: Sequence[str]) -> list[StreamSpec]:
        """The blacklist, and one status stream for each mailing list."""
        return [StreamSpec(BLACKLIST, "status", container=""),
                *(StreamSpec(f"list:{c.removeprefix('list:')}", "status", container=c) for c in containers if c)]

    # -- reading

    def changes(self, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        if spec.ids_only:
            return self._records.listing(spec, cursor)
        if spec.kind == "status":
            return self._statuses.changes(spec, cursor)
        self._require_record(spec)
        return self._records.changes(spec, cursor)

    def fetch(self, spec: StreamSpec, keys: Sequence[str]) -> Page:
        if spec.kind == "status":
            return self._statuses.fetch(spec, keys)
        self._require_record(spec)
        return self._records.fetch(spec, keys)

    @staticmethod
    def _require_record(spec: StreamSpec) -> None:
        if spec.kind != "record":
            raise Misconfigured(f"Odoo has no {spec.kind} streams.", code="kind",
                                remedy="Read records, the blacklist or a mailing list.")

    # -- writing

    def apply(self, batch: Batch) -> Sequence[Outcome]:
        if batch.kind not in self._writers:
            raise Misconfigured(f"Odoo takes no {batch.kind} operations.", code="kind")
        return self._writers[batch.kind].apply(batch)

    def settle(self, request_id: str, batch: Batch) -> Sequence[Outcome] | None:
        """Odoo answers at once; a request id is none of ours."""
        return [Outcome("unknown")] * len(batch.ops)

    def erasing(self, *, delete: bool) -> str:
        """See ``RecordEraser.erasing``."""
        return erasing.erasing(delete)

    def erase_records(self, object: str, keys: Sequence[str], *, delete: bool) -> Sequence[Outcome]:
        """See ``RecordEraser.erase_records``."""
        return erasing.erase(self.wire, self._meta, object, keys, delete=delete)

    def close(self) -> None:
        self.wire.http.close()
