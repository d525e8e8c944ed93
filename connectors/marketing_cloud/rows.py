"""Rows of data extensions read back: whole listings by REST, single rows by SOAP.

A data extension keeps no date of change, so every reading is a whole listing. REST is quicker; SOAP is used where a
tenant has no rowset route, and for large listings without a paging token, because numbered pages over changing rows
skip some.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from connectors.errors import Misconfigured, Outage, Retry
from connectors.marketing_cloud import cursor as cursors
from connectors.marketing_cloud import soap, values
from connectors.marketing_cloud.cursor import Cursor
from connectors.marketing_cloud.describe import Describer, Schema
from connectors.marketing_cloud.settings import MarketingCloudSettings
from connectors.marketing_cloud.wire import RESTARTS, Wire
from syncd.model import Field, Page, StreamSpec, Value

Tuple = tuple[Value, ...]

_TOKEN_PATH = re.compile(r"(?:/data)?(/v1/customobjectdata/token/[\w-]+/rowset)")


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
        self._zone = settings.zone

    def changes(self, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        """All rows of ``spec``; ``cursor`` only tells where an interrupted listing goes on."""
        key = extension_of(spec.object)
        state = cursors.start(cursor, self._wire.now(), 0)
        schema = self._describer.schema(key, [f.name for f in spec.fields])
        if state.more is not None and state.more.startswith("soap:"):
            return self._by_soap(spec, schema, key, state)
        return self._by_rest(spec, schema, key, state)

    def fetch(self, spec: StreamSpec, keys: Sequence[str]) -> Page:
        """The rows with these primary keys; what does not exist is absent."""
        key = extension_of(spec.object)
        schema = self._describer.schema(key, [f.name for f in spec.fields])
        rows = [self._row(spec, schema, _lower(raw))
                for raw in self.raw(key, schema, [f.name for f in spec.fields], keys)]
        return Page(rows, "", last=True)

    def raw(self, key: str, schema: Schema, names: Sequence[str], keys: Sequence[str]) -> Iterator[soap.Row]:
        """The rows with these primary keys as SOAP gives them, with the columns ``names`` beside key and address."""
        size = self._settings.objects_per_call
        for begin in range(0, len(keys), size):
            where = soap.one_of(schema.primary, keys[begin:begin + size])
            yield from self._wire.every(f"DataExtensionObject[{key}]", self._properties(schema, names), where)

    # ----------------------------------------------------------------- listings

    def _by_rest(self, spec: StreamSpec, schema: Schema, key: str, state: Cursor) -> Iterator[Page]:
        more, whole, seen, total = state.more, state.more is None, 0, None
        restarts = 0
        while True:
            body = self._page(key, schema, more)
            if body is None and more is not None and restarts < RESTARTS:
                more, whole, seen, total, restarts = None, whole, 0, None, restarts + 1
                continue
            if body is None and more is not None:
                raise Retry("Marketing Cloud keeps losing its place in a data extension.")
            following = None if body is None else self._following(body)
            if body is None or (more is None and following == ""):
                yield from self._by_soap(spec, schema, key, Cursor(state.since, state.until))
                return
            items = body.get("items") or []
            count = body.get("count")
            total = count if total is None else total if total == count else -1
            seen += len(items)
            rows = [self._row(spec, schema, _cells(item)) for item in items]
            if following is None:
                yield Page(rows, state.end().text(), True, complete=whole and seen == total)
                return
            more = following
            yield Page(rows, Cursor(state.since, state.until, more=more).text())

    def _page(self, key: str, schema: Schema, more: str | None) -> dict[str, Any] | None:
        """One page; None when the tenant has no such route, or forgot the token of ``more``."""
        if more is None:
            path, params = f"/data/v1/customobjectdata/key/{quote(key, safe='')}/rowset", {
                "$page": "1", "$pagesize": str(self._settings.page_size), "$orderBy": f"{schema.primary} ASC"}
        else:
            parts = urlsplit(more)
            path, params = parts.path, dict(parse_qsl(parts.query))
        reply = self._wire.rest("GET", path, route="rowset", params=params,
                                allow=(404, 596) if more is None else (400, 404, 410, 596))
        if reply.status != 200:
            return None
        body = reply.json()
        if not isinstance(body, dict) or not isinstance(body.get("items", []), list):
            raise Outage("Marketing Cloud's answer to a row listing makes no sense.")
        return body

    def _following(self, body: Mapping[str, Any]) -> str | None:
        """Path and query of the next page by its token; None after the last page, "" when there is no token."""
        page, size, count = body.get("page"), body.get("pageSize"), body.get("count")
        if not isinstance(page, int) or not isinstance(size, int) or not isinstance(count, int) or size < 1:
            raise Outage("Marketing Cloud's answer to a row listing lacks its paging.")
        if page * size >= count:
            return None
        links = body.get("links")
        parts = urlsplit(str(links.get("next") or "") if isinstance(links, dict) else "")
        found = _TOKEN_PATH.fullmatch(parts.path)
        return f"/data{found[1]}?{parts.query}" if found is not None else ""

    def _by_soap(self, spec: StreamSpec, schema: Schema, key: str, state: Cursor) -> Iterator[Page]:
        more = None if state.more is None else state.more.removeprefix("soap:")
        whole = more is None
        names = self._properties(schema, [f.name for f in spec.fields])
        for raw, following in self._wire.pages(f"DataExtensionObject[{key}]", names, None, more):
            rows = [self._row(spec, schema, _lower(row)) for row in raw]
            at = state.end() if following is None else Cursor(state.since, state.until, more=f"soap:{following}")
            yield Page(rows, at.text(), following is None, complete=whole and following is None)

    # ----------------------------------------------------------------- rows

    @staticmethod
    def _properties(schema: Schema, names: Sequence[str]) -> list[str]:
        wanted = [schema.primary, *([schema.email] if schema.email else []), *(schema.column(n).name for n in names)]
        return list(dict.fromkeys(wanted))

    def _row(self, spec: StreamSpec, schema: Schema, cells: Mapping[str, Any]) -> Tuple:
        key = cells.get(schema.primary.lower())
        if key is None or key == "":
            raise Outage("Marketing Cloud sent a row without its primary key.")
        if spec.ids_only:
            return (str(key),)
        email = cells.get(schema.email.lower()) if schema.email else None
        return (str(key), str(email) if email else None, *(self._cell(cells, field) for field in spec.fields))

    def _cell(self, cells: Mapping[str, Any], field: Field) -> Value:
        return values.from_vendor(cells.get(field.name.lower()), field.type, self._zone, field.name)


def _cells(item: Mapping[str, Any]) -> dict[str, Any]:
    """Keys and values of one REST row by lower-cased column name."""
    return {name.lower(): value for part in ("values", "keys") for name, value in (item.get(part) or {}).items()}


def _lower(row: soap.Row) -> dict[str, Any]:
    return {name.lower(): value for name, value in row.items()}
