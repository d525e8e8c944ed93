"""Rows of data extensions written: upserts through the asynchronous queue, deletes and creations through SOAP.

An accepted request says nothing about its rows. When it ends with errors, these name no row, and a key that stands in
a message may be another row's value. So a row is done only if it is there as sent; for those that are not, the messages
tell why, and where that does not add up the batch is halved until the bad row is alone. An upsert may be repeated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import orjson

from connectors.batches import in_chunks, later
from connectors.errors import ConnectorError, LostReply, Misconfigured
from connectors.marketing_cloud.audiences import items
from connectors.marketing_cloud.audiences.reading import RowReader, extension_of
from connectors.marketing_cloud.settings import MarketingCloudSettings
from connectors.marketing_cloud.wire import errors, soap, values
from connectors.marketing_cloud.wire.calls import Wire
from connectors.marketing_cloud.wire.describe import Describer
from syncd.model import DONE, UNKNOWN, Batch, FieldInfo, Op, Outcome

READ_BACK = 500
"""At most this many rows are read back to find the refused ones; above it the batch is cut first."""

PAUSE = 300.0
"""Seconds until rows are sent again whose request failed without a word about any of them."""

RESULTS = 1_000
"""Results of one page."""

_CREATE_TYPES: dict[str, str] = {"text": "Text", "id": "Text", "choices": "Text", "bool": "Boolean",
                                 "integer": "Number", "decimal": "Decimal", "date": "Date", "instant": "Date"}
_MAX_TEXT = 4_000
_KEY_LENGTH = 254


class AudienceWriter:
    """Writes to the data extensions of one business unit."""

    def __init__(self, wire: Wire, settings: MarketingCloudSettings, describer: Describer, reader: RowReader) -> None:
        self._wire = wire
        self._settings = settings
        self._describer = describer
        self._reader = reader
        self._zone = settings.zone

    # ----------------------------------------------------------------- upsert

    def upsert(self, batch: Batch) -> list[Outcome]:
        """Queue the rows: ``accepted`` under one request id, those aside that are sure to be refused."""
        key = extension_of(batch.object)
        schema = self._describer.schema(key, batch.columns)
        columns = [schema.column(name) for name in batch.columns]
        plain = items.plain(schema, columns, batch.ops, self._zone)
        if plain is not None:
            return self._queue(key, plain)
        found = [items.single(schema, columns, op, self._zone) for op in batch.ops]
        queued = iter(self._queue(key, [orjson.dumps(item).decode() for item in found if not isinstance(item, Outcome)]))
        return [item if isinstance(item, Outcome) else next(queued) for item in found]

    def _queue(self, key: str, ready: Sequence[str]) -> list[Outcome]:
        """:param ready: rows as JSON"""
        if not ready:
            return []
        body, taken = self._body(ready[:self._settings.max_async_rows])
        if taken == 0:
            first = errors.rejected("row_too_large", "The row alone is larger than a request may be.")
            return [first] + [Outcome("retry", retry_after=0.0)] * (len(ready) - 1)
        path = f"/data/v1/async/dataextensions/key:{quote(key, safe='')}/rows"
        try:
            reply = self._wire.rest("PUT", path, route="async.upsert", write=True, allow=(400, 413), data=body)
        except LostReply:
            sent = [UNKNOWN] * taken
        else:
            request = None if reply.status >= 400 else errors.body_of(reply).get("requestId")
            if reply.status >= 400:
                sent = self._refused(key, reply, taken)
            elif isinstance(request, str) and request:
                sent = [Outcome("accepted", request_id=request)] * taken
            else:
                sent = [UNKNOWN] * taken
        return sent + [Outcome("retry", retry_after=0.0, max_batch=taken)] * (len(ready) - taken)

    def _body(self, wanted: Sequence[str]) -> tuple[bytes, int]:
        """The JSON of a request with the first of ``wanted``, as many as fit, and how many these are."""
        frame = b'{"items":[%b]}'
        whole = frame % ",".join(wanted).encode()
        if len(whole) <= self._settings.max_async_bytes:
            return whole, len(wanted)
        rows: list[bytes] = []
        size = len(frame)
        for item in wanted:
            row = item.encode()
            size += len(row) + 1
            if size > self._settings.max_async_bytes:
                break
            rows.append(row)
        return frame % b",".join(rows), len(rows)

    def _refused(self, key: str, reply: Any, count: int) -> list[Outcome]:
        """A request refused as a whole: the object is gone (raised), or one row spoils it (halve, then reject).

        :raises Misconfigured: there is no such data extension any more
        """
        self._describer.forget(key)
        self._describer.schema(key)
        if count > 1:
            return [Outcome("retry", retry_after=0.0, max_batch=count // 2)] * count
        body = errors.body_of(reply)
        parts = [body, *(p for p in body.get("additionalErrors") or () if isinstance(p, dict))]
        text = " ".join(str(part.get("message") or "") for part in parts)
        return [Outcome("rejected", errors.row_reason(str(body.get("errorcode", reply.status)), text))]

    # ----------------------------------------------------------------- settle

    def settle(self, request_id: str, batch: Batch) -> list[Outcome] | None:
        """The end of an accepted request; None while it waits or runs."""
        path = f"/data/v1/async/{quote(request_id, safe='')}"
        body = self._wire.rest("GET", f"{path}/status", route="async.status").json()
        status = body.get("status") if isinstance(body, dict) else None
        if not isinstance(status, dict):  # AsyncRequestStatusNotFound comes with HTTP 200
            return [UNKNOWN] * len(batch.ops)
        stage = status.get("requestStatus")
        if stage not in ("Complete", "Error"):
            return None
        if stage == "Complete" and status.get("hasErrors") is False and status.get("resultStatus") in (None, "OK"):
            return [DONE] * len(batch.ops)
        return self._attribute(batch, self._messages(path))

    def _messages(self, path: str) -> list[tuple[str, str]]:
        """(code, text) of every refused row of a request."""
        found: list[tuple[str, str]] = []
        page = seen = 0
        while True:
            page += 1
            body = self._wire.rest("GET", f"{path}/results", route="async.results",
                                   params={"$page": str(page), "$pageSize": str(RESULTS)}).json()
            items = body.get("items") or [] if isinstance(body, dict) else []
            seen += len(items)
            found += [(str(i.get("errorCode") or ""), str(i.get("message") or "")) for i in items
                      if i.get("status") == "Error"]
            if not items or seen >= int(body.get("count") or 0):
                return found

    def _attribute(self, batch: Batch, messages: Sequence[tuple[str, str]]) -> list[Outcome]:
        """Which rows the ``messages`` are about."""
        if len(batch.ops) == 1 and messages:
            return [_outcome(*messages[0])]
        if len(batch.ops) > READ_BACK:
            return [Outcome("retry", retry_after=0.0, max_batch=READ_BACK)] * len(batch.ops)
        missing = {op.key.lower(): op.id for op in self._missing(batch)}
        found: dict[int, Outcome] = {}
        nameless: list[Outcome] = []
        for code, text in messages:
            hits = _words(text) & missing.keys()
            if len(hits) == 1:
                found[missing.pop(hits.pop())] = _outcome(code, text)
            else:
                nameless.append(_outcome(code, text))
        if len(missing) == len(nameless) and len(set(nameless)) == 1:
            rest = nameless[0]
        else:  # without any message the request failed as a whole: give the vendor time
            rest = Outcome("retry", retry_after=0.0 if messages else PAUSE, max_batch=max(1, len(missing) // 2))
        found |= dict.fromkeys(missing.values(), rest)
        return [found.get(op.id, DONE) for op in batch.ops]

    def _missing(self, batch: Batch) -> list[Op]:
        """The operations whose rows are not there as sent."""
        key = extension_of(batch.object)
        schema = self._describer.schema(key, batch.columns)
        columns = [schema.column(name) for name in batch.columns]
        rows = self._reader.raw(key, schema, batch.columns, [op.key for op in batch.ops])
        stored = {(row.get(schema.primary) or "").lower(): row for row in rows}
        return [op for op in batch.ops if not self._is_stored(stored.get(op.key.lower()), columns, op)]

    def _is_stored(self, row: soap.Row | None, columns: Sequence[FieldInfo], op: Op) -> bool:
        """True when ``row`` holds what ``op`` wrote. Dates come back to the second."""
        if row is None:
            return False
        for column, value in zip(columns, op.values, strict=True):
            try:
                wire = values.to_vendor(value, column.type, self._zone)
            except ValueError:
                return False
            sent = values.from_vendor(wire, column.type, self._zone, column.name)
            held = values.from_vendor(row.get(column.name), column.type, self._zone, column.name)
            if not values.same(sent, held, column.type):
                return False
        return True

    # ----------------------------------------------------------------- remove

    def remove(self, batch: Batch) -> list[Outcome]:
        """Delete rows by primary key; one that is not there is ``done``."""
        key = extension_of(batch.object)
        schema = self._describer.schema(key)

        def send(chunk: Sequence[Op]) -> list[Outcome]:
            objects = [branch_of_key(key, schema.primary, op.key) for op in chunk]
            results = self._wire.save("Delete", objects, route="rows.delete")
            failed = [op.key for op, result in zip(chunk, results, strict=True) if result is not None and not result.ok]
            try:
                there = {(row.get(schema.primary) or "").lower() for row in self._reader.raw(key, schema, (), failed)}
            except ConnectorError as error:  # the others of the chunk are deleted: nothing may be raised any more
                return [UNKNOWN if result is None else DONE if result.ok else later(error) for result in results]
            return [UNKNOWN if result is None else DONE if result.ok or op.key.lower() not in there
                    else _outcome(result.code, result.text) for op, result in zip(chunk, results, strict=True)]

        return in_chunks(batch.ops, self._settings.objects_per_call, send)

    # ----------------------------------------------------------------- create

    def create(self, batch: Batch) -> list[Outcome]:
        """Create data extensions. One that exists with the same primary key is ``done``."""
        return in_chunks(batch.ops, 1, lambda chunk: [self._create(extension_of(batch.object), chunk[0])])

    def _create(self, key: str, op: Op) -> Outcome:
        definition = orjson.loads(str(op.values[0]))
        self._describer.forget(key)
        result = self._wire.save("Create", [_definition(definition)], route="extension.create")[0]
        if result is None:
            return UNKNOWN
        if result.ok:
            return DONE
        if errors.is_passing(result.text):
            return Outcome("retry")
        try:
            exists = self._describer.schema(key).primary.lower() == str(definition["primary_key"]).lower()
        except Misconfigured:
            exists = False
        return DONE if exists else errors.rejected("not_created", "Marketing Cloud refused the data extension.")


def branch_of_key(key: str, column: str, value: str) -> str:
    """A DataExtensionObject that names one row by its primary key."""
    pair = soap.branch("Key", (soap.leaf("Name", column), soap.leaf("Value", value)))
    return soap.branch("Objects", (soap.leaf("CustomerKey", key), soap.branch("Keys", (pair,))), "DataExtensionObject")


def _definition(definition: dict[str, Any]) -> str:
    """The DataExtension to be created: sendable by its primary key, which is the subscriber key."""
    primary, email = str(definition["primary_key"]), str(definition["email_field"])
    fields = {str(f["name"]).lower(): f for f in definition.get("fields") or ()}
    for name in (email, primary):
        fields.setdefault(name.lower(), {"name": name, "type": "text"})
    ordered = [fields.pop(primary.lower()), *([fields.pop(email.lower())] if email.lower() in fields else []),
               *fields.values()]
    return soap.branch("Objects", (
        soap.leaf("CustomerKey", definition["key"]), soap.leaf("Name", definition["name"]),
        soap.leaf("IsSendable", "true"),
        soap.branch("SendableDataExtensionField", (soap.leaf("Name", primary),)),
        soap.branch("SendableSubscriberField", (soap.leaf("Name", "Subscriber Key"),)),
        soap.branch("Fields", (_field(f, primary, email) for f in ordered)),
    ), "DataExtension")


def _field(field: dict[str, Any], primary: str, email: str) -> str:
    name, kind = str(field["name"]), _CREATE_TYPES[field.get("type") or "text"]
    is_key = name.lower() == primary.lower()
    length = field.get("length")
    parts = [soap.leaf("Name", name)]
    if kind == "Decimal":
        parts += [soap.leaf("Scale", 4), soap.leaf("MaxLength", 18)]
    elif name.lower() == email.lower() and not is_key:
        kind = "EmailAddress"
        parts.append(soap.leaf("MaxLength", _KEY_LENGTH))
    elif kind == "Text" and (is_key or (isinstance(length, int) and length <= _MAX_TEXT)):
        parts.append(soap.leaf("MaxLength", length if isinstance(length, int) else _KEY_LENGTH))
    required = is_key or field.get("nullable") is False
    parts += [soap.leaf("IsRequired", str(required).lower()), soap.leaf("IsPrimaryKey", str(is_key).lower()),
              soap.leaf("FieldType", kind)]
    return soap.branch("Field", parts)


def _outcome(code: str, text: str) -> Outcome:
    """What a refused row's message means: a deadlock passes, a bad value does not."""
    return Outcome("retry") if errors.is_passing(text) else Outcome("rejected", errors.row_reason(code, text))


def _words(text: str) -> set[str]:
    """Every piece of ``text`` that may be a key: between blanks, quotes and brackets, and without a final stop."""
    pieces = re.split(r"[\s'\"()\[\],;]+", text.lower())
    return {piece for raw in pieces for piece in (raw, raw.rstrip("."))}
