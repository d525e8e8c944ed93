"""The Odoo connector: the contract of ``connectors.base`` in front of the parts that do the work."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from connectors.base import CallCounter, Capabilities
from connectors.errors import Misconfigured
from connectors.http import Http
from connectors.odoo import erasing
from connectors.odoo.consent.reading import BLACKLIST, Statuses
from connectors.odoo.records.reading import Meta, Records
from connectors.odoo.records.writing import BATCH, Writes
from connectors.odoo.wire.calls import OdooSettings, Wire
from connectors.odoo.wire.values import TYPES, micros
from syncd.model import Batch, Catalogue, FieldInfo, Finding, Health, ObjectInfo, Outcome, Page, StreamSpec

RECORDS = ("res.partner", "crm.lead", "mailing.contact")
"""Objects described when none is named, mailing lists beside them."""
KEY_WARNING_DAYS = 14

_Right = Literal["read", "write", "create"]
_ESSENTIAL: tuple[tuple[str, tuple[_Right, ...], str], ...] = (
    (BLACKLIST, ("read", "write", "create"), "Email Marketing / User"),
    ("mailing.contact", ("read", "create"), "Email Marketing / User"),
    ("mailing.list", ("read",), "Email Marketing / User"),
)


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
        self._writes = Writes(self.wire, self._meta, self._statuses)

    @property
    def counter(self) -> CallCounter:
        return self.wire.counter

    @property
    def server_skew(self) -> float | None:
        """The server's clock minus ours, in seconds, as of the latest answer."""
        return self.wire.http.server_skew

    # -- looking

    def login(self) -> None:
        """See ``Connector.login``."""
        self.wire.session()

    def check(self) -> Health:
        """Log in anew; look at version, rights, what may be hidden, and the key's expiry."""
        session = self.wire.session(fresh=True)
        findings = [*self._version(session.major), *self._rights(session.major), *self._sight(session.uid), *self._key()]
        return Health(f"{self.wire.settings.user} at Odoo {session.version}", tuple(findings))

    def _version(self, major: int) -> Iterator[Finding]:
        if not 15 <= major <= 19:
            yield Finding("warning", f"Odoo {major} has not been tried with this connector.")
        if major >= 19 and not self.wire.session().json2:
            yield Finding("info", "JSON-RPC is deprecated since Odoo 19.", "Set api: json2.")

    def _rights(self, major: int) -> Iterator[Finding]:
        if not self.wire.allowed("res.partner", "read"):
            yield Finding("error", "The account may not read res.partner.", "Make it an internal user.")
        wanted = [*_ESSENTIAL, (self._statuses.subscription, ("read", "write", "create"), "Email Marketing / User")]
        for model, operations, group in wanted:
            lacking = [o for o in operations if not self._may(model, o)]
            if lacking:
                yield Finding("warning", f"The account may not {' or '.join(lacking)} {model}: consent cannot be "
                              "carried.", f"Install Email Marketing and give the account the group {group}.")
        if self._may("crm.lead", "read") and not self._has_group("sales_team.group_sale_salesman_all_leads", major):
            yield Finding("warning", "The account sees only its own leads; the others are silently missing.",
                          "Give it the group Sales / User: All Documents.")

    def _may(self, model: str, operation: _Right) -> bool:
        """False, too, where the model is not installed."""
        try:
            return self.wire.allowed(model, operation)
        except Misconfigured:
            return False

    def _has_group(self, group: str, major: int) -> bool:
        ids = [self.wire.session().uid] if major >= 18 else None
        return bool(self.wire.call("res.users", "has_group", ids, group_ext_id=group))

    def _sight(self, uid: int) -> Iterator[Finding]:
        rows = self.wire.search_read("res.users", [["id", "=", uid]], ["company_ids"])
        companies = self.wire.count("res.company", [])
        allowed = len(rows[0]["company_ids"]) if rows else 0
        if allowed < companies:
            yield Finding("warning", f"The account is allowed in {allowed} of {companies} companies; records of the "
                          "others are hidden from it.", "Add the companies to the user, or accept it.")

    def _key(self) -> Iterator[Finding]:
        """A key that expires goes on working for a while, here and there; so it is told in advance."""
        if not self._may("res.users.apikeys", "read"):
            return
        if "expiration_date" not in self._meta.fields("res.users.apikeys"):
            return
        keys = self.wire.search_read("res.users.apikeys", [], ["expiration_date"])
        dates = [micros(k["expiration_date"]) for k in keys if k["expiration_date"]]
        if not dates or len(dates) < len(keys):
            return
        left = (max(dates) - self.wire.now()) / 86_400e6
        if left < KEY_WARNING_DAYS:
            yield Finding("warning", f"The last API key of the account expires in {max(0, int(left))} days.",
                          "Make a new key and put it in the configuration.")

    def describe(self, objects: Sequence[str] = (), fields: Mapping[str, Collection[str]] | None = None) -> Catalogue:
        """Models by name and mailing lists as "list:ID". A model that is absent or unreadable is left out; those of
        ``fields`` that are read through parents come under their dotted names."""
        self._meta.forget()
        found: dict[str, ObjectInfo] = {}
        lists = [name for name in objects if name.startswith("list:")]
        if lists or not objects:
            found |= {info.name: info for info in self._lists() if not objects or info.name in lists}
        for model in objects or RECORDS:
            if model not in lists and self._may(model, "read"):
                found[model] = self._describe(model, (fields or {}).get(model, ()))
        return Catalogue(found)

    def _describe(self, model: str, wanted: Collection[str]) -> ObjectInfo:
        own = [_field(name, info) for name, info in sorted(self._meta.fields(model).items()) if info["type"] in TYPES]
        reached = [replace(_field(name, info), writable=False) for name in sorted(wanted)
                   if "." in name and (info := self._meta.reached(model, name)) is not None]
        return ObjectInfo(model, fields=(*own, *reached))

    def learnt(self) -> str:
        """See ``Connector.learnt``: the fields of every model that was met."""
        return self._meta.to_notes()

    def recall(self, notes: str) -> None:
        """See ``Connector.recall``."""
        self._meta.from_notes(notes)

    def _lists(self) -> Iterator[ObjectInfo]:
        if not self._may("mailing.list", "read"):
            return
        for row in self.wire.search_read("mailing.list", [], ["name", "active"]):
            yield ObjectInfo(f"list:{row['id']}", str(row["name"] or ""),
                             properties={"type": "mailing_list", "active": bool(row["active"])})

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
        return self._writes.apply(batch)

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


def _field(name: str, info: Mapping[str, Any]) -> FieldInfo:
    options = tuple(str(key) for key, _ in info.get("selection") or ())
    writable = bool(info.get("store", True)) and not info.get("readonly")
    return FieldInfo(name, TYPES[info["type"]], str(info.get("string", "")), nullable=not info.get("required"),
                     writable=writable, length=info.get("size") or None, choices=options, primary_key=name == "id")
