"""The REST routes: data-extension rows (queued, synchronous, reading), contact delete."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

from connectors.sim.kernel import Call, Faults, Request, Response
from connectors.sim.marketing_cloud.access import SIDE, Access, Session, blocked, too_many
from connectors.sim.marketing_cloud.extensions import DataExtension, Row
from connectors.sim.marketing_cloud.model import Tenant
from connectors.sim.marketing_cloud.queue import MAX_ITEMS, RowQueue
from connectors.sim.marketing_cloud.retrieve import RetrieveError, compile_filter, extension_props
from connectors.sim.marketing_cloud.values import CellError
from connectors.sim.marketing_cloud.xml import Node

MAX_ASYNC_BODY = int(5.9 * 2**20)
MAX_SYNC_BODY = 5 * 2**20
MAX_PAGE = 2_500
_SYNC = "/hub/v1/dataevents/rowset"
_DOCS = "https://developer.salesforce.com/docs"
_TERM = re.compile(r"\s*([\w ]+?)\s+(eq|neq|gt|gte|lt|lte|like)\s+'((?:[^']|'')*)'\s*$")
_OPERATORS = {"eq": "equals", "neq": "notEquals", "gt": "greaterThan", "gte": "greaterThanOrEqual", "lt": "lessThan",
              "lte": "lessThanOrEqual", "like": "like"}


class RestError(Exception):
    """Answered with this status and the platform's error body."""

    def __init__(self, status: int, code: int, message: str, additional: list[dict[str, Any]] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"message": message, "errorcode": code, "documentation": ""}
        if additional:
            self.body["additionalErrors"] = additional


