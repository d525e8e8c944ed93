"""Calls of model methods over JSON-RPC (15.0 … 21.0) or JSON-2 (from 19.0), behind one interface."""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from connectors.base import Account, CallCounter
from connectors.errors import Misconfigured, Outage, Reauthenticate, RejectRecord, Retry
from connectors.http import Http, Reply, retry_after
from connectors.login import Login
from connectors.odoo.settings import OdooSettings
from connectors.odoo.wire import errors

Domain = list[Any]
Right = Literal["read", "write", "create"]

# The argument that must be positional over JSON-RPC: its name changed between versions, or ``create`` looks for it.
_FIRST = {"search": "domain", "search_read": "domain", "search_count": "domain", "create": "vals_list",
          "write": "vals", "has_access": "operation", "check_access_rights": "operation", "fields_get": "allfields",
          "has_group": "group_ext_id"}


class Session(NamedTuple):
    """Who we are at which server: the user's id, the server's version, and the protocol in use."""

    uid: int
    version: str
    major: int
    json2: bool


class Wire:
    """Model methods of one database. Safe for several threads."""

    def __init__(self, settings: OdooSettings, *, http_factory: Callable[..., Http] = Http,
                 clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self.counter = CallCounter()
        # The same clock on both sides, or the measured skew would be about something else.
        self.http = http_factory(settings.url, counter=self.counter, ca_file=settings.ca_file, clock=clock)
        self._clock = clock
        self.login = Login(self._log_in, account=self._account)

    # -- who and when

    def session(self, *, fresh: bool = False) -> Session:
        """Log in once; ``fresh`` asks again, because an expired key goes on working in calls for a while.

        :raises Reauthenticate, Misconfigured, Retry, Throttled, Outage:
        """
        return self.login.anew() if fresh else self.login.get()

    def now(self) -> int:
        """The server's time in micros, never later than it is: the Date header is cut to the second."""
        return int((self._clock() + (self.http.server_skew or 0.0)) * 1e6)

    def _log_in(self) -> Session:
        version, major = self._version()
        json2 = self.settings.api == "json2" or (self.settings.api == "auto" and major >= 19)
        if json2:
            context = self._json2("res.users", "context_get", None, {}, write=False)
            return Session(int(context["uid"]), version, major, True)
        uid = self._service("common", "authenticate",
                            [self.settings.database, self.settings.user, self.settings.api_key, {}])
        if not isinstance(uid, int) or uid is False:
            # A wrong key is no error to the server: it answers false.
            raise errors.classify(errors.ACCESS_DENIED, "", what="authenticate", write=False)
        return Session(uid, version, major, False)

    def _account(self, session: Session) -> Account:
        """The database. Its uuid is shown to administrators only; who is none is told apart by address and name."""
        try:
            told = self._method(session, "ir.config_parameter", "get_param", None, {"key": "database.uuid"}, write=False)
        except Misconfigured:
            told = None
        except Reauthenticate:
            raise self._one_worker() from None
        where = urllib.parse.urlsplit(self.settings.url)
        return Account(f"database {told}" if isinstance(told, str) and told else "",
                       f"{where.netloc}{where.path.rstrip('/')}/{self.settings.database}")

    def _version(self) -> tuple[str, int]:
        """(text such as "18.0", major number)."""
        if self.settings.api != "json2":
            reply = self._post("/jsonrpc", _envelope("common", "version", []), "common.version", write=False)
            if reply.status == 200 and _is_json(reply):
                info = self._result(reply.json(), "common.version", write=False)
                return str(info["server_version"]), int(info["server_version_info"][0])
            if self.settings.api == "jsonrpc" or reply.status != 404:
                raise errors.http_failure(reply.status, retry_after(reply), what="common.version", write=False)
        reply = self.http.call("GET", "/web/version", route="web.version")
        if reply.status != 200 or not _is_json(reply):
            raise errors.http_failure(reply.status if reply.status != 200 else 404, retry_after(reply),
                                      what="web.version", write=False)
        info = reply.json()
        return str(info["version"]), int(info["version_info"][0])

    # -- calls

    def call(self, model: str, method: str, ids: Sequence[int] | None = None, *, write: bool = False,
             **named: Any) -> Any:
        """One method call in its own transaction; None where the method returns nothing.

        ``ids`` are given to methods of records. ``write`` marks calls that must not be repeated blindly.

        :raises RejectRecord: only with ``write``: the whole call was refused and rolled back
        :raises LostReply: only with ``write``
        :raises Misconfigured, Reauthenticate, Retry, Throttled, Outage: nothing was applied
        """
        session = self.session()
        try:
            return self._method(session, model, method, ids, named, write=write)
        except Reauthenticate:
            # Workers notice an expired key or an archived user at different times: ask the one that is never cached.
            self.session(fresh=True)
        raise self._one_worker()

    @staticmethod
    def _one_worker() -> Retry:
        return Retry("One of Odoo's workers refused the key that the server accepts.", code=errors.ACCESS_DENIED)

    def search_read(self, model: str, domain: Domain, fields: Sequence[str], *, order: str = "id",
                    limit: int = 0) -> list[dict[str, Any]]:
        """Records (archived ones included) as dicts with bare ids in many2one fields; ``limit`` 0 = all."""
        rows = self.call(model, "search_read", domain=domain, fields=list(fields), order=order, limit=limit, load="",
                         context=self.context())
        if not isinstance(rows, list):
            raise Outage(f"Odoo answered {model}.search_read with something else than a list.")
        return rows

    def search(self, model: str, domain: Domain, *, limit: int = 0) -> list[int]:
        """Ids in ascending order, archived records included."""
        ids = self.call(model, "search", domain=domain, order="id", limit=limit, context=self.context())
        if not isinstance(ids, list):
            raise Outage(f"Odoo answered {model}.search with something else than a list.")
        return ids

    def count(self, model: str, domain: Domain) -> int:
        """How many records match, archived ones included."""
        return int(self.call(model, "search_count", domain=domain, context=self.context()))

    def write(self, model: str, ids: Sequence[int], values: Mapping[str, Any]) -> None:
        """Set fields of records, all of them or none.

        :raises RejectRecord: one of them is refused
        """
        self._guarded(model, lambda: self.call(
            model, "write", ids, write=True, vals=dict(values), context={"lang": self.settings.lang}))

    def create(self, model: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Make records, all of them or none.

        :raises RejectRecord: one of them is refused
        """
        self._guarded(model, lambda: self.call(
            model, "create", write=True, vals_list=list(rows), context={"lang": self.settings.lang}))

    def _guarded(self, model: str, call: Callable[[], object]) -> None:
        """An AccessError is about one record, unless the account lacks the right altogether."""
        try:
            call()
        except RejectRecord as error:
            if error.code != errors.ACCESS_ERROR or (self.allowed(model, "write") and self.allowed(model, "create")):
                raise
        else:
            return
        raise Misconfigured(f"The account may not write {model}.", code=errors.ACCESS_ERROR,
                            remedy="Give the Odoo user the group that may (syncd check names it).")

    def allowed(self, model: str, operation: Right) -> bool:
        """Whether the account holds the right on the model as a whole."""
        if self.session().major >= 18:
            return bool(self.call(model, "has_access", [], operation=operation))
        return bool(self.call(model, "check_access_rights", operation=operation, raise_exception=False))

    def may(self, model: str, operation: Right) -> bool:
        """As ``allowed``; False, too, where the model is not installed."""
        try:
            return self.allowed(model, operation)
        except Misconfigured:
            return False

    def context(self) -> dict[str, Any]:
        """Archived records and archived tags count, or they would look deleted and untagged."""
        return {"lang": self.settings.lang, "active_test": False}

    # -- protocols

    def _method(self, session: Session, model: str, method: str, ids: Sequence[int] | None, named: Mapping[str, Any], *,
                write: bool) -> Any:
        if session.json2:
            return self._json2(model, method, ids, named, write=write)
        return self._jsonrpc(session, model, method, ids, named, write=write)

    def _jsonrpc(self, session: Session, model: str, method: str, ids: Sequence[int] | None,
                 named: Mapping[str, Any], *, write: bool) -> Any:
        keywords = dict(named)
        args: list[Any] = [] if ids is None else [list(ids)]
        if _FIRST.get(method, "") in keywords:
            args.append(keywords.pop(_FIRST[method]))
        return self._service("object", "execute_kw", [
            self.settings.database, session.uid, self.settings.api_key, model, method, args, keywords],
            what=f"{model}.{method}", write=write)

    def _service(self, service: str, method: str, args: list[Any], *, what: str = "", write: bool = False) -> Any:
        what = what or f"{service}.{method}"
        reply = self._post("/jsonrpc", _envelope(service, method, args), what, write=write)
        if reply.status != 200 or not _is_json(reply):
            raise errors.http_failure(reply.status, retry_after(reply), what=what, write=write)
        return self._result(reply.json(), what, write=write)

    def _json2(self, model: str, method: str, ids: Sequence[int] | None, named: Mapping[str, Any], *,
               write: bool) -> Any:
        what = f"{model}.{method}"
        body = dict(named) if ids is None else {"ids": list(ids), **named}
        reply = self.http.call("POST", f"/json/2/{model}/{method}", route=what, json=body, write=write, headers={
            "Authorization": f"bearer {self.settings.api_key}", "X-Odoo-Database": self.settings.database})
        answer = reply.json() if _is_json(reply) else None
        if reply.status == 200 and _is_json(reply):
            return answer
        if not isinstance(answer, dict) or "name" not in answer:
            raise errors.http_failure(reply.status, retry_after(reply), what=what, write=write)
        name, message = str(answer["name"]), str(answer.get("message", ""))
        if reply.status == 404 and name == "odoo.exceptions.UserError":
            raise Misconfigured(f"Odoo has no {model}.", code=name, remedy="Install the module or change the mapping.")
        raise errors.classify(name, message, what=what, write=write)

    def _post(self, path: str, body: Mapping[str, Any], route: str, *, write: bool) -> Reply:
        return self.http.call("POST", path, route=route, json=body, write=write)

    @staticmethod
    def _result(answer: Any, what: str, *, write: bool) -> Any:
        """The result, None where the answer has neither result nor error (the method returned nothing)."""
        if not isinstance(answer, dict) or "jsonrpc" not in answer:
            raise errors.http_failure(200, None, what=what, write=write)
        error = answer.get("error")
        if error is None:
            return answer.get("result")
        data = error.get("data") or {}
        raise errors.classify(str(data.get("name", "")), str(data.get("message", "")), what=what, write=write)


def _envelope(service: str, method: str, args: list[Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "call", "id": 1,
            "params": {"service": service, "method": method, "args": args}}


def _is_json(reply: Reply) -> bool:
    return reply.headers.get("Content-Type", "").startswith("application/json")
