"""Single rows, describe, replication (updated/deleted), limits: everything below ``/sobjects`` and ``/limits``."""

from __future__ import annotations

import email.utils
from collections.abc import Mapping
from typing import Any

from connectors.sim.kernel import Response

from . import ids, soql, values
from .db import Row
from .errors import Refused, not_found
from .evaluate import rest_renderer
from .rules import duplicate_value
from .save import Actor, lock_row
from .web import Context, Route, route

_DAY = 86400


# --------------------------------------------------------------------------- describe

def _global(ctx: Context) -> Response:
    names = sorted(ctx.sim.schema)
    return Response(200, {"encoding": "UTF-8", "maxBatchSize": 200,
                          "sobjects": [ctx.sim.schema[n].summary(ctx.version) for n in names]})


def _basic(ctx: Context) -> Response:
    summary = ctx.sim.schema[ctx.object()].summary(ctx.version)
    return Response(200, {"objectDescribe": summary, "recentItems": []})


def _describe(ctx: Context) -> Response:
    """Answers 304 when nothing changed; what field-level security hides now counts as a change."""
    object = ctx.object()
    hidden = ctx.sim.hidden(object)
    changed = ctx.sim.described_at(object, hidden)
    headers = {"Last-Modified": email.utils.formatdate(changed, usegmt=True), "ETag": f'"{object}-{int(changed)}"'}
    since = ctx.request.headers.get("if-modified-since")
    if since:
        try:
            asked = email.utils.parsedate_to_datetime(since).timestamp()
        except ValueError:
            raise Refused("INVALID_HEADER", "If-Modified-Since is no HTTP date") from None
        if asked >= int(changed):
            return Response(304, b"", headers)
    return Response(200, ctx.sim.schema[object].describe(ctx.version, hidden), headers)


# --------------------------------------------------------------------------- rows

def _fields_of(ctx: Context, object: str, names: list[str] | None) -> list[soql.Path]:
    if names is not None:
        return [tuple(n.strip().split(".")) for n in names if n.strip()]
    hidden = ctx.sim.hidden(object)
    return [(n,) for n in ctx.sim.schema[object].fields if n not in hidden]


def render_rows(ctx: Context, object: str, rows: list[Row | None],
                names: list[str] | None) -> list[dict[str, Any] | None]:
    """Rows as the retrieve calls show them (None stays None): the named fields, or all the user may see.

    :raises Refused: INVALID_FIELD
    """
    columns = [ctx.sim.engine.column(object, path, ".".join(path)) for path in _fields_of(ctx, object, names)]
    render = rest_renderer(ctx.sim.db, object, columns, ctx.version)
    return [None if row is None else render(row) for row in rows]


def seen(ctx: Context, object: str, record: str | None) -> Row | None:
    """The row of an id if it exists, is not deleted, and the user may see it."""
    row = ctx.sim.db.tables[object].visible(record) if record else None
    if row is None or row.get("IsDeleted"):
        return None
    shared = ctx.sim.engine.shared(object)
    return row if shared is None or shared(row) else None


def _target(ctx: Context, object: str) -> str:
    """The id in the path, of the right object and not deleted.

    :raises Refused: 404
    """
    record = ids.normal(ctx.args["id"])
    if record is None or ctx.sim.db.object_of(record) != object:
        raise not_found("Provided external ID field does not exist or is not accessible: " + ctx.args["id"])
    row = ctx.sim.db.tables[object].visible(record)
    if row is not None and row.get("IsDeleted"):
        raise Refused("ENTITY_IS_DELETED", "entity is deleted", status=404)
    if seen(ctx, object, record) is None:
        raise not_found()
    return record


def _get(ctx: Context) -> Response:
    object = ctx.object()
    row = seen(ctx, object, _target(ctx, object))
    fields = ctx.request.query.get("fields")
    return Response(200, render_rows(ctx, object, [row], fields.split(",") if fields else None)[0])


def external_field(ctx: Context, object: str, name: str) -> str:
    """The canonical name of an external-id field (or Id).

    :raises Refused: 404 otherwise
    """
    f = ctx.sim.schema[object].lower.get(name.lower())
    if f is None or not (f.external or f.type == "id") or f.name in ctx.sim.hidden(object):
        raise not_found("Provided external ID field does not exist or is not accessible: " + name)
    return f.name


