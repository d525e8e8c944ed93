"""sObject Collections and Composite: many rows, or many requests, in one call."""

from __future__ import annotations

import contextlib
import re
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from connectors.sim.kernel import Call, Request, Response

from . import ids
from .errors import Refused
from .save import lock_row
from .sobjects import external_field, render_rows, seen, upsert
from .web import Context, Route, route

MOST_ROWS = 200
MOST_CHUNKS = 10
MOST_SUBREQUESTS = 25

class _RollBack(Exception):
    """Leaves a transaction without keeping it."""


One = Callable[[Mapping[str, Any]], dict[str, Any]]


# --------------------------------------------------------------------------- collections

def _records(ctx: Context) -> tuple[list[Mapping[str, Any]], bool]:
    """The rows of the body and allOrNone.

    :raises Refused: more than 200 rows, more than ten runs of one type
    """
    body = ctx.json()
    if not isinstance(body, dict) or not isinstance(body.get("records"), list):
        raise Refused("JSON_PARSER_ERROR", "records: a list is expected")
    rows = body["records"]
    _few(rows)
    types = [(row.get("attributes") or {}).get("type") for row in rows]
    chunks = sum(1 for i, t in enumerate(types) if i == 0 or types[i - 1] != t)
    if chunks > MOST_CHUNKS:
        raise Refused("LIMIT_EXCEEDED", "Cannot have more than 10 chunks in a single operation. "
                                        "Please rearrange the data to reduce chunking.")
    return rows, bool(body.get("allOrNone", False))


def _few(rows: list[Any], most: int = MOST_ROWS) -> None:
    if len(rows) > most:
        raise Refused("EXCEEDED_ID_LIMIT", f"record limit reached. cannot submit more than {most} records in this call")


def _type(ctx: Context, row: Mapping[str, Any]) -> str:
    name = (row.get("attributes") or {}).get("type")
    known = ctx.sim.db.objects.get(str(name).lower())
    if known is None:
        raise Refused("INVALID_TYPE", f"sObject type '{name}' is not supported.")
    return known


def _each(ctx: Context, rows: list[Any], all_or_none: bool, one: One, object: str | None) -> Response:
    """Run ``one`` for every row; HTTP 200 even when rows fail. A lock-row fault strikes some of them."""
    struck: set[int] = set()
    if rows and ctx.fault("partial", object):
        struck = {i for i in range(len(rows)) if ctx.sim.rng.random() < 0.3} or {ctx.sim.rng.randrange(len(rows))}
    results: list[dict[str, Any]] = []
    with contextlib.suppress(_RollBack), ctx.sim.db.transaction():
        for i, row in enumerate(rows):
            try:
                with ctx.sim.db.transaction():
                    if i in struck:
                        raise lock_row(row if isinstance(row, str) else str(row.get("Id") or row.get("id") or "n/a"))
                    results.append({**one(row), "success": True, "errors": []})
            except Refused as error:
                results.append({"success": False, "errors": [error.row()]})
        ctx.call.records = sum(1 for r in results if r["success"])
        if all_or_none and ctx.call.records < len(rows):
            raise _RollBack
        return Response(200, results)
    ctx.call.records = 0
    rolled = {"statusCode": "ALL_OR_NONE_OPERATION_ROLLED_BACK", "fields": [],
              "message": "Record rolled back because not all records were valid and the request was using AllOrNone "
                         "header"}
    return Response(200, [{"success": False, "errors": [rolled]} if r["success"] else r for r in results])


def _one_type(ctx: Context, rows: list[Mapping[str, Any]]) -> str | None:
    """The object all rows are of, if there is one: what an object-bound fault looks at."""
    names = {(row.get("attributes") or {}).get("type") for row in rows}
    return names.pop() if len(names) == 1 else None


def _create(ctx: Context) -> Response:
    rows, whole = _records(ctx)

    def one(row: Mapping[str, Any]) -> dict[str, Any]:
        return {"id": ctx.sim.writer.create(_type(ctx, row), row, ctx.actor)}
    return _each(ctx, rows, whole, one, _one_type(ctx, rows))


