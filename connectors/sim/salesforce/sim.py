"""The simulated Salesforce organisation: its parts put together, and the way of a request through them."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from connectors.sim.kernel import Call, Kernel, Request, Response

from . import bulk, composite, ids, people, query, schema, sobjects, soql
from . import options as opts
from .auth import Tokens
from .db import Database
from .errors import Refused
from .evaluate import Engine, Predicate
from .lifecycle import Lifecycle
from .load import load
from .rules import Rules
from .save import Actor, Writer
from .web import Context, Route

NEWEST = 67
OLDEST = 31
_PATH = re.compile(r"/services/data(?:/(v(\d+)\.0)(/.*)?)?/?", re.IGNORECASE)
_ROUTES: tuple[Route, ...] = (*sobjects.ROUTES, *query.ROUTES, *composite.ROUTES, *bulk.ROUTES)
_LAG = 5


class Quota:
    """Calls of the last 24 hours, by the minute; the header's number lags a few calls behind."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._minutes: deque[list[int]] = deque()
        self._used = 0

    def count(self) -> None:
        minute = int(self._clock.now() // 60)
        if not self._minutes or self._minutes[-1][0] != minute:
            self._minutes.append([minute, 0])
        self._minutes[-1][1] += 1
        self._used += 1

    def used(self) -> int:
        oldest = int(self._clock.now() // 60) - 24 * 60
        while self._minutes and self._minutes[0][0] <= oldest:
            self._used -= self._minutes.popleft()[1]
        return self._used

    def reported(self) -> int:
        used = self.used()
        return used - used % _LAG


class SalesforceSim:
    """One organisation with one API user. Options: ``options.Options``.

    ``load`` fills it, ``handle`` answers requests, ``world`` and ``act`` serve the control API. For tests:
    ``writer.locked`` and ``writer.in_approval`` (record ids), ``tokens.revoke()``, ``lifecycle.purge()``, ``touch()``,
    and the live part of ``options``.
    """

    side = "salesforce"

    def __init__(self, kernel: Kernel, **options: Any) -> None:
        self.kernel = kernel
        self.options = opts.Options(**options)
        self.topics = opts.topic_fields(self.options)
        self.schema = schema.build(opts.all_custom_fields(self.options), person_accounts=self.options.person_accounts,
                                   data_protection=self.options.data_protection,
                                   multi_currency=self.options.multi_currency, connect=self.options.connect,
                                   tracked=self.options.tracked)
        opts.check_fields(self.options, self.topics, self.schema)
        self.db = Database(self.schema)
        self.rng = kernel.rng("salesforce")
        self._lock = threading.RLock()
        self._shared: dict[str, Predicate] = {}
        self.engine = Engine(self.db, self.hidden, self._shared.get)
        self._described: dict[str, tuple[frozenset[str], float]] = {}
        self._started = kernel.clock.now()
        sequence = ids.Sequence()
        rules = Rules(self.db, Engine(self.db, lambda object: (), lambda object: None), self.options)
        self.writer = Writer(self.db, rules, self.options, kernel.clock, sequence, self.hidden)
        self.lifecycle = Lifecycle(self.db, self.writer)
        self.tokens = Tokens(self.options, kernel.clock, kernel.rng("salesforce/tokens"))
        self.quota = Quota(kernel.clock)
        self.cursors = query.Cursors(kernel.rng("salesforce/pages"))
        self.bulk = bulk.Jobs(sequence.next)
        self.born: dict[str, float] = {}
        """Records created by upsert, and when: two upserts of one new external id collide."""
        self._shared.update({object: self.engine.predicate(object, soql.parse_condition(text))
                             for object, text in self.options.sharing.items()})
        self._people = people.People(self)
        load(self.db, _furniture(self.options), int(self._started) - 86400, sequence)
        self._sequence = sequence

    # ------------------------------------------------------------------ data

    def load(self, tables: Mapping[str, Iterable[Mapping[str, Any]]]) -> dict[str, int]:
        """Store native rows by object name, as ``load.load`` describes; campaigns get their two member statuses.

        :raises ValueError: an unknown object or field, a malformed id
        """
        with self._lock:
            counts = load(self.db, tables, int(self.kernel.clock.now()), self._sequence)
            statuses = self.db.tables["CampaignMemberStatus"]
            for campaign in [row["Id"] for row in self.db.tables["Campaign"].by_id()]:
                if not statuses.lookup("CampaignId", [campaign]):
                    self.writer.campaign_statuses(campaign, Actor(opts.CRM_USER))
            return counts

    def touch(self, object: str, condition: str | None = None) -> int:
        """Move SystemModstamp, and nothing else, of the rows that fulfil a SOQL condition: what a platform job does."""
        with self._lock:
            when = self.engine.predicate(object, soql.parse_condition(condition)) if condition else None
            found = [row["Id"] for row in self.db.tables[object].by_id() if when is None or when(row)]
            for record in found:
                self.writer.touch(object, record)
            return len(found)

    def hidden(self, object: str) -> Collection[str]:
        """Fields the API user does not see: by option, or by a ``drop_field`` fault in force."""
        hidden = frozenset(self.options.hidden_fields.get(object, ()))
        dropped = {f.field for f in self.kernel.faults.standing(self.side, "drop_field") if f.object in (None, object)
                   and f.field}
        return hidden | dropped if dropped else hidden

    def described_at(self, object: str, hidden: Collection[str]) -> float:
        """When the object's describe last changed."""
        now = frozenset(hidden)
        known = self._described.get(object)
        if known is None or known[0] != now:
            known = (now, self._started if known is None else self.kernel.clock.now())
            self._described[object] = known
        return known[1]

    # ------------------------------------------------------------------ control API

    def world(self, after: str | None = None, limit: int | None = None, mails: bool = True) -> dict[str, Any]:
        """The truth: every contact and lead that is not gone for good, sorted by id. It knows of no mails."""
        with self._lock:
            self._settle(None)
            return self._people.world(after, limit)

    def act(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Let an employee, a web form or Connect do something; all of it or nothing.

        :raises BadAct:
        """
        with self._lock:
            self._settle(None)
            return self._people.act(body)

    # ------------------------------------------------------------------ requests

    def handle(self, request: Request, call: Call) -> Response:
        """Answer one request."""
        with self._lock:
            self._settle(call)
            if request.path.rstrip("/") == "/services/oauth2/token":
                call.route = "token"
                return self.tokens.answer(request) if request.method == "POST" else Response(405)
            match = _PATH.fullmatch(request.path)
            if match is not None and match.group(1) is None and request.method == "GET":
                call.route = "versions"
                return Response(200, [{"label": "", "url": f"/services/data/v{n}.0", "version": f"{n}.0"}
                                      for n in range(OLDEST, NEWEST + 1)])
            try:
                token = self.tokens.check(request)
                if self.kernel.faults.active(self.side, "token_expired", f"{request.method} {request.path}"):
                    self.tokens.revoke(token)
                    self.tokens.check(request)
            except Refused as error:
                return Response(error.status, error.body())
            if self.quota.used() >= self.options.daily_requests:
                response = Response(403, [{"message": "TotalRequests Limit exceeded.",
                                           "errorCode": "REQUEST_LIMIT_EXCEEDED"}])
            else:
                self.quota.count()
                response = self.dispatch(request, call)
            response.headers["Sforce-Limit-Info"] = f"api-usage={self.quota.reported()}/{self.options.daily_requests}"
            return response

    def dispatch(self, request: Request, call: Call) -> Response:
        """The answer of an authorised request; subrequests of Composite come here too."""
        try:
            return self._dispatch(request, call)
        except Refused as error:
            return Response(error.status, error.body())

    def _dispatch(self, request: Request, call: Call) -> Response:
        match = _PATH.fullmatch(request.path)
        if match is None or match.group(2) is None:
            raise Refused("NOT_FOUND", "The requested resource does not exist", status=404)
        number, path = int(match.group(2)), (match.group(3) or "").rstrip("/")
        if 21 <= number < OLDEST:
            raise Refused("UNSUPPORTED_API_VERSION", "This API version is retired.", status=410)
        if not OLDEST <= number <= NEWEST:
            raise Refused("NOT_FOUND", "The requested resource does not exist", status=404)
        allowed = False
        for route in _ROUTES:
            found = route.pattern.fullmatch(path)
            if found is None:
                continue
            allowed = True
            if route.method != request.method:
                continue
            call.route, call.write = route.name, route.write
            actor = Actor(opts.INTEGRATION_USER, api=True, allow_duplicates=_allow_save(request))
            with self.db.transaction():
                return route.handler(Context(self, request, call, match.group(1).lower(), actor, found.groupdict()))
        if allowed:
            raise Refused("METHOD_NOT_ALLOWED", f"HTTP Method '{request.method}' not allowed.", status=405)
        raise Refused("NOT_FOUND", "The requested resource does not exist", status=404)

    def _settle(self, call: Call | None) -> None:
        """Let time pass: commits become visible, old bins empty, jobs run."""
        now = self.kernel.clock.now()
        self.db.settle(now)
        self.lifecycle.expire(now, self.options.bin_days)
        written = self.bulk.advance(now)
        if call is not None:
            call.records += written


def _allow_save(request: Request) -> bool:
    return "allowsave=true" in request.headers.get("sforce-duplicate-rule-header", "").replace(" ", "").lower()


def _furniture(options: opts.Options) -> dict[str, list[dict[str, Any]]]:
    """The organisation's own record and its users."""
    users = ((opts.INTEGRATION_USER, "syncd Integration", options.username, "Standard"),
             (opts.CRM_USER, "Admin", "admin@example.test", "Standard"),
             (opts.CONNECT_USER, "Marketing Cloud Connect", "connect@example.test", "Standard"),
             (opts.GUEST_USER, "Site Guest", "guest@example.test", "Guest"),
             (opts.AUTOMATED_USER, "Automated Process", "autoproc@example.test", "AutomatedProcess"))
    return {"Organization": [{"Id": options.organization, "Name": "Example Org", "OrganizationType": "Enterprise Edition",
                              "InstanceName": "SIM1", "TimeZoneSidKey": "Europe/Berlin",
                              "DefaultLocaleSidKey": "en_IE"}],
            "User": [{"Id": i, "LastName": name, "Username": login, "Email": login, "IsActive": True, "UserType": kind}
                     for i, name, login, kind in users]}