def matching(ctx: Context, object: str, name: str, value: Any) -> list[Row]:
    """Live rows with this external id."""
    wanted = ids.normal(value) if name == "Id" else value
    rows = ctx.sim.db.tables[object].lookup(name, [wanted])
    return [row for row in rows if not row.get("IsDeleted")]


def _ambiguous(ctx: Context, object: str, rows: list[Row]) -> Response:
    return Response(300, [f"/services/data/{ctx.version}/sobjects/{object}/{row['Id']}" for row in rows])


def _get_external(ctx: Context) -> Response:
    object = ctx.object()
    rows = matching(ctx, object, external_field(ctx, object, ctx.args["field"]), ctx.args["value"])
    if not rows:
        raise not_found()
    if len(rows) > 1:
        return _ambiguous(ctx, object, rows)
    fields = ctx.request.query.get("fields")
    return Response(200, render_rows(ctx, object, [rows[0]], fields.split(",") if fields else None)[0])


def _body(ctx: Context) -> Mapping[str, Any]:
    body = ctx.json()
    if not isinstance(body, dict):
        raise Refused("JSON_PARSER_ERROR", "an object is expected")
    return body


def _maybe_locked(ctx: Context, object: str, record: str) -> None:
    if ctx.fault("partial", object):
        raise lock_row(record)


def _create(ctx: Context) -> Response:
    object, body = ctx.object(), _body(ctx)
    _maybe_locked(ctx, object, "n/a")
    record = ctx.sim.writer.create(object, body, ctx.actor)
    ctx.call.records = 1
    return Response(201, {"id": record, "success": True, "errors": []})


def _update(ctx: Context) -> Response:
    object = ctx.object()
    record = _target(ctx, object)
    _maybe_locked(ctx, object, record)
    ctx.sim.writer.update(object, record, _body(ctx), ctx.actor)
    ctx.call.records = 1
    return Response(204)


def _delete(ctx: Context) -> Response:
    object = ctx.object()
    record = _target(ctx, object)
    _maybe_locked(ctx, object, record)
    ctx.sim.lifecycle.delete(object, record, ctx.actor)
    ctx.call.records = 1
    return Response(204)


def upsert(ctx: Context, object: str, name: str, value: Any, given: Mapping[str, Any], actor: Actor) -> tuple[str,
                                                                                                              bool]:
    """Create or update by external id; (id, created).

    :raises Refused: several rows match (300); DUPLICATE_VALUE when the row was born within ``upsert_race_seconds``
    """
    if value is None or value == "":
        raise Refused("MISSING_ARGUMENT", f"{name} not specified")
    rows = matching(ctx, object, name, value)
    if len(rows) > 1:
        raise Refused("DUPLICATE_EXTERNAL_ID", f"{name}: more than one record found for external id field: "
                                               f"[{', '.join(r['Id'] for r in rows)}]", [name], status=300)
    given = {k: v for k, v in given.items() if k.lower() not in (name.lower(), "id")}
    if not rows:
        if name == "Id":
            raise Refused("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", status=404)
        record = ctx.sim.writer.create(object, {**given, name: value}, actor)
        ctx.sim.born[record] = ctx.sim.kernel.clock.now()
        return record, True
    record = rows[0]["Id"]
    if ctx.sim.kernel.clock.now() - ctx.sim.born.get(record, 0.0) < ctx.sim.options.upsert_race_seconds:
        raise duplicate_value(name, record)
    ctx.sim.writer.update(object, record, given, actor)
    return record, False


def _upsert(ctx: Context) -> Response:
    object = ctx.object()
    name = external_field(ctx, object, ctx.args["field"])
    rows = matching(ctx, object, name, ctx.args["value"])
    if len(rows) > 1:
        return _ambiguous(ctx, object, rows)
    _maybe_locked(ctx, object, rows[0]["Id"] if rows else "n/a")
    record, created = upsert(ctx, object, name, ctx.args["value"], _body(ctx), ctx.actor)
    ctx.call.records = 1
    return Response(201 if created else 200, {"id": record, "success": True, "errors": [], "created": created})


# --------------------------------------------------------------------------- replication