class RestEndpoint:
    def __init__(self, tenant: Tenant, access: Access, faults: Faults, queue: RowQueue, *, rowset_reading: bool,
                 suppress_days: float) -> None:
        self.tenant = tenant
        self.access = access
        self.faults = faults
        self.queue = queue
        self.rowset_reading = rowset_reading
        self.suppress_days = suppress_days
        rows = r"(key:.+|[0-9a-fA-F-]{36})/rows"
        self._routes: list[tuple[str, re.Pattern[str], str, str, Callable[..., Response]]] = [
            ("PUT", re.compile(f"/data/v1/async/dataextensions/{rows}"), "async.upsert", "data_extensions_write",
             self._async_upsert),
            ("POST", re.compile(f"/data/v1/async/dataextensions/{rows}"), "async.insert", "data_extensions_write",
             self._async_insert),
            ("GET", re.compile("/data/v1/async/([^/]+)/status"), "async.status", "data_extensions_read", self._status),
            ("GET", re.compile("/data/v1/async/([^/]+)/results"), "async.results", "data_extensions_read",
             self._results),
            ("POST", re.compile("/hub/v1/dataevents/key:(.+)/rowset"), "sync.rowset", "data_extensions_write",
             self._rowset_write),
            ("PUT", re.compile("/hub/v1/dataevents/key:(.+)/rows/([^/]+)"), "sync.row", "data_extensions_write",
             self._row_write),
            ("GET", re.compile("/data/v1/customobjectdata/key/(.+)/rowset"), "rowset.read", "data_extensions_read",
             self._rowset_read),
            ("POST", re.compile("/contacts/v1/contacts/actions/delete"), "contacts.delete", "audiences_read",
             self._contact_delete),
            ("GET", re.compile("/contacts/v1/contacts/actions/delete/status"), "contacts.delete_status", "audiences_read",
             self._contact_delete_status),
        ]

    def answer(self, request: Request, call: Call) -> Response:
        try:
            session = authorized(self.access, request)
            if (request.method, request.path) == ("GET", "/v2/userinfo"):
                call.route = "userinfo"  # of the login's own host: it needs no scope, and the limit of REST is not its
                return self._userinfo(session)
            if self.access.rest_limit.full():
                return too_many()
            if self.faults.active(SIDE, "blocked", request.path):
                return blocked()
            for method, pattern, name, scope, handler in self._routes:
                match = pattern.fullmatch(request.path)
                if match and method == request.method:
                    call.route, call.write = name, method != "GET"
                    if not session.may(scope):
                        raise RestError(403, 20002, "Insufficient privileges")
                    return handler(request, call, session, *match.groups())
            raise RestError(404, 30003, "The resource does not exist.")
        except RestError as error:
            return Response(error.status, error.body)

    # ---- whose token it is

    def _userinfo(self, session: Session) -> Response:
        eid = self.tenant.eid
        return Response(200, {
            "exp": int(session.expires), "iss": "https://mc.exacttarget.com", "rest": {}, "permissions": [],
            "organization": {"member_id": session.mid, "enterprise_id": eid, "account_type": "enterprise" if
                             session.mid == eid else "business_unit", "stack_key": "S0", "region": "NA1", "locale": "en-US"},
            "application": {"scope": None if session.scopes is None else " ".join(sorted(session.scopes))}})

    # ---- the queue

    def _async_upsert(self, request: Request, call: Call, session: Session, which: str) -> Response:
        return self._enqueue(request, call, session, which, "upsert")

    def _async_insert(self, request: Request, call: Call, session: Session, which: str) -> Response:
        return self._enqueue(request, call, session, which, "insert")

    def _enqueue(self, request: Request, call: Call, session: Session, which: str, mode: str) -> Response:
        extension = self._extension(session, which)
        if len(request.body) > MAX_ASYNC_BODY:
            raise RestError(413, 10004, "The request body is too large.")
        body = _json(request)
        items = body.get("items") if isinstance(body, dict) else None
        if not isinstance(items, list) or not items or not all(isinstance(i, dict) for i in items):
            raise RestError(400, 10004, "The body must hold items.")
        if len(items) > MAX_ITEMS:
            raise RestError(400, 10005, f"A request holds at most {MAX_ITEMS} items.")
        if mode == "upsert" and not extension.primary:
            raise RestError(400, 10005, "The data extension has no primary key.")
        call.records = len(items)
        queued = self.queue.put(session.mid, extension.key, mode, items)
        return Response(202, {"requestId": queued.id, "resultMessages": []})

    def _status(self, request: Request, call: Call, session: Session, request_id: str) -> Response:
        return Response(200, self.queue.status(request_id))

    def _results(self, request: Request, call: Call, session: Session, request_id: str) -> Response:
        return Response(200, self.queue.answer(request_id, _positive(request.query, "$page", 1),
                                               _positive(request.query, "$pageSize", 50)))

    # ---- synchronous writing

    def _rowset_write(self, request: Request, call: Call, session: Session, key: str) -> Response:
        if len(request.body) > MAX_SYNC_BODY:
            raise RestError(413, 10004, "The request body is too large.")
        body = _json(request)
        if not isinstance(body, list) or not all(isinstance(r, dict) for r in body):
            raise RestError(400, 10004, "The body must be an array of rows.")
        extension = self._extension(session, f"key:{key}")
        self._write(extension, [{**(r.get("keys") or {}), **(r.get("values") or {})} for r in body])
        call.records = len(body)
        return Response(200, body)

    def _row_write(self, request: Request, call: Call, session: Session, key: str, named: str) -> Response:
        body = _json(request)
        keys = dict(part.split(":", 1) for part in named.split(",") if ":" in part)
        if not isinstance(body, dict) or not keys:
            raise RestError(400, 10004, "The body must hold values.")
        self._write(self._extension(session, f"key:{key}"), [{**keys, **(body.get("values") or {})}])
        call.records = 1
        return Response(200, {"keys": keys, "values": body.get("values") or {}})

    def _write(self, extension: DataExtension, rows: list[dict[str, Any]]) -> None:
        """All errors of the call in one answer; whether the good rows stayed is anybody's guess, so a draw decides."""
        if not extension.primary:
            raise RestError(400, 10006, f"Unable to save rows for data extension ID {extension.number}",
                            [_additional("The data extension has no primary key.")])
        good, errors = [], []
        cut = len(rows) // 2 if self.faults.active(SIDE, "partial", _SYNC, extension.key) else len(rows)
        for number, row in enumerate(rows):
            try:
                if number >= cut:
                    raise CellError("UnexpectedError", "Transaction was deadlocked. Parse error [UnexpectedError]")
                good.append(extension.prepare(row, self.tenant.tz))
            except CellError as error:
                errors.append(_additional(str(error)))
        if not errors or self.tenant.rng.random() < 0.5:
            for cells in good:
                extension.put(cells, "upsert", self.tenant.now())
        if errors:
            raise RestError(400, 10006, f"Unable to save rows for data extension ID {extension.number}", errors)

    # ---- reading

    def _rowset_read(self, request: Request, call: Call, session: Session, key: str) -> Response:
        if not self.rowset_reading:
            raise RestError(404, 30003, "The resource does not exist.")
        extension = self._extension(session, f"key:{key}")
        page = _positive(request.query, "$page", 1)
        size = min(_positive(request.query, "$pagesize", _positive(request.query, "$pageSize", 50)), MAX_PAGE)
        keys = extension.select(self._filter(extension, request.query.get("$filter")),
                                _order(extension, request.query.get("$orderBy")))
        if self.faults.active(SIDE, "empty_list", request.path, extension.key):
            keys = []
        shown = keys[(page - 1) * size:page * size]
        if self.faults.active(SIDE, "truncated_page", request.path, extension.key):
            shown = shown[:len(shown) // 2]
        dropped = self.faults.active(SIDE, "drop_field", request.path, extension.key)
        items = _items(extension, [extension.rows[k] for k in shown], request.query.get("$fields"),
                       dropped.field if dropped else None)
        links = {"self": f"/v1/customobjectdata/key/{key}/rowset?$page={page}&$pagesize={size}"}
        if page * size < len(keys):
            links["next"] = f"/v1/customobjectdata/key/{key}/rowset?$page={page + 1}&$pagesize={size}"
        body = {"links": links, "customObjectId": extension.object_id, "customObjectKey": extension.key,
                "pageSize": size, "page": page, "count": len(keys), "items": items}
        return Response(200, orjson.dumps(body))

    def _filter(self, extension: DataExtension, text: str | None) -> Callable[[Row], bool] | None:
        if not text:
            return None
        tests = []
        props = extension_props(extension, self.tenant.tz)
        for part in re.split(r"\s+and\s+", text):
            match = _TERM.match(part)
            if match is None:
                raise RestError(400, 10003, "The $filter could not be read.")
            name, how, value = match.groups()
            node = Node("Filter", "SimpleFilterPart", "", [
                Node("Property", text=name), Node("SimpleOperator", text=_OPERATORS[how]),
                Node("Value", text=value.replace("''", "'"))])
            try:
                tests.append(compile_filter(node, props, self.tenant.tz))
            except RetrieveError as error:
                raise RestError(400, 10003, str(error)) from None
        return lambda row: all(test(row) for test in tests)

    # ---- contacts

    def _contact_delete(self, request: Request, call: Call, session: Session) -> Response:
        body = _json(request)
        values = body.get("values") if isinstance(body, dict) else None
        if request.query.get("type") != "keys" or not isinstance(values, list):
            raise RestError(400, 10003, "Only type=keys with values is available.")
        if session.mid != self.tenant.eid:
            raise RestError(403, 20001, "Contacts are deleted at the enterprise.")
        due = self.tenant.now() + self.suppress_days * 86_400
        for key in values:
            self.tenant.deleting[str(key).lower()] = due
        number = self.tenant.number("job")
        self.tenant.deletions[number] = due
        self.tenant.tick()
        call.records = len(values)
        return Response(200, {"operationInitiated": True, "operationID": number,
                              "requestServiceMessageID": self.tenant.guid(), "resultMessages": [], "hasErrors": False})

    def _contact_delete_status(self, request: Request, call: Call, session: Session) -> Response:
        number = request.query.get("operationID", "")
        due = self.tenant.deletions.get(int(number)) if number.isdigit() else None
        if due is None or session.mid != self.tenant.eid:
            raise RestError(404, 30003, "The operation does not exist.")
        word = "Completed" if due <= self.tenant.now() else "Processing"
        return Response(200, {
            "backgroundOperationsSummary": [{"backgroundOperationStatusID": word}],
            "operation": {"operationID": int(number), "deleteType": "ContactAndAttributes", "eID": self.tenant.eid,
                          "mID": session.mid, "status": "Completed", "retryCount": 0},
            "requestServiceMessageID": self.tenant.guid(), "resultMessages": []})

    def _extension(self, session: Session, which: str) -> DataExtension:
        if which.startswith("key:"):
            found = self.tenant.extension(session.mid, which[4:])
        else:
            found = next((e for e in self.tenant.extensions.values()
                          if e.mid == session.mid and e.object_id == which.lower()), None)
        if found is None:
            raise RestError(400, 10005, "The data extension does not exist.")
        return found


def authorized(access: Access, request: Request) -> Session:
    """:raises RestError: 401 with errorcode 0"""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    session = access.session(token.strip()) if scheme.lower() == "bearer" else None
    if session is None:
        error = RestError(401, 0, "Not Authorized")
        error.body["documentation"] = f"{_DOCS}/atlas.en-us.mc-apis.meta/mc-apis/error-handling.htm"
        raise error
    return session


def _additional(message: str) -> dict[str, Any]:
    return {"message": message, "errorcode": 10000, "documentation": ""}


def _json(request: Request) -> Any:
    if "json" not in request.headers.get("content-type", ""):
        raise RestError(415, 0, "The media type is not supported.")
    try:
        return request.json()
    except orjson.JSONDecodeError:
        raise RestError(400, 10004, "The body is not JSON.") from None


def _positive(query: Any, name: str, otherwise: int) -> int:
    text = query.get(name, "")
    return int(text) if text.isdigit() and int(text) > 0 else otherwise


def _order(extension: DataExtension, text: str | None) -> tuple[int, bool] | None:
    if not text:
        return None
    name, _, direction = text.strip().partition(" ")
    position = extension.position(name)
    if position is None:
        raise RestError(400, 10003, "The $orderBy could not be read.")
    return position, direction.strip().lower() == "desc"


def _items(extension: DataExtension, rows: list[Row], fields: str | None, dropped: str | None) -> list[dict[str, Any]]:
    """Rows as keys and values with lower-cased names; a column without a value is left out."""
    wanted = {f.strip().lower() for f in fields.split(",")} if fields else None
    key_names, value_names = [], []
    for position, column in enumerate(extension.columns):
        low = column.name.lower()
        if column.primary:
            key_names.append((low, position))
        elif (wanted is None or low in wanted) and (dropped is None or low != dropped.lower()):
            value_names.append((low, position))
    return [{"keys": {n: row[p] for n, p in key_names},
             "values": {n: row[p] for n, p in value_names if row[p] is not None}} for row in rows]
