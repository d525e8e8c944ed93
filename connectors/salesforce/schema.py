"""What ``/describe`` says about an object, in our words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from syncd.model import FieldInfo, FieldType, ObjectInfo

STANDARD = ("Contact", "Lead", "Account", "Opportunity", "OpportunityContactRole", "Campaign", "CampaignMember")
"""The objects described when none is named."""

MASTER_FLAGS = ("HasOptedOutOfEmail", "PersonHasOptedOutOfEmail")
"""No marketing mail: on Contact and Lead; on Account, where person accounts exist."""

MERGEABLE = ("Contact", "Lead", "Account")

VANISHING = ("OpportunityContactRole", "CampaignMember", "AccountContactRelation")
"""Rows of these are deleted without a trace: only a listing of all ids shows it."""

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


def object_info(body: Mapping[str, Any], parents: Mapping[str, Mapping[str, Any]]) -> ObjectInfo:
    """The object of one describe answer, with the fields of its ``parents`` (describe answers by relationship name)
    under dotted names."""
    own = [info for f in body["fields"] if (info := _field(f)) is not None]
    reached = [
        FieldInfo(f"{name}.{info.name}", info.type, f"{name}: {info.label}", writable=False, length=info.length,
                  choices=info.choices)
        for name, parent in parents.items() for f in parent["fields"] if (info := _field(f)) is not None
    ]
    names = {f.name for f in own}
    return ObjectInfo(
        name=body["name"], label=body.get("label") or body["name"], fields=(*own, *reached),
        master_flag=next((flag for flag in MASTER_FLAGS if flag in names), None),
        properties={
            "key_prefix": body.get("keyPrefix"),
            "queryable": bool(body.get("queryable", True)),
            "updateable": bool(body.get("updateable", True)),
            "deletes_visible": "IsDeleted" in names and body["name"] not in VANISHING,
            "multi_currency": "CurrencyIsoCode" in names,
            "person_accounts": "IsPersonAccount" in names,
        })


def types_of(body: Mapping[str, Any]) -> dict[str, FieldInfo]:
    """The readable fields of a describe answer by name."""
    return {info.name: info for f in body["fields"] if (info := _field(f)) is not None}


def single_parents(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(relationship name, object) of every reference that always leads to one object."""
    for f in body["fields"]:
        targets: list[str] = f.get("referenceTo") or []
        if f.get("relationshipName") and len(targets) == 1:
            yield f["relationshipName"], targets[0]


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
        primary_key=f["type"] == "id")
