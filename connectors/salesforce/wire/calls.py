"""Salesforce's HTTP words: the session, the daily quota, queries and their pages, Bulk 2.0 query jobs, describe.

simple-salesforce knows the login flows and the quoting of SOQL. The calls themselves are ours: its own have no
time-outs, follow a persistent 401 into a RecursionError, put answer bodies into exception texts and parse slowly.
"""

from __future__ import annotations

import contextlib
import re
import urllib.parse
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import requests

from connectors.base import Account, CallCounter
from connectors.errors import ConnectorError, CursorLost, Outage, Reauthenticate, Throttled
from connectors.http import Http, Reply
from connectors.login import Login
from connectors.salesforce.settings import SalesforceSettings
from connectors.salesforce.wire.describe import Described
from connectors.salesforce.wire.errors import QUOTA_PAUSE, call_error, error_for, login_error, problem_of
from connectors.salesforce.wire.values import id18

_USAGE = re.compile(r"(?:^|[;,\s])api-usage=(\d+)/(\d+)")
_OFFSET = re.compile(r"-(\d+)\Z")
QUOTAS = frozenset({"DailyApiRequests", "DailyBulkV2QueryJobs", "DailyBulkV2QueryFileStorageMB"})
_GARBAGE = "Salesforce's answer makes no sense."


@dataclass(frozen=True, slots=True)
class Session:
    """A login. ``org`` and ``user`` are 18-character ids, "" when the answer did not tell."""

    token: str = field(repr=False)
    instance: str
    org: str
    user: str


class Usage(NamedTuple):
    """Calls of all programs in the org's last 24 hours, and when (local clock, seconds) we were told."""

    used: int
    allowed: int
    at: float


class QueryJob(NamedTuple):
    """A Bulk query job: its state and, once complete, the number of rows it found."""

    state: str
    rows: int
    code: str


