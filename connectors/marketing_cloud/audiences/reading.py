"""Rows of data extensions read back.

A data extension keeps no date of change, so every reading is a whole listing. It goes by SOAP: the REST rowset route is
undocumented, missing in some tenants, and its numbered pages skip rows when others come and go in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from connectors.errors import Misconfigured, Outage
from connectors.marketing_cloud.settings import MarketingCloudSettings
from connectors.marketing_cloud.wire import cursor as cursors
from connectors.marketing_cloud.wire import soap, values
from connectors.marketing_cloud.wire.calls import Wire
from connectors.marketing_cloud.wire.describe import Describer, Schema
from connectors.marketing_cloud.wire.parted import Parted
from syncd.model import Page, StreamSpec, Value


def extension_of(name: str) -> str:
    """The external key in "de:<key>".

    :raises Misconfigured: another kind of object
    """
    if not name.startswith("de:") or len(name) == 3:
        raise Misconfigured(f"{name} is not a data extension.", remedy="Write it as de:<external key>.")
    return name[3:]


class RowReader:
    """Row streams of one business unit."""

    def __init__(self, wire: Wire, settings: MarketingCloudSettings, describer: Describer) -> None:
        self._wire = wire
        self._settings = settings
        self._describer = describer
        self._parted = Parted(wire)

    def changes(self, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        """All rows of ``spec``; ``cursor`` only tells where an interrupted listing goes on."""
        key = extension_of(spec.object)
        state = cursors.start(cursor, self._wire.now(), 0)
        names = [field.name for field in spec.fields]
        schema = self._describer.schema(key, names)
        kind, properties = f"DataExtensionObject[{key}]", tuple(schema.properties(names))
        for raw, after in self._parted.pages(kind, kind, properties, schema.primary, None, state):
            rows = [self._row(spec, schema, each) for each in raw]
            yield Page(rows, after.text(), after.done, complete=after.done and cursor is None)

    def fetch(self, spec: StreamSpec, keys: Sequence[str]) -> Page:
        """The rows with these primary keys; what does not exist is absent."""
        key = extension_of(spec.object)
        names = [field.name for field in spec.fields]
        schema = self._describer.schema(key, names)
        return Page([self._row(spec, schema, raw) for raw in self.raw(key, schema, names, keys)], "", last=True)

    def raw(self, key: str, schema: Schema, names: Sequence[str], keys: Sequence[str]) -> list[soap.Row]:
        """The rows with these primary keys as SOAP gives them, with the columns ``names`` beside key and address."""
        return self._wire.named(f"DataExtensionObject[{key}]", schema.properties(names), schema.primary, keys)

    def _row(self, spec: StreamSpec, schema: Schema, raw: Mapping[str, str | None]) -> tuple[Value, ...]:
        key = raw.get(schema.primary)
        if not key:
            raise Outage("Marketing Cloud sent a row without its primary key.")
        zone = self._settings.zone
        return (key, raw.get(schema.email) if schema.email else None, *(
            values.from_vendor(raw.get(schema.column(field.name).name), field.type, zone, field.name)
            for field in spec.fields))
