"""What there is in a business unit: itself, its lists, its data extensions with their columns.

Names of columns are compared without case: the vendor answers some of them in lower case.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from connectors.errors import Misconfigured
from connectors.marketing_cloud.settings import MarketingCloudSettings
from connectors.marketing_cloud.wire import soap
from connectors.marketing_cloud.wire.calls import Wire
from syncd.model import Catalogue, FieldInfo, FieldType, ObjectInfo

TYPES: dict[str, FieldType] = {
    "Text": "text", "EmailAddress": "text", "Phone": "text", "Locale": "text", "Base16Encrypted": "text",
    "Base16EncryptedEmail": "text", "Number": "integer", "Decimal": "decimal", "Boolean": "bool", "Date": "instant",
}

LOOKS = 3
"""How often the business unit itself is looked for: it is there, so an answer without it was cut without a word. Not to
know what it is part of would leave people mailable at its sisters."""

SCHEMA_SECONDS = 900.0
"""How long a data extension's columns are remembered: an admin may add one at any time."""

_EXTENSION = ("CustomerKey", "Name", "IsSendable", "SendableDataExtensionField.Name", "SendableSubscriberField.Name",
              "RowBasedRetention", "DeleteAtEndOfRetentionPeriod", "DataRetentionPeriodLength",
              "DataRetentionPeriodUnitOfMeasure", "RetainUntil")
_FIELD = ("Name", "FieldType", "MaxLength", "IsRequired", "IsPrimaryKey", "Ordinal", "DataExtension.CustomerKey")
_LIST = ("ID", "ListName", "CustomerKey", "Type", "ListClassification")
_UNIT = ("ID", "ParentID", "Name", "MasterUnsubscribeBehavior")


@dataclass(frozen=True, slots=True)
class Schema:
    """The columns of one data extension by lower-cased name; ``keys`` are the primary key columns, in their order."""

    key: str
    columns: dict[str, FieldInfo]
    keys: tuple[str, ...]
    email: str | None

    @property
    def primary(self) -> str:
        """The primary key column.

        :raises Misconfigured: there is none, or it has several columns
        """
        if len(self.keys) != 1:
            raise Misconfigured(f"Data extension {self.key} must have a primary key of exactly one column.",
                                remedy="Make a new data extension; a primary key cannot be changed.")
        return self.keys[0]

    def properties(self, names: Sequence[str]) -> list[str]:
        """What a row is read by: key, address and ``names``, as the vendor spells them."""
        wanted = [self.primary, *([self.email] if self.email else []), *(self.column(name).name for name in names)]
        return list(dict.fromkeys(wanted))

    def column(self, name: str) -> FieldInfo:
        """The column ``name``, whatever its case.

        :raises Misconfigured: there is none
        """
        found = self.columns.get(name.lower())
        if found is None:
            raise Misconfigured(f"Data extension {self.key} has no column {name}.", remedy="Correct the mapping.")
        return found


