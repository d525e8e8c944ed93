"""The wire: JSON-RPC, XML-RPC, JSON-2, web sessions and the recipient's pages. It calls the server, which holds the
data; nothing here knows a model."""

from __future__ import annotations

import html
import inspect
import secrets
import xmlrpc.client
from collections.abc import Callable
from typing import Any, Protocol

import orjson

from connectors.sim.kernel import Call, Clock, Request, Response
from connectors.sim.odoo import errors, marketing, methods
from connectors.sim.odoo.access import Access, User
from connectors.sim.odoo.errors import OdooError
from connectors.sim.odoo.orm import Env
from connectors.sim.odoo.values import normalize_email

_HTML = "text/html; charset=utf-8"
_JSON = "application/json; charset=utf-8"
COOLDOWN_AFTER, COOLDOWN_SECONDS = 10, 60.0


class Server(Protocol):
    """What the wire needs of the simulated server."""

    database: str
    version: str
    access: Access
    auth_seconds: float

    @property
    def clock(self) -> Clock: ...

    @property
    def major(self) -> int: ...

    def execute(self, user: User, model: str, method: str, args: Any, kwargs: Any, call: Call) -> Any: ...

    def run(self, uid: int, work: Callable[[Env], Any], *, su: bool = False) -> Any: ...


def page(status: int, title: str) -> Response:
    """An HTML page, as every error outside the RPC endpoints is."""
    return Response(status, f"<!doctype html>\n<html lang=en>\n<title>{html.escape(title)}</title>\n"
                            f"<h1>{html.escape(title)}</h1>\n", content_type=_HTML)


