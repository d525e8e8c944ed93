"""A simulated Odoo server: JSON-RPC, XML-RPC, JSON-2 (19.0) and the recipient's pages over one database in memory.

Written from observations of an 18.0 server; where it follows the vendor's source or documentation instead, the
docstring of the part says so. It imports no connector.
"""

from __future__ import annotations

import contextlib
import heapq
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from connectors.sim.kernel import BadAct, Call, Clock, Kernel, Request, Response
from connectors.sim.odoo import errors, marketing, methods, people, records
from connectors.sim.odoo.access import Access, ApiKey, User, default_users
from connectors.sim.odoo.errors import OdooError
from connectors.sim.odoo.orm import Env
from connectors.sim.odoo.rpc import Wire
from connectors.sim.odoo.schema import Model, build
from connectors.sim.odoo.store import Database, Row
from connectors.sim.odoo.values import parse_instant

__all__ = ["ApiKey", "OdooSim", "User"]

_BASE: dict[str, list[Row]] = {
    "res.company": [{"id": 1, "name": "YourCompany"}],
    "res.lang": [{"id": 1, "name": "English (US)", "code": "en_US", "iso_code": "en", "active": True}],
    "res.country": [{"id": 20, "name": "Belgium", "code": "BE"}, {"id": 57, "name": "Germany", "code": "DE"},
                    {"id": 75, "name": "France", "code": "FR"}, {"id": 233, "name": "United States", "code": "US"}],
    "crm.stage": [{"id": 1, "name": "New", "sequence": 1}, {"id": 2, "name": "Qualified", "sequence": 2},
                  {"id": 3, "name": "Proposition", "sequence": 3},
                  {"id": 4, "name": "Won", "sequence": 70, "is_won": True}],
    "crm.team": [{"id": 1, "name": "Sales"}],
    "crm.lost.reason": [{"id": 1, "name": "Too expensive", "active": True}],
    "mailing.subscription.optout": [
        {"id": 1, "name": "I never subscribed to this list", "sequence": 1},
        {"id": 2, "name": "I changed my mind", "sequence": 2},
        {"id": 3, "name": "I receive too many emails from this list", "sequence": 3},
        {"id": 4, "name": "The content of these emails is not relevant to me", "sequence": 4},
        {"id": 5, "name": "Other", "sequence": 99, "is_feedback": True}],
}