def _update(ctx: Context) -> Response:
    rows, whole = _records(ctx)
    met: set[str] = set()

    def one(row: Mapping[str, Any]) -> dict[str, Any]:
        object = _type(ctx, row)
        given = row.get("Id") or row.get("id")
        if given is None:
            raise Refused("MISSING_ARGUMENT", "Id not specified in an update call")
        record = ids.normal(given)
        if record is None or ctx.sim.db.object_of(record) != object:
            raise Refused("MALFORMED_ID", f"{object} ID: id value of incorrect type: {given}", ["Id"])
        if record in met:
            raise Refused("DUPLICATE_VALUE", f"Duplicate id specified: {record}")
        met.add(record)
        ctx.sim.writer.update(object, record, {k: v for k, v in row.items() if k.lower() != "id"}, ctx.actor)
        return {"id": record}
    return _each(ctx, rows, whole, one, _one_type(ctx, rows))


def _upsert(ctx: Context) -> Response:
    object = ctx.object()
    name = external_field(ctx, object, ctx.args["field"])
    rows, whole = _records(ctx)

    def one(row: Mapping[str, Any]) -> dict[str, Any]:
        value = next((v for k, v in row.items() if k.lower() == name.lower()), None)
        record, created = upsert(ctx, object, name, value, row, ctx.actor)
        return {"id": record, "created": created}
    return _each(ctx, rows, whole, one, object)


def _delete(ctx: Context) -> Response:
    given = [i for i in ctx.request.query.get("ids", "").split(",") if i]
    _few(given)

    def one(text: Any) -> dict[str, Any]:
        record = ids.normal(text)
        object = ctx.sim.db.object_of(record) if record else None
        if record is None or object is None:
            raise Refused("MALFORMED_ID", f"malformed id {text}")
        ctx.sim.lifecycle.delete(object, record, ctx.actor)
        return {"id": record}
    whole = ctx.request.query.get("allOrNone", "false").lower() == "true"
    return _each(ctx, list(given), whole, one, None)


def _retrieve(ctx: Context) -> Response:
    """Rows by id, in order; null for what does not exist (any more)."""
    object = ctx.object()
    if ctx.request.method == "POST":
        body = ctx.json()
        given, names = list(body.get("ids", ())), list(body.get("fields", ()))
        _few(given, 2000)
    else:
        given = [i for i in ctx.request.query.get("ids", "").split(",") if i]
        names = ctx.request.query.get("fields", "").split(",")
        _few(given, 2000)
    if not any(names):
        raise Refused("MISSING_ARGUMENT", "fields: at least one is needed")
    rows = [seen(ctx, object, ids.normal(i)) for i in given]
    return Response(200, render_rows(ctx, object, rows, names))


# --------------------------------------------------------------------------- composite

_HEAVY = re.compile(r"/(query|queryAll|composite/sobjects)\b", re.IGNORECASE)
_REFERENCE = re.compile(r"@\{(\w+)((?:\.\w+|\[\d+\])*)\}")


def _resolve(value: Any, answers: Mapping[str, Any]) -> Any:
    """Replace ``@{ref.path}`` in every text of a subrequest.

    :raises Refused: the reference is unknown or its request failed
    """
    if isinstance(value, dict):
        return {k: _resolve(v, answers) for k, v in value.items()}
    if isinstance(value, list):
        return [_resolve(v, answers) for v in value]
    if not isinstance(value, str):
        return value

    def one(match: re.Match[str]) -> str:
        try:
            found = answers[match.group(1)]
            for part in re.findall(r"\w+", match.group(2)):
                found = found[int(part)] if isinstance(found, list) else found[part]
        except (KeyError, IndexError, TypeError, ValueError):
            raise Refused("PROCESSING_HALTED", f"Invalid reference specified. No value for {match.group(1)}") from None
        return str(found)
    return _REFERENCE.sub(one, value)