class Wire:
    """One org. Thread-safe; logs in when first needed and again when a session ends."""

    def __init__(self, settings: SalesforceSettings, counter: CallCounter, http_factory: Callable[..., Http],
                 clock: Callable[[], float]) -> None:
        self._settings, self._clock = settings, clock
        self.login = Login(self._log_in, account=_account)
        self.usage: Usage | None = None
        self.http = http_factory(settings.base, counter=counter, ca_file=settings.ca_file, clock=clock)
        self.root = f"/services/data/v{settings.api_version}"

    def session(self) -> Session:
        """The current session; a new one when there is none.

        :raises Reauthenticate, Throttled, Outage, Retry:
        """
        return self.login.get()

    def _log_in(self) -> Session:
        from jwt import PyJWTError  # with simple-salesforce 0.3 s: only where they are used
        from simple_salesforce.exceptions import SalesforceAuthenticationFailed
        from simple_salesforce.login import SalesforceLogin

        s = self._settings
        door = _TokenDoor(self.http, s.base)
        grant: dict[str, Any] = {"consumer_key": s.client_id, "domain": "my", "consumer_secret": s.client_secret}
        if s.flow == "jwt_bearer":
            grant = {"consumer_key": s.client_id, "domain": s.audience, "username": s.username,
                     "privatekey": s.private_key}
        failure: ConnectorError
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns with the consumer key in the text
                SalesforceLogin(session=cast(requests.Session, door), **grant)
            return door.session()
        except SalesforceAuthenticationFailed as exc:
            failure = login_error(door.status, exc.code)
        except ConnectorError:
            raise
        except (PyJWTError, ValueError, TypeError, AttributeError) as exc:
            # Before the call: the key cannot be read. After it: the answer lacks what an answer has.
            failure = (Outage(_GARBAGE, detail=f"token endpoint, {type(exc).__name__}") if door.status else
                       Reauthenticate("The private key cannot be read.", remedy="Give an RSA key as PEM text."))
        # Raised outside the handler: the library's exceptions quote the answer.
        raise failure

    def call(self, method: str, path: str, *, route: str, params: Mapping[str, str] | None = None, json: Any = None,
             headers: Mapping[str, str] | None = None, write: bool = False, read: float | None = None,
             urgent: bool = False) -> Reply:
        """One call with a session, an answer of any status but 401. ``path`` begins with /services. ``urgent`` may
        use the quota's reserve: opt-outs, and the few calls they depend on.

        :raises Throttled: our share of the quota is used up; nothing was sent
        :raises LostReply, Retry, Outage, Misconfigured, Reauthenticate: as ``Http.call``
        """
        self._spare_quota(urgent)

        def send(session: Session) -> Reply:
            reply = self.http.call(
                method, session.instance + path, route=route, params=params, json=json, write=write, read=read,
                headers={**(headers or {}), "Authorization": f"Bearer {session.token}"})
            self._note_usage(reply)
            return reply

        reply = self.login.used(send, lambda answer: answer.status == 401)
        if reply.status == 401:
            raise error_for(problem_of(reply).code, 401)
        return reply

    def _note_usage(self, reply: Reply) -> None:
        found = _USAGE.search(reply.headers.get("Sforce-Limit-Info", ""))
        if found:
            self.usage = Usage(int(found[1]), int(found[2]), self._clock())

    def _spare_quota(self, urgent: bool) -> None:
        """Stop before the org's other programs run dry. What we know ages while nothing is sent, so after a pause one
        call goes through and tells anew."""
        usage = self.usage
        share = self._settings.api_share + (self._settings.opt_out_reserve if urgent else 0.0)
        if usage is None or usage.used < usage.allowed * share or share >= 1.0:
            return
        wait = usage.at + QUOTA_PAUSE - self._clock()
        if wait > 0:
            raise Throttled("Our share of Salesforce's daily API calls is used up.", retry_after=min(wait, QUOTA_PAUSE),
                            remedy="Raise api_share, poll less often, or ask for more API calls.", code="API_SHARE",
                            detail=f"{usage.used} of {usage.allowed} calls used")

    def query(self, soql: str, *, deleted: bool, names: Collection[str] = (),
              urgent: bool = False) -> Iterator[tuple[list[Any], bool]]:
        """Pages of (records, whether it is the last). ``deleted``: also the recycle bin; ``urgent`` as in ``call``.

        :raises CursorLost: the locator died, or a page was cut: ask anew
        """
        path, params = f"{self.root}/{'queryAll' if deleted else 'query'}", {"q": soql}
        seen = 0
        while True:
            body = _good(self.call("GET", path, route="query", params=params, read=150.0, urgent=urgent,
                                   headers={"Sforce-Query-Options": "batchSize=2000"}), names).json()
            try:
                records, done, total = body["records"], bool(body["done"]), int(body["totalSize"])
                following = None if done else str(body["nextRecordsUrl"])
                seen += len(records)
            except (KeyError, TypeError, ValueError):
                raise Outage(_GARBAGE, detail="query") from None
            # A locator ends in the number of rows before it, so a short page is noticed before it is used.
            offset = _OFFSET.search(following) if following else None
            expected = total if done else int(offset[1]) if offset else seen
            if seen != expected:
                raise CursorLost("A page of Salesforce's answer was cut.", code="CUT",
                                 detail=f"{seen} of {expected} rows")
            yield records, done
            if following is None:
                return
            path, params = following, {}

    def count(self, object: str, *, deleted: bool) -> int:
        """The number of rows of an object."""
        reply = self.call("GET", f"{self.root}/{'queryAll' if deleted else 'query'}", route="count", read=150.0,
                          params={"q": f"SELECT COUNT() FROM {object}"})
        body = _good(reply, (object,)).json()
        try:
            return int(body["totalSize"])
        except (KeyError, TypeError, ValueError):
            raise Outage(_GARBAGE, detail="count") from None

    def start_job(self, soql: str, *, deleted: bool, names: Collection[str] = ()) -> str:
        """Begin a query job; its id. A lost answer leaves a job nobody reads, which expires by itself."""
        reply = self.call("POST", f"{self.root}/jobs/query", route="bulk.create", json={
            "operation": "queryAll" if deleted else "query", "query": soql, "contentType": "CSV",
            "columnDelimiter": "COMMA", "lineEnding": "LF"})
        return str(_member(_good(reply, names).json(), "id"))

    def job(self, job: str) -> QueryJob:
        """:raises CursorLost: the job is gone (they live seven days)"""
        reply = self.call("GET", f"{self.root}/jobs/query/{urllib.parse.quote(job, safe='')}", route="bulk.poll")
        if reply.status in (400, 404):
            raise CursorLost("Salesforce no longer knows a Bulk job.", code=problem_of(reply).code)
        body = _good(reply).json()
        # "INVALID_FIELD: No such column …": the code tells enough, the text may hold values.
        code = str(body.get("errorMessage") or "").partition(":")[0].strip()
        return QueryJob(str(_member(body, "state")), int(body.get("numberRecordsProcessed") or 0), code)

    def job_rows(self, job: str, locator: str, size: int) -> tuple[str, str, int | None]:
        """(CSV text, next locator or "", number of rows as the server counts them) from ``locator`` on.

        :raises CursorLost: the job or the locator is gone
        """
        params = {"maxRecords": str(size), **({"locator": locator} if locator else {})}
        reply = self.call("GET", f"{self.root}/jobs/query/{urllib.parse.quote(job, safe='')}/results",
                          route="bulk.results", params=params, headers={"Accept": "text/csv"}, read=150.0)
        if reply.status in (400, 404):
            raise CursorLost("Salesforce no longer knows a Bulk result.", code=problem_of(reply).code)
        _good(reply)
        following = reply.headers.get("Sforce-Locator", "null")
        number = reply.headers.get("Sforce-NumberOfRecords", "")
        return (reply.body.decode("utf-8", "strict"), "" if following == "null" else following,
                int(number) if number.isdigit() else None)

    def describe(self, object: str) -> Described | None:
        """An object; None when there is none, or none for us."""
        reply = self.call("GET", f"{self.root}/sobjects/{urllib.parse.quote(object, safe='')}/describe",
                          route="describe", urgent=True)
        if reply.status == 404 or (reply.status == 403 and problem_of(reply).code.startswith("INSUFFICIENT_ACCESS")):
            return None
        with contextlib.suppress(KeyError, TypeError):
            return Described.parse(_good(reply, (object,)).json())
        raise Outage(_GARBAGE, detail="describe")

    def limits(self) -> dict[str, tuple[int, int]] | None:
        """(used, allowed) of ``QUOTAS``; None without the right "View Setup"."""
        reply = self.call("GET", f"{self.root}/limits", route="limits", urgent=True)
        if reply.status == 403 and problem_of(reply).code != "REQUEST_LIMIT_EXCEEDED":
            return None
        with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
            found = {name: value for name, value in _good(reply).json().items() if name in QUOTAS}
            return {name: (int(v["Max"]) - int(v["Remaining"]), int(v["Max"])) for name, v in found.items()}
        raise Outage(_GARBAGE, detail="limits")