class OdooSim:
    """One server with one database.

    database      its name
    version       "15.0" … "19.0"
    users         accounts; see ``default_users``
    topics        topic -> mailing.list id, for the control API
    fields        custom fields: model -> name -> {"type", "string", "relation", "selection", "limit"}
    page_latency  seconds every answer takes; auth_seconds: the slow first check of a secret
    commit_delay  seconds for which what people do (``act``) stays uncommitted; their rows bear its beginning
    uuid          what the database is called for good; a copy of it gets another one
    """

    side = "odoo"

    def __init__(self, kernel: Kernel, *, database: str = "odoo", version: str = "18.0",
                 users: Sequence[User] | None = None, topics: Mapping[str, int] | None = None,
                 fields: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None, page_latency: float = 0.0,
                 auth_seconds: float = 0.0, commit_delay: float = 0.0, uuid: str = "") -> None:
        self.kernel, self.database, self.version = kernel, database, version
        self.topics = dict(topics or {})
        self.page_latency, self.auth_seconds, self.commit_delay = page_latency, auth_seconds, commit_delay
        self.access = Access(kernel, self.side, {u.id: u for u in (default_users() if users is None else users)})
        self.db = Database(build(self.major, fields or {}))
        self._lock = threading.RLock()
        self._late: list[tuple[float, int, Callable[[], Any]]] = []
        self._begun = 0
        self._wire = Wire(self)
        lists = [{"id": i, "name": topic, "is_public": True} for topic, i in self.topics.items()]
        known = uuid or str(UUID(int=kernel.rng("odoo/uuid").getrandbits(128), version=4))
        base = {**_BASE, **self.access.rows(), "mailing.list": lists,
                "ir.config_parameter": [{"key": "database.uuid", "value": known}]}
        # Installed long ago: a country that looks just written would make all its partners look changed.
        self.load({model: [{"write_date": "2020-01-01 00:00:00", **row} for row in rows]
                   for model, rows in base.items() if model in self.db.tables})

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    @property
    def clock(self) -> Clock:
        return self.kernel.clock

    # -- data

    def load(self, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
        """Put native rows in, as stored: no rights, no side effects beyond derived columns. Values as the API shows
        them (``False`` = unset, references as id or [id, name]); instants as text or integer micros. ``write_date``
        missing = now, None = NULL."""
        with self._lock:
            now = int(self.clock.now() * 1e6)
            env = Env(self.db, self.access, 1, {}, now)
            for model, rows in tables.items():
                table = env.table(model)
                for given in rows:
                    row = _native(table.model, given, now)
                    records.derive(env, model, row)
                    row_id = row.pop("id", None)
                    table.put(table.take_id() if row_id is None else row_id, row)

    def run(self, uid: int, work: Callable[[Env], Any], *, su: bool = False, start: float | None = None,
            reserved: dict[str, list[int]] | None = None, call: Call | None = None,
            context: Mapping[str, Any] | None = None) -> Any:
        """One transaction: all of ``work`` or, if it raises, nothing."""
        with self._lock:
            self._commit_due()
            begun = self.clock.now() if start is None else start
            env = Env(self.db, self.access, uid, context or {}, int(begun * 1e6), su=su)
            env.reserved.update(reserved or {})
            try:
                result = work(env)
            except OdooError:
                self.db.rollback()
                raise
            except BadAct:
                self.db.rollback()
                raise
            except Exception as error:
                # As the server does it: any exception of its code is an answer under the exception's own name.
                self.db.rollback()
                raise OdooError(f"builtins.{type(error).__name__}", str(error)) from error
            written = self.db.commit()
            if call is not None:
                call.records = written
            return result

    def later(self, seconds: float, uid: int, work: Callable[[Env], Any], *models: str) -> None:
        """A transaction that begins now and commits after ``seconds``: its rows bear the beginning as write_date and
        ids of ``models`` taken at the beginning, and nobody sees them before."""
        with self._lock:
            start = self.clock.now()
            reserved = {model: [self.db.tables[model].take_id()] for model in models}
            self._begun += 1
            heapq.heappush(self._late, (start + seconds, self._begun, lambda: self.run(
                uid, work, su=True, start=start, reserved=reserved)))

    def _commit_due(self) -> None:
        while self._late and self._late[0][0] <= self.clock.now():
            _, _, commit = heapq.heappop(self._late)
            # Someone else may have deleted the record meanwhile: then that user sees an error, and nothing is written.
            with contextlib.suppress(OdooError):
                commit()

    # -- wire

    def handle(self, request: Request, call: Call) -> Response:
        response = self._wire.handle(request, call)
        response.delay += self.page_latency
        model = call.route.rpartition(".")[0]
        # By method ("crm.lead.write"): the HTTP path, which the kernel knows, is the same for all of them.
        response.reset = self.kernel.faults.active(self.side, "reset_after", call.route, model) is not None
        return response

    def execute(self, user: User, model: str, method: str, args: Any, kwargs: Any, call: Call) -> Any:
        """A method call over the wire, with the faults that concern it."""
        faults, route = self.kernel.faults, f"{model}.{method}"
        if faults.active(self.side, "token_expired", route, model):
            raise errors.access_denied()

        def work(env: Env) -> Any:
            found = methods.lookup(env, model, method, self.major)
            call.write = found.writes
            result = methods.call(env, model, found, args, kwargs)
            if found.writes and faults.active(self.side, "partial", route, model):
                raise errors.postgres("SerializationFailure", "could not serialize access due to concurrent update\n")
            return result

        result = self.run(user.id, work, call=call)
        if method in ("search", "search_read", "search_count"):
            result = self._shortened(result, route, model)
        return result

    def _shortened(self, result: Any, route: str, model: str) -> Any:
        if self.kernel.faults.active(self.side, "empty_list", route, model):
            return 0 if isinstance(result, int) else []
        if isinstance(result, list) and self.kernel.faults.active(self.side, "truncated_page", route, model):
            return result[:len(result) // 2]
        return result

    def unsubscribe_path(self, mailing: int, document: int, address: str, *, oneclick: bool = False) -> str:
        """The path and query of the link a mail of ``mailing`` carries."""
        name = "unsubscribe_oneclick" if oneclick else "unsubscribe"
        token = marketing.token(self.database, mailing, document, address)
        query = urlencode({"document_id": document, "email": address, "hash_token": token})
        return f"/mailing/{mailing}/{name}?{query}"

    # -- control

    def world(self, after: str | None = None, limit: int | None = None, mails: bool = True) -> dict[str, Any]:
        with self._lock:
            self._commit_due()
            env = Env(self.db, self.access, 1, {"active_test": False}, int(self.clock.now() * 1e6))
            return people.world(env, self.topics, after, limit, mails)

    def act(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """As the control API says. With ``delay`` (or ``commit_delay``, or the fault slow_queue) the change is a
        transaction that commits that many seconds later; the answer then tells no count."""
        work, uid, models = people.plan(self.topics, body)
        slow = self.kernel.faults.active(self.side, "slow_queue", object=str(body.get("object")))
        delay = float(body.get("delay", slow.seconds if slow is not None else self.commit_delay))
        try:
            if delay > 0:
                self.later(delay, uid, work, *models)
                return {"changed": 0, "delayed": delay}
            result: dict[str, Any] = self.run(uid, work, su=True)
        except OdooError as error:
            raise BadAct(error.message) from None
        return result


def _native(model: Model, given: Mapping[str, Any], now: int) -> Row:
    """A given row in stored form."""
    row: Row = {}
    defaults: Row = {"write_date": now, "write_uid": 2, "create_date": now, "create_uid": 2}
    if "active" in model.fields:
        defaults["active"] = True
    if model.name == "res.partner":
        defaults["type"] = "contact"
    for name, value in {**defaults, **given}.items():
        info = model.fields.get(name)
        if info is None or (not info.store) or info.inverse:
            continue
        if value is None or (value is False and info.type != "boolean"):
            continue
        if info.type == "datetime" and isinstance(value, str):
            value = parse_instant(value)
        elif info.type == "many2one" and isinstance(value, (list, tuple)):
            value = value[0]
        elif info.type == "many2many":
            value = tuple(sorted(value))
        row[name] = value
    return row