def _run(ctx: Context, method: str, url: str, body: Any, headers: Mapping[str, str]) -> Response:
    """One subrequest through the same routes as a request of its own."""
    parts = urllib.parse.urlsplit(url)
    path = urllib.parse.unquote(parts.path)
    if not path.startswith("/services/data/"):
        path = "/services/data/" + path.lstrip("/")
    request = Request(method, path, dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True)),
                      {**ctx.request.headers, **{k.lower(): v for k, v in headers.items()}},
                      b"" if body is None else orjson.dumps(body))
    inner = Call()
    response = ctx.sim.dispatch(request, inner)
    ctx.call.records += inner.records
    return response


def _halted(message: str) -> list[dict[str, Any]]:
    return [{"errorCode": "PROCESSING_HALTED", "message": message}]


def _composite(ctx: Context) -> Response:
    body = ctx.json()
    subs = body.get("compositeRequest") if isinstance(body, dict) else None
    if not isinstance(subs, list) or len(subs) > MOST_SUBREQUESTS:
        raise Refused("LIMIT_EXCEEDED", f"at most {MOST_SUBREQUESTS} subrequests are allowed")
    heavy = sum(1 for s in subs if _HEAVY.search(s.get("url", "")))
    if heavy > 5:
        raise Refused("LIMIT_EXCEEDED", "at most 5 query or collection subrequests are allowed")
    whole = bool(body.get("allOrNone", False))
    out: list[dict[str, Any]] = []
    with contextlib.suppress(_RollBack), ctx.sim.db.transaction():
        failed = _subrequests(ctx, subs, out, stop=whole)
        if failed and whole:
            raise _RollBack
        return Response(200, {"compositeResponse": out})
    ctx.call.records = 0
    out = [{**o, "body": _halted(_ROLLED_BACK), "httpStatusCode": 400} if o["httpStatusCode"] < 300 else o for o in out]
    return Response(200, {"compositeResponse": out})


_ROLLED_BACK = "The transaction was rolled back since another operation in the same transaction failed."


def _subrequests(ctx: Context, subs: list[Any], out: list[dict[str, Any]], *, stop: bool) -> bool:
    """Run them in order, each answer into ``out``; whether one failed. ``stop`` = none runs after the first failure."""
    answers: dict[str, Any] = {}
    failed = False
    for sub in subs:
        ref = str(sub.get("referenceId", ""))
        try:
            if failed and stop:
                raise Refused("PROCESSING_HALTED", _ROLLED_BACK)
            response = _run(ctx, sub["method"], _resolve(sub["url"], answers), _resolve(sub.get("body"), answers),
                            sub.get("httpHeaders") or {})
        except Refused as error:
            response = Response(400, _halted(error.message))
        if response.status < 300:
            answers[ref] = response.body
        failed = failed or response.status >= 300
        out.append({"body": response.body or None, "httpHeaders": {}, "httpStatusCode": response.status,
                    "referenceId": ref})
    return failed


def _batch(ctx: Context) -> Response:
    body = ctx.json()
    subs = body.get("batchRequests") if isinstance(body, dict) else None
    if not isinstance(subs, list) or len(subs) > MOST_SUBREQUESTS:
        raise Refused("LIMIT_EXCEEDED", f"at most {MOST_SUBREQUESTS} subrequests are allowed")
    answers: list[Response] = []
    for sub in subs:
        ctx.sim.quota.count()
        answers.append(_run(ctx, sub["method"], sub["url"], sub.get("richInput"), {}))
    return Response(200, {"hasErrors": any(a.status >= 300 for a in answers),
                          "results": [{"statusCode": a.status, "result": a.body or None} for a in answers]})


ROUTES: list[Route] = [
    route("POST", "/composite/sobjects", "collections.create", _create, write=True),
    route("PATCH", "/composite/sobjects", "collections.update", _update, write=True),
    route("DELETE", "/composite/sobjects", "collections.delete", _delete, write=True),
    route("PATCH", "/composite/sobjects/{object}/{field}", "collections.upsert", _upsert, write=True),
    route("GET", "/composite/sobjects/{object}", "collections.retrieve", _retrieve),
    route("POST", "/composite/sobjects/{object}", "collections.retrieve", _retrieve),
    route("POST", "/composite", "composite", _composite, write=True),
    route("POST", "/composite/batch", "composite.batch", _batch, write=True),
]
