"""What ``/describe`` says about an object, in our words."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from connectors import opaque
from syncd.model import FieldInfo, FieldType, ObjectInfo

STANDARD = ("Contact", "Lead", "Account", "Opportunity", "OpportunityContactRole", "Campaign", "CampaignMember")
"""The objects described when none is named."""

MASTER_FLAGS = ("HasOptedOutOfEmail", "PersonHasOptedOutOfEmail")
"""No marketing mail: on Contact and Lead; on Account, where person accounts exist."""

FLAGGED = ("Contact", "Lead")
"""Objects that have the first of the flags even where it is hidden from us: then reading them says so."""

MERGEABLE = ("Contact", "Lead", "Account")

VANISHING = ("OpportunityContactRole", "CampaignMember", "AccountContactRelation")
"""Rows of these are deleted without a trace: only a listing of all ids shows it."""

VERSION = 2
"""Of the notes."""

AGE = 3600.0
"""Seconds for which an object's description is believed, unless a call tells otherwise."""

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*){0,5}\Z")

_TYPES: dict[str, FieldType] = {
    "id": "id", "reference": "id", "boolean": "bool", "int": "integer", "double": "decimal", "long": "integer",
    "currency": "decimal", "percent": "decimal", "date": "date", "datetime": "instant", "time": "text",
    "multipicklist": "choices", "string": "text", "textarea": "text", "email": "text", "phone": "text",
    "url": "text", "picklist": "text", "combobox": "text", "encryptedstring": "text",
}
"""Compound and binary types (address, location, base64, anyType) have no value of ours and are left out."""


def is_identifier(name: str) -> bool:
    """True for what may stand in SOQL as a field or object name, with parents."""
    return _IDENTIFIER.match(name) is not None


@dataclass(frozen=True, slots=True)
class Described:
    """What we keep of a describe answer, which may be a megabyte.

    fields   the readable ones by name
    parents  (relationship name, object) of every reference that always leads to one object
    """

    name: str
    label: str
    key_prefix: str | None
    queryable: bool
    updateable: bool
    fields: Mapping[str, FieldInfo]
    parents: tuple[tuple[str, str], ...]
    createable: bool = True

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Described:
        """:raises KeyError, TypeError: not a describe answer"""
        infos = [info for f in body["fields"] if (info := _field(f)) is not None]
        return cls(body["name"], body.get("label") or body["name"], body.get("keyPrefix"),
                   bool(body.get("queryable", True)), bool(body.get("updateable", True)), {i.name: i for i in infos},
                   tuple((f["relationshipName"], f["referenceTo"][0]) for f in body["fields"]
                         if f.get("relationshipName") and len(f.get("referenceTo") or "") == 1),
                   bool(body.get("createable", True)))

    def info(self, parents: Mapping[str, Described]) -> ObjectInfo:
        """In our words, with the fields of ``parents`` (by relationship name) under dotted names."""
        reached = [FieldInfo(f"{relation}.{f.name}", f.type, f"{relation}: {f.label}", writable=False, length=f.length,
                             choices=f.choices, computed=f.computed)
                   for relation, parent in parents.items() for f in parent.fields.values()]
        return ObjectInfo(
            self.name, self.label, (*self.fields.values(), *reached),
            master_flag=next((flag for flag in MASTER_FLAGS if flag in self.fields),
                             MASTER_FLAGS[0] if self.name in FLAGGED else None),
            properties={
                "key_prefix": self.key_prefix, "queryable": self.queryable, "updateable": self.updateable,
                "deletes_visible": "IsDeleted" in self.fields and self.name not in VANISHING,
                "multi_currency": "CurrencyIsoCode" in self.fields,
                "person_accounts": "IsPersonAccount" in self.fields,
            })


class Objects:
    """The org's objects as they were described within the last hour. ``ask`` describes one (``Wire.describe``), ``clock``
    gives the local time in seconds."""

    def __init__(self, ask: Callable[[str], Described | None], clock: Callable[[], float]) -> None:
        self._ask, self._clock = ask, clock
        self._known: dict[str, tuple[float, Described | None]] = {}

    def get(self, name: str) -> Described | None:
        """An object; None when there is none, or none for us."""
        known = self._known.get(name)
        if known is None or self._clock() - known[0] > AGE:
            known = self._known[name] = self._clock(), self._ask(name)
        return known[1]

    def fields(self, name: str) -> Mapping[str, FieldInfo]:
        """What we may read of an object; nothing when it does not exist."""
        described = self.get(name)
        return {} if described is None else described.fields

    def info(self, name: str, wanted: Collection[str] | None) -> ObjectInfo | None:
        """An object in our words; None when it cannot be queried. Of its parents those that a dotted one of the ``wanted``
        fields goes through; None = all that a reference always leads to."""
        described = self.get(name)
        if described is None or not described.queryable:
            return None
        ways = {way for way, _ in described.parents} if wanted is None else {
            field.partition(".")[0] for field in wanted if "." in field}
        return described.info({way: parent for way, target in described.parents
                               if way in ways and (parent := self.get(target)) is not None})

    def forget(self, name: str | None = None) -> None:
        """Ask anew when this object is needed next; None = any object."""
        if name is None:
            self._known.clear()
        else:
            self._known.pop(name, None)

    def to_notes(self) -> str:
        """Every description as text, for another process; of objects that are not there too."""
        return opaque.write(VERSION, {name: described for name, (_, described) in self._known.items()})

    def from_notes(self, notes: str) -> None:
        """Take over what ``to_notes`` wrote; nothing where another version did."""
        now = self._clock()
        self._known = opaque.read(notes, VERSION, lambda objects: {
            name: (now, None if body is None else _restored(body)) for name, body in objects.items()}) or {}


def _restored(body: Mapping[str, Any]) -> Described:
    fields = {name: FieldInfo(**{**f, "choices": tuple(f["choices"])}) for name, f in body["fields"].items()}
    return Described(**{**body, "fields": fields, "parents": tuple((way, target) for way, target in body["parents"])})


def parents_of(described: Described, names: Iterable[str], describe: Callable[[str], Described | None]) -> tuple[str, ...]:
    """The relationships ("Account", "Account.Owner") that the dotted ones of ``names`` go through. One that may lead to
    several objects ends the way: not all of those say when they change."""
    found: dict[str, None] = {}
    for name in names:
        at: Described | None = described
        way = name.split(".")[:-1]
        for number, relation in enumerate(way, 1):
            target = dict(at.parents).get(relation) if at is not None else None
            if target is None:
                break
            found[".".join(way[:number])] = None
            at = describe(target) if number < len(way) else None
    return tuple(found)


def history_of(name: str) -> tuple[str, str]:
    """(history object, its field that holds the record's id) of an object; it exists where the admin tracks fields."""
    if name.endswith("__c"):
        return name.removesuffix("__c") + "__History", "ParentId"
    return f"{name}History", f"{name}Id"


def _field(f: Mapping[str, Any]) -> FieldInfo | None:
    kind = _TYPES.get(f["type"])
    if kind is None:
        return None
    if f["type"] == "double" and f.get("scale") == 0:
        kind = "integer"
    length = f.get("length") or None
    return FieldInfo(
        name=f["name"], type=kind, label=f.get("label") or f["name"], nullable=bool(f.get("nillable", True)),
        writable=bool(f.get("updateable", True)), length=length if kind in ("text", "choices") else None,
        choices=tuple(p["value"] for p in f.get("picklistValues") or () if p.get("active", True)),
        primary_key=f["type"] == "id", computed=bool(f.get("calculated")))