class _TokenDoor:
    """What simple-salesforce's login takes for a session: posts through ``Http``, to our endpoint, and keeps the whole
    token answer (the library throws away whose token it is, and the instance's scheme)."""

    def __init__(self, http: Http, base: str) -> None:
        self._http, self._base = http, base
        self._answer: Any = None
        self.status = 0

    def post(self, url: str, data: Mapping[str, str], headers: Mapping[str, str] | None = None,
             proxies: object = None) -> requests.Response:
        reply = self._http.call(
            "POST", self._base + urllib.parse.urlsplit(url).path, route="token", data=urllib.parse.urlencode(data),
            headers={**(headers or {}), "Content-Type": "application/x-www-form-urlencoded"})
        self.status = reply.status
        self._answer = reply.json() if reply.status == 200 else None
        response = requests.Response()
        response.status_code, response._content = reply.status, reply.body
        return response

    def session(self) -> Session:
        token, instance = _member(self._answer, "access_token"), str(_member(self._answer, "instance_url"))
        self._http.pin(instance)
        # "https://login.salesforce.com/id/{org}/{user}"
        org, _, user = str(self._answer.get("id") or "").partition("/id/")[2].partition("/")
        return Session(str(token), instance.rstrip("/"), id18(org), id18(user))


def _good(reply: Reply, names: Collection[str] = ()) -> Reply:
    """The reply, if it is one of success; else the error it means (see ``call_error`` for ``names``)."""
    if reply.status not in (200, 201):
        raise call_error(reply, names)
    return reply


def _member(body: Any, name: str) -> Any:
    """:raises Outage: the answer lacks what Salesforce's have"""
    if not isinstance(body, dict) or name not in body:
        raise Outage(_GARBAGE, detail=f"no {name}")
    return body[name]


def _account(session: Session) -> Account:
    """The organisation; a refreshed sandbox is another one, whatever its name."""
    return Account(f"org {session.org}" if session.org else "", urllib.parse.urlsplit(session.instance).netloc)