def _instant(ctx: Context, name: str) -> int:
    """A query parameter as seconds, its own seconds cut off.

    :raises Refused: INVALID_REPLICATION_DATE or MALFORMED
    """
    text = ctx.request.query.get(name, "")
    seconds = values.parse_datetime(text)
    if seconds is None:
        raise Refused("INVALID_REPLICATION_DATE", f"{name} is no dateTime with a zone")
    return seconds - seconds % 60


def _window(ctx: Context, days: int, shortest: int) -> tuple[int, int]:
    start, end = _instant(ctx, "start"), _instant(ctx, "end")
    if end - start < shortest:
        raise Refused("INVALID_REPLICATION_DATE", "startDate before endDate, or too close to it")
    if start < ctx.sim.kernel.clock.now() - days * _DAY:
        raise Refused("INVALID_REPLICATION_DATE", f"startDate cannot be more than {days} days ago")
    return start, end


def _covered(ctx: Context, end: int) -> int:
    """The instant up to which all transactions are done; a long one elsewhere holds it back."""
    now = int(ctx.sim.kernel.clock.now() - ctx.sim.options.replication_stall)
    latest = min(end, now)
    for table in ctx.sim.db.tables.values():
        for record in table.hidden:
            latest = min(latest, table.rows[record][table.spec.stamp] - 1)
    return latest - latest % 60


def _updated(ctx: Context) -> Response:
    object = ctx.object()
    start, end = _window(ctx, 30, 60)
    rows = [r["Id"] for r in ctx.sim.db.tables[object].by_stamp((start, ""), (end, "")) if not r.get("IsDeleted")]
    if len(rows) > 600_000:
        raise Refused("EXCEEDED_ID_LIMIT", "exceeded 600000 ids")
    return Response(200, {"ids": rows, "latestDateCovered": values.rest_datetime(max(start, _covered(ctx, end)))})


def _deleted(ctx: Context) -> Response:
    object = ctx.object()
    start, end = _window(ctx, 15, 120)
    gone = ctx.sim.lifecycle.deleted(object, start, end)
    earliest = int(ctx.sim.kernel.clock.now()) - 15 * _DAY
    return Response(200, {"deletedRecords": [{"id": r, "deletedDate": values.rest_datetime(at)} for r, at in gone],
                          "earliestDateAvailable": values.rest_datetime(earliest),
                          "latestDateCovered": values.rest_datetime(max(start, _covered(ctx, end)))})


# --------------------------------------------------------------------------- limits

def _limits(ctx: Context) -> Response:
    used = ctx.sim.quota.used()
    most = ctx.sim.options.daily_requests
    jobs = ctx.sim.bulk
    pairs = {"DailyApiRequests": (most, most - used), "DailyBulkApiBatches": (15_000, 15_000 - jobs.batches),
             "DailyBulkV2QueryJobs": (10_000, 10_000 - jobs.queries),
             "DailyBulkV2QueryFileStorageMB": (976_562, 976_562),
             "DataStorageMB": (1_000, 900), "FileStorageMB": (1_000, 1_000)}
    return Response(200, {name: {"Max": high, "Remaining": max(0, left)} for name, (high, left) in pairs.items()})


def _resources(ctx: Context) -> Response:
    base = f"/services/data/{ctx.version}"
    return Response(200, {n: f"{base}/{n}" for n in ("sobjects", "query", "queryAll", "limits", "composite", "jobs")})


ROUTES: list[Route] = [
    route("GET", "", "resources", _resources),
    route("GET", "/limits", "limits", _limits),
    route("GET", "/sobjects", "describe_global", _global),
    route("GET", "/sobjects/{object}", "describe_basic", _basic),
    route("POST", "/sobjects/{object}", "create", _create, write=True),
    route("GET", "/sobjects/{object}/describe", "describe", _describe),
    route("GET", "/sobjects/{object}/updated", "updated", _updated),
    route("GET", "/sobjects/{object}/deleted", "deleted", _deleted),
    route("GET", "/sobjects/{object}/{id}", "get", _get),
    route("PATCH", "/sobjects/{object}/{id}", "update", _update, write=True),
    route("DELETE", "/sobjects/{object}/{id}", "delete", _delete, write=True),
    route("GET", "/sobjects/{object}/{field}/{value}", "get_external", _get_external),
    route("PATCH", "/sobjects/{object}/{field}/{value}", "upsert", _upsert, write=True),
]