class Wire:
    """Routes requests of one server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._sessions: dict[str, int] = {}
        self._failures: list[float] = []

    def handle(self, request: Request, call: Call) -> Response:
        path = request.path
        call.route = path
        if path == "/jsonrpc":
            response = self._jsonrpc(request, lambda p: self._service(p, call))
        elif path.startswith(("/xmlrpc/2/", "/xmlrpc/")):
            response = self._xmlrpc(request, call)
        elif path.startswith("/json/2/") and self.server.major >= 19:
            response = self._json2(request, call)
        elif path.startswith("/doc-bearer/") and self.server.major >= 19:
            response = self._doc(request)
        elif path.startswith("/mailing/"):
            response = self._mailing(request, call)
        else:
            response = self._web(request, call)
        # The server closes every connection: a new one per call.
        response.headers["Connection"] = "close"
        return response

    # -- JSON-RPC

    def _jsonrpc(self, request: Request, work: Callable[[dict[str, Any]], Any]) -> Response:
        kind = request.headers.get("content-type", "")
        if request.method == "POST" and not kind.startswith("application/json"):
            return page(400, "Bad Request")
        try:
            body = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            return Response(400, "Invalid JSON data", content_type=_HTML)
        if not isinstance(body, dict):
            return Response(400, "Invalid JSON-RPC data", content_type=_HTML)
        answer: dict[str, Any] = {"jsonrpc": "2.0", "id": body.get("id")}
        delay = 0.0
        try:
            params = body.get("params") or {}
            if not isinstance(params, dict):
                raise errors.builtin("TypeError", "cannot convert dictionary update sequence element #0 to a sequence")
            known = len(self.server.access.verified)
            result = work(params)
            delay = self.server.auth_seconds if len(self.server.access.verified) > known else 0.0
            if result is not None:
                # A method that returns nothing leaves neither result nor error in the answer.
                answer["result"] = result
        except OdooError as error:
            answer["error"] = error.answer()
        return Response(200, answer, content_type=_JSON, delay=delay)

    def _service(self, params: dict[str, Any], call: Call) -> Any:
        service, method, args = params.get("service"), str(params.get("method")), list(params.get("args") or [])
        if service not in ("common", "object", "db"):
            raise errors.builtin("KeyError", str(service))
        call.route = f"{service}.{method}"
        return self._dispatch(str(service), method, args, call)

    def _dispatch(self, service: str, method: str, args: list[Any], call: Call) -> Any:
        if service == "common":
            return self._common(method, args)
        if service == "db":
            raise errors.access_denied()
        if method not in ("execute", "execute_kw"):
            raise errors.builtin("NameError", f"Method not available {method}")
        database, uid, secret, model, name, *rest = args
        self._require_database(database)
        call.route = f"{model}.{name}"
        user, _ = self.server.access.verify(uid, secret)
        if method == "execute":
            return self.server.execute(user, model, name, rest, {}, call)
        positional = rest[0] if rest else []
        named = rest[1] if len(rest) > 1 else {}
        return self.server.execute(user, model, name, positional, named, call)

    def _common(self, method: str, args: list[Any]) -> Any:
        if method == "version":
            return self._version()
        if method in ("authenticate", "login"):
            database, login, secret = args[:3]
            self._require_database(database)
            return self.server.access.authenticate(login, secret) or False
        raise errors.builtin("AttributeError", f"Method not found: {method}")

    def _require_database(self, name: str) -> None:
        if name != self.server.database:
            raise errors.unknown_database(name)

    def _version(self) -> dict[str, Any]:
        return {"server_version": self.server.version, "server_version_info": [self.server.major, 0, 0, "final", 0, ""],
                "server_serie": self.server.version, "protocol_version": 1}

    # -- XML-RPC

    def _xmlrpc(self, request: Request, call: Call) -> Response:
        old = not request.path.startswith("/xmlrpc/2/")
        service = request.path.rsplit("/", 1)[1]
        params, method = xmlrpc.client.loads(request.body)
        try:
            result = self._dispatch(service, str(method), list(params), call)
            body = xmlrpc.client.dumps((result,), methodresponse=True)
        except OdooError as error:
            body = _fault(error, old)
        except TypeError:
            # The transaction is committed all the same.
            body = _fault(errors.builtin("TypeError", "cannot marshal None unless allow_none is enabled"), old)
        return Response(200, body, content_type="text/xml; charset=utf-8")

    # -- JSON-2

    def _json2(self, request: Request, call: Call) -> Response:
        _, _, _, model, name = [*request.path.split("/"), ""][:5]
        call.route = f"{model}.{name}"
        database = request.headers.get("x-odoo-database", self.server.database)
        if database != self.server.database:
            return page(404, "Not Found")
        try:
            user = self._bearer(request)
            named = orjson.loads(request.body or b"{}")
            method = self.server.run(user.id, lambda env: methods.lookup(env, model, name, self.server.major))
            ids = named.pop("ids", None)
            if not method.on_ids and ids:
                raise OdooError("werkzeug.exceptions.UnprocessableEntity",
                                f"cannot call {model}.{name} with ids", status=422)
            args = [ids or []] if method.on_ids else []
            result = self.server.execute(user, model, name, args, named, call)
            return Response(200, orjson.dumps(result), content_type=_JSON)  # a bare text is JSON, too
        except OdooError as error:
            unknown = error.message.startswith("Object ")
            data = error.answer()["data"]
            return Response(404 if unknown else error.status, data, content_type=_JSON)

    def _bearer(self, request: Request) -> User:
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        user = self.server.access.by_key(secret) if scheme.lower() == "bearer" else None
        if user is None:
            raise OdooError("werkzeug.exceptions.Unauthorized", "Invalid apikey", status=401)
        return user

    def _doc(self, request: Request) -> Response:
        """The introspection page clients read to turn positional into named arguments."""
        model = request.path.rsplit("/", 1)[1].removesuffix(".json")
        try:
            self._bearer(request)
        except OdooError as error:
            return Response(error.status, error.answer()["data"], content_type=_JSON)
        found = {name: m for (owner, name), m in methods.METHODS.items() if owner in ("", model)}
        return Response(200, {"methods": {name: {
            "parameters": {p: {} for p, info in methods.signature(m).items()
                           if p != "ids" and info.kind is not inspect.Parameter.VAR_KEYWORD},
            "api": [] if m.on_ids else ["model"]} for name, m in found.items()}}, content_type=_JSON)

    # -- web client

    def _web(self, request: Request, call: Call) -> Response:
        path = request.path
        if path == "/web/health":
            return Response(200, {"status": "pass"}, content_type=_JSON)
        if path == "/web/version" and self.server.major >= 19:
            info = self._version()
            return Response(200, {"version": info["server_version"], "version_info": info["server_version_info"]},
                            content_type=_JSON)
        if path == "/web/webclient/version_info":
            return self._jsonrpc(request, lambda _params: self._version())
        if path == "/web/session/authenticate":
            return self._session(request)
        if path.startswith("/web/dataset/call_kw/"):
            return self._jsonrpc(request, lambda p: self._call_kw(request, p, call))
        return page(404, "Not Found")

    def _session(self, request: Request) -> Response:
        cookie: list[str] = []

        def work(params: dict[str, Any]) -> Any:
            now = self.server.clock.now()
            if len(self._failures) >= COOLDOWN_AFTER - 1 and now - self._failures[-1] < COOLDOWN_SECONDS:
                self._failures.append(now)
                raise errors.access_denied("Too many login failures, please wait a bit before trying again.")
            users = self.server.access.users.values()
            # Only the password opens a session, never an API key.
            user = next((u for u in users if u.active and u.login == params.get("login") and u.password
                         and u.password == params.get("password")), None)
            if user is None:
                self._failures.append(now)
                raise errors.access_denied()
            self._failures.clear()
            cookie.append(secrets.token_hex(20))
            self._sessions[cookie[0]] = user.id
            return {"uid": user.id, "db": self.server.database, "server_version": self.server.version,
                    "user_context": {"lang": user.lang, "tz": user.tz, "uid": user.id},
                    "server_version_info": self._version()["server_version_info"], "username": user.login}

        response = self._jsonrpc(request, work)
        if cookie:
            response.headers["Set-Cookie"] = f"session_id={cookie[0]}; HttpOnly; Path=/"
        return response

    def _call_kw(self, request: Request, params: dict[str, Any], call: Call) -> Any:
        crumbs = dict(c.strip().partition("=")[::2] for c in request.headers.get("cookie", "").split(";"))
        uid = self._sessions.get(crumbs.get("session_id", ""))
        if uid is None:
            raise OdooError("odoo.http.SessionExpiredException", "Session expired", code=100)
        user = self.server.access.users[uid]
        model, name = str(params["model"]), str(params["method"])
        call.route = f"{model}.{name}"
        return self.server.execute(user, model, name, params.get("args", []), params.get("kwargs", {}), call)

    # -- recipients

    def _mailing(self, request: Request, call: Call) -> Response:
        """Unsubscribe links and preference pages. A plain GET unsubscribes already, link scanners included."""
        parts = request.path.strip("/").split("/")
        call.write = True
        if len(parts) == 3 and parts[1].isdigit() and parts[2] in ("unsubscribe", "unsubscribe_oneclick"):
            return self._follow_link(int(parts[1]), request, call, oneclick=parts[2] != "unsubscribe")
        call.route = "mailing." + ".".join(parts[1:])
        return self._jsonrpc(request, lambda p: self._page_action("/".join(parts[1:]), p))

    def _follow_link(self, mailing: int, request: Request, call: Call, *, oneclick: bool) -> Response:
        call.route = "mailing.unsubscribe_oneclick" if oneclick else "mailing.unsubscribe"
        if oneclick and request.method != "POST":
            return page(405, "Method Not Allowed")
        if "hash_token" not in request.query:
            return page(400, "Bad Request")
        address, document = request.query.get("email", ""), request.query.get("document_id", "")
        if not self._token_fits(mailing, document, address, request.query["hash_token"]):
            return page(418, "Unauthorized")
        normal = normalize_email(address)
        if normal is not None:
            self.server.run(1, lambda env: marketing.unsubscribe(env, mailing, normal))
        return Response(200, b"", content_type=_HTML) if oneclick else page(200, "Successfully Unsubscribed")

    def _page_action(self, action: str, params: dict[str, Any]) -> Any:
        mailing, address = int(params.get("mailing_id", 0)), normalize_email(params.get("email"))
        if address is None or not self._token_fits(
                mailing, str(params.get("document_id", "")), str(params.get("email")), str(params.get("hash_token"))):
            return "unauthorized"
        chosen = params.get("lists_optin_ids") or []
        work: dict[str, Callable[[Env], Any]] = {
            "feedback": lambda env: marketing.give_reason(
                env, mailing, address, str(params.get("last_action")), int(params["opt_out_reason_id"])),
            "list/update": lambda env: marketing.choose_lists(env, mailing, address, chosen),
            "blocklist/add": lambda env: bool(marketing.blacklist_add(marketing.as_public(env), address)),
            "blocklist/remove": lambda env: marketing.blacklist_remove(marketing.as_public(env), address) is not None,
        }
        if action not in work:
            raise OdooError("werkzeug.exceptions.NotFound", "404: Not Found", code=404)
        return self.server.run(1, work[action])

    def _token_fits(self, mailing: int, document: str, address: str, given: str) -> bool:
        if not document.isdigit():
            return False
        wanted = marketing.token(self.server.database, mailing, int(document), address)
        return secrets.compare_digest(wanted, given)


def _fault(error: OdooError, old: bool) -> str:
    """An XML-RPC fault: numbers in version 2, text in version 1; application errors come with a traceback."""
    kind = error.name.rsplit(".", 1)[-1]
    traced = f"Traceback (most recent call last):\n  File \"/odoo/http.py\", line 1\n{kind}: {error.message}\n"
    number = {"AccessDenied": 3, "AccessError": 4, "UserError": 2, "ValidationError": 2, "MissingError": 2}.get(kind, 1)
    code: Any = number
    if old:
        warning = f"warning -- {kind}\n\n{error.message}"
        code = {1: error.message, 3: "AccessDenied"}.get(number, warning)
    text = traced if number == 1 else error.message
    return xmlrpc.client.dumps(xmlrpc.client.Fault(code, text), methodresponse=True)
