"""What a database's models are: their fields as ``fields_get`` tells them, and mailing lists, in our words."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from connectors import opaque
from connectors.errors import Misconfigured
from connectors.odoo.wire.calls import Wire
from connectors.odoo.wire.values import TYPES
from syncd.model import FieldInfo, ObjectInfo

VERSION = 1
"""Of a connector's notes."""
_ATTRIBUTES = ["type", "string", "relation", "selection", "readonly", "store", "required", "size"]


class Meta:
    """Field descriptions by model, asked once; ``forget`` after a field was refused."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._known: dict[str, Mapping[str, Mapping[str, Any]]] = {}
        self._asking = threading.Lock()

    def fields(self, model: str) -> Mapping[str, Mapping[str, Any]]:
        """name -> {"type", "string", "relation", …} of the fields the account may read."""
        with self._asking:  # streams of one model start together: one of them asks
            found = self._known.get(model)
            if found is None:
                found = self._known[model] = self._wire.call(
                    model, "fields_get", attributes=_ATTRIBUTES, context=self._wire.context())
        return found

    def forget(self) -> None:
        self._known.clear()

    def reached(self, model: str, path: str) -> Mapping[str, Any] | None:
        """The field that a dotted path leads to, None where it leads nowhere we may read."""
        way, _, last = path.rpartition(".")
        try:
            for step in way.split("."):
                relation = self.fields(model).get(step, {})
                if relation.get("type") != "many2one":
                    return None
                model = relation["relation"]
            info = self.fields(model).get(last)
        except Misconfigured:  # the account may not look at a parent's model
            return None
        return info if info is not None and info["type"] in TYPES else None

    def to_notes(self) -> str:
        """The fields of every model that was asked after, as text for another process."""
        return opaque.write(VERSION, self._known)

    def from_notes(self, notes: str) -> None:
        """Take over what ``to_notes`` wrote; nothing where another version did."""
        self._known = opaque.read(notes, VERSION, lambda known: {**known}) or {}

    def one(self, model: str, name: str) -> Mapping[str, Any]:
        """:raises Misconfigured: there is no such readable field, or it is of a type that is not read"""
        info = self.fields(model).get(name)
        if info is None or info["type"] not in TYPES:
            self.forget()
            raise Misconfigured(f"{model} has no readable field {name!r} in Odoo.", code="field",
                                remedy="Correct the mapping, or give the account the right to see the field.")
        return info

    def info(self, model: str, wanted: Collection[str]) -> ObjectInfo:
        """The model in our words; those of the ``wanted`` fields that are read through parents come under their dotted
        names."""
        own = [_field(name, info) for name, info in sorted(self.fields(model).items()) if info["type"] in TYPES]
        reached = [replace(_field(name, info), writable=False) for name in sorted(wanted)
                   if "." in name and (info := self.reached(model, name)) is not None]
        return ObjectInfo(model, fields=(*own, *reached))


def mailing_lists(wire: Wire) -> Iterator[ObjectInfo]:
    """Every mailing list, as "list:ID"; none where we may not look."""
    if not wire.may("mailing.list", "read"):
        return
    for row in wire.search_read("mailing.list", [], ["name", "active"]):
        yield ObjectInfo(f"list:{row['id']}", str(row["name"] or ""),
                         properties={"type": "mailing_list", "active": bool(row["active"])})


def _field(name: str, info: Mapping[str, Any]) -> FieldInfo:
    options = tuple(str(key) for key, _ in info.get("selection") or ())
    computed = not info.get("store", True)
    writable = not (computed or info.get("readonly"))
    return FieldInfo(name, TYPES[info["type"]], str(info.get("string", "")), nullable=not info.get("required"),
                     writable=writable, length=info.get("size") or None, choices=options, primary_key=name == "id",
                     computed=computed)