class Describer:
    """Reads the business unit's objects. Thread-safe."""

    def __init__(self, wire: Wire, settings: MarketingCloudSettings, clock: Callable[[], float]) -> None:
        self._wire = wire
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._schemas: dict[str, tuple[float, Schema]] = {}
        self._enterprise: str | None = None

    def unit(self) -> soap.Row | None:
        """The business unit itself; None when the package may not read account settings."""
        mid = self._settings.mid
        where = None if mid is None else soap.one_of("ID", (str(mid),))
        for _ in range(LOOKS):
            try:
                units = self._wire.every("BusinessUnit", _UNIT, where)
            except Misconfigured:
                return None
            if (found := next((u for u in units if mid is None or u.get("ID") == str(mid)), None)) is not None:
                return found
        return None

    def enterprise(self) -> str | None:
        """MID of the enterprise this business unit belongs to (its own for the top one); None when unreadable."""
        if self._enterprise is None:
            unit = self.unit() or {}
            parent = unit.get("ParentID")
            self._enterprise = unit.get("ID") if parent in (None, "0") else parent
        return self._enterprise

    # ----------------------------------------------------------------- describe

    def describe(self, objects: Sequence[str]) -> Catalogue:
        """The named objects; all lists and data extensions (these without their columns) when none is named."""
        wanted = list(objects)
        found: dict[str, ObjectInfo] = {}
        lists = [name[5:] for name in wanted if name.startswith("list:")]
        keys = [name[3:] for name in wanted if name.startswith("de:")]
        if not wanted or lists:
            found |= self._lists(lists)
        if not wanted or keys:
            found |= self._extensions(keys)
        if not wanted or "subscribers" in wanted:
            unit = self.unit() or {}
            found["subscribers"] = ObjectInfo("subscribers", "All Subscribers", properties=MappingProxyType(
                {"master_unsubscribe": unit.get("MasterUnsubscribeBehavior"), "account": self.enterprise()}))
        if not wanted or "events" in wanted:
            found["events"] = ObjectInfo("events", "Unsubscribes and bounces")
        return Catalogue(MappingProxyType(found))

    def require_list(self, number: str) -> None:
        """A list that is not there has no members either, as if it were empty.

        :raises Misconfigured: the business unit has no such list
        """
        if not self._lists([number]):
            raise Misconfigured(f"Marketing Cloud has no list {number} in this business unit.", code="list",
                                remedy="Correct its number in the mapping: it is on the list's own page there.")

    def _lists(self, ids: list[str]) -> dict[str, ObjectInfo]:
        found = {}
        for row in self._listed("List", _LIST, "ID", ids):
            name = f"list:{row.get('ID')}"
            found[name] = ObjectInfo(name, row.get("ListName") or "", properties=MappingProxyType(
                {"classification": row.get("ListClassification"), "type": row.get("Type"),
                 "customer_key": row.get("CustomerKey")}))
        return found

    def _extensions(self, keys: list[str]) -> dict[str, ObjectInfo]:
        spelled = {key.lower(): key for key in keys}
        fields = self._fields(keys) if keys else {}
        found = {}
        for row in self._listed("DataExtension", _EXTENSION, "CustomerKey", keys):
            key = row.get("CustomerKey") or ""
            columns = fields.get(key.lower(), ())
            name = f"de:{spelled.get(key.lower(), key)}"
            found[name] = ObjectInfo(name, row.get("Name") or "", columns, properties=MappingProxyType({
                "sendable": row.get("IsSendable") == "true",
                "sendable_field": row.get("SendableDataExtensionField.Name"),
                "subscriber_field": (row.get("SendableSubscriberField.Name") or "").strip("_") or None,
                "retention": _retention(row),
            }))
        return found

    def _listed(self, kind: str, properties: Sequence[str], prop: str, wanted: Sequence[str]) -> list[soap.Row]:
        """The ``wanted`` objects of a kind; all there are when none is named."""
        return self._wire.named(kind, properties, prop, wanted) if wanted else self._wire.every(kind, properties)

    def _fields(self, keys: Sequence[str]) -> dict[str, tuple[FieldInfo, ...]]:
        """Columns by lower-cased key, in the order of the data extension."""
        rows: dict[str, list[tuple[int, FieldInfo, bool]]] = {}
        for row in self._wire.named("DataExtensionField", _FIELD, "DataExtension.CustomerKey", keys):
            owner = (row.get("DataExtension.CustomerKey") or (keys[0] if len(keys) == 1 else "")).lower()
            rows.setdefault(owner, []).append(
                (int(row.get("Ordinal") or 0), _field(row), row.get("FieldType") == "EmailAddress"))
        found = {}
        for owner, columns in rows.items():
            columns.sort(key=lambda item: item[0])
            found[owner] = tuple(info for _, info, _ in columns)
            email = next((info.name for _, info, is_email in columns if is_email), None)
            schema = Schema(owner, {info.name.lower(): info for info in found[owner]},
                            tuple(info.name for info in found[owner] if info.primary_key), email)
            with self._lock:
                self._schemas[owner] = (self._clock() + SCHEMA_SECONDS, schema)
        return found

    # ----------------------------------------------------------------- schemas

    def schema(self, key: str, needs: Sequence[str] = ()) -> Schema:
        """The columns of data extension ``key``, read at most every ``SCHEMA_SECONDS``, and again when one of the
        columns ``needs`` is not among those remembered.

        :raises Misconfigured: there is no such data extension
        """
        with self._lock:
            held = self._schemas.get(key.lower())
        if held is None or self._clock() >= held[0] or any(name.lower() not in held[1].columns for name in needs):
            self.forget(key)
            self._fields((key,))
            with self._lock:
                held = self._schemas.get(key.lower())
        if held is None:
            raise Misconfigured(f"Marketing Cloud has no data extension {key} in this business unit.",
                                remedy="Correct the key in the mapping, or let syncd create it.")
        return held[1]

    def forget(self, key: str) -> None:
        """Read the columns of ``key`` again next time."""
        with self._lock:
            self._schemas.pop(key.lower(), None)


def _field(row: soap.Row) -> FieldInfo:
    length = row.get("MaxLength")
    kind = TYPES.get(row.get("FieldType") or "", "text")
    primary = row.get("IsPrimaryKey") == "true"
    name = row.get("Name") or ""
    return FieldInfo(name, kind, name, row.get("IsRequired") != "true" and not primary, True,
                     int(length) if kind == "text" and length and int(length) > 0 else None, (), primary)


def _retention(row: soap.Row) -> bool:
    """True when a policy deletes rows, or the whole data extension, by itself."""
    length = row.get("DataRetentionPeriodLength") or "0"
    return bool(row.get("RetainUntil")) or row.get("RowBasedRetention") == "true" or int(length) > 0
