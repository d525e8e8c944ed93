"""The way to Marketing Cloud and back: one token, two protocols, every answer an error class or a result.

A token is good for one business unit and about twenty minutes. It is renewed before it ends, and once more when the
vendor calls it expired in mid-run (REST 401, SOAP fault "Token Expired"): the refused call was not applied.
"""

from __future__ import annotations

import math
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from connectors.base import Account, CallCounter
from connectors.batches import parts
from connectors.errors import CursorLost, LostReply, Misconfigured, Outage, Retry
from connectors.http import Http, Reply
from connectors.login import Login
from connectors.marketing_cloud.settings import MarketingCloudSettings
from connectors.marketing_cloud.wire import errors, soap
from syncd.model import Micros

MARGIN = 300.0
"""Seconds before its end when a token is renewed, but never more than a quarter of its life."""

RESTARTS = 3
"""How often one call reads a listing again from its start because the vendor forgot how it goes on."""


class Token(NamedTuple):
    """``scope`` holds the permissions the package has in this business unit; ``until`` is local time in seconds."""

    text: str
    until: float
    scope: frozenset[str]

    def __repr__(self) -> str:
        return "Token(…)"


class Wire:
    """REST and SOAP with one business unit's token. Thread-safe."""

    def __init__(self, settings: MarketingCloudSettings, counter: CallCounter, http_factory: Callable[..., Http],
                 clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self.login = Login(self._ask_token, lambda held: clock() >= held.until, account=self._account)
        self._unit: Account | None = None
        self._refused = False
        self._rest, self._service = settings.url("rest"), settings.url("soap") + "/Service.asmx"
        self.http = http_factory(settings.url("auth"), counter=counter, ca_file=settings.ca_file,
                                 origins=(self._rest, self._service), clock=clock)

    # ----------------------------------------------------------------- token

    def token(self) -> Token:
        """The current token; a new one when it is about to end.

        :raises Reauthenticate, Misconfigured, Throttled, Retry, Outage:
        """
        return self.login.get()

    def _ask_token(self) -> Token:
        settings = self._settings
        form: dict[str, Any] = {"grant_type": "client_credentials", "client_id": settings.client_id,
                                "client_secret": settings.client_secret}
        if settings.mid is not None:
            form["account_id"] = settings.mid
        asked = self._clock()
        reply = self.http.call("POST", "/v2/token", route="token", json=form)
        if reply.status != 200:
            raise errors.token_error(reply)
        answer = reply.json()
        try:
            life, scope = float(answer["expires_in"]), frozenset(str(answer.get("scope") or "").split())
            return Token(str(answer["access_token"]), asked + life - min(MARGIN, life / 4), scope)
        except (KeyError, TypeError, ValueError, AttributeError):
            pass
        # Raised outside the handler: the answer holds the token.
        raise Outage("Marketing Cloud's login answer makes no sense.")

    def _account(self, token: Token) -> Account:
        """Which business unit of which enterprise the vendor says a token is for. Asked once: a unit's address and number
        are never another's, so a later token of the same settings leads there, too."""
        if self._unit is None:
            reply = self.http.call("GET", "/v2/userinfo", route="userinfo",
                                   headers={"Authorization": f"Bearer {token.text}"})
            if reply.status == 401 and not self._refused:
                self._refused = True  # the token may have ended just now; a second one, too, is not told
                raise Retry("Marketing Cloud ended a token as soon as it was made.", code="401")
            if reply.status == 429 or reply.status >= 500:
                raise errors.rest_error(reply, write=False)
            host = urllib.parse.urlsplit(self._settings.url("auth")).netloc
            self._unit = Account(_unit(reply), host if self._settings.mid is None else f"{host}, MID {self._settings.mid}")
        return self._unit

    def now(self) -> Micros:
        """The vendor's clock, as its latest answer told it."""
        if self.http.server_skew is None:
            self.token()
        return math.floor((self._clock() + (self.http.server_skew or 0.0)) * 1_000_000)

    # ----------------------------------------------------------------- REST

    def rest(self, method: str, path: str, *, route: str, params: Mapping[str, str] | None = None, json: Any = None,
             data: bytes | None = None, write: bool = False, allow: Sequence[int] = ()) -> Reply:
        """One call; every status that is neither 2xx nor in ``allow`` is an error.

        :raises LostReply: a write that may have been applied; the other ``connectors.errors``: it was not
        """
        def send(token: Token) -> Reply:
            headers = {"Authorization": f"Bearer {token.text}"}
            if data is not None:
                headers["Content-Type"] = "application/json; charset=UTF-8"
            return self.http.call(method, self._rest + path, route=route, params=params, json=json, data=data,
                                  headers=headers, write=write)

        reply = self.login.used(send, lambda answer: answer.status == 401)
        if 200 <= reply.status < 300 or reply.status in allow:
            return reply
        raise errors.rest_error(reply, write)

    # ----------------------------------------------------------------- SOAP

    def _soap(self, action: str, body: str, *, route: str, write: bool) -> Any:
        def send(token: Token) -> tuple[Reply, Any, soap.Fault | None]:
            reply = self.http.call(
                "POST", self._service, route=route, data=soap.envelope(token.text, body), write=write,
                headers={"Content-Type": "text/xml; charset=UTF-8", "SOAPAction": action, "Accept": "text/xml"})
            if reply.status != 200 and b"Fault" not in reply.body[:4096]:
                return reply, None, None
            content = self._content(reply, write)
            return reply, content, soap.fault(content)

        reply, content, fault = self.login.used(send, lambda answer: answer[2] is not None and answer[2].code == "Security")
        if reply.status == 200 and fault is None:
            return content
        raise errors.soap_error(fault, reply, write)

    @staticmethod
    def _content(reply: Reply, write: bool) -> Any:
        """The SOAP body; an unreadable answer to a write is a lost one."""
        try:
            return soap.parse(reply.body)
        except Outage as garbage:
            if not write:
                raise
            detail = garbage.detail
        raise LostReply("Marketing Cloud's answer to a write makes no sense.", detail=detail)

    def retrieve(self, kind: str, properties: Sequence[str], where: soap.Filter | None = None,
                 more: str | None = None) -> soap.Retrieved:
        """One page of ``kind`` objects.

        :raises CursorLost: the vendor forgot ``more``
        """
        body = soap.retrieve(kind, properties, where, more, self._settings.page_size)
        page = soap.retrieved(self._soap("Retrieve", body, route=f"retrieve.{kind.partition('[')[0]}", write=False))
        if page.error is not None:
            raise errors.retrieve_error(page.error, kind.partition("[")[0], more is not None)
        return page

    def pages(self, kind: str, properties: Sequence[str], where: soap.Filter | None = None, more: str | None = None,
              ) -> Iterator[tuple[list[soap.Row], str | None]]:
        """All pages from ``more`` (or the start) on, each with what continues it, None on the last.

        When the vendor forgot how the listing goes on it is read again from its start: rows repeat, none is lost.

        :raises Retry: that happened too often
        """
        restarts = 0
        while True:
            try:
                page = self.retrieve(kind, properties, where, more)
            except CursorLost:
                restarts += 1
                if restarts > RESTARTS:
                    raise Retry(f"Marketing Cloud keeps losing its place in {kind.partition('[')[0]}.") from None
                more = None
                continue
            yield page.rows, page.more
            more = page.more
            if more is None:
                return

    def every(self, kind: str, properties: Sequence[str], where: soap.Filter | None = None) -> list[soap.Row]:
        """All rows of a listing that is known to be short; what a restart repeats comes once."""
        rows = (row for page, _ in self.pages(kind, properties, where) for row in page)
        return list({tuple(row.items()): row for row in rows}.values())

    def named(self, kind: str, properties: Sequence[str], prop: str, wanted: Sequence[str],
              among: soap.Filter | None = None) -> list[soap.Row]:
        """The objects whose ``prop`` is one of ``wanted``, as many per call as the vendor takes; of those that ``among``
        lets pass."""
        found: list[soap.Row] = []
        for part in parts(wanted, self._settings.objects_per_call):
            where = soap.one_of(prop, part)
            found += self.every(kind, properties, where if among is None else soap.both(among, where))
        return found

    def save(self, action: str, objects: Sequence[str], *, route: str) -> list[soap.Result | None]:
        """Create, Update or Delete ``objects``; one result each, None where the answer has none.

        :raises LostReply: it may have been applied; the other ``connectors.errors``: it was not
        """
        content = self._soap(action, soap.write(action, objects), route=route, write=True)
        found = soap.results(content, len(objects))
        if found and all(result is not None and "Permission Failed" in result.text for result in found):
            raise Misconfigured(f"The installed package may not {action.lower()} this kind of object.",
                                code="Permission", remedy="Compare its scopes with `syncd check`.")
        return found


def _unit(reply: Reply) -> str:
    """The business unit that the vendor names; "" where it does not."""
    told = errors.body_of(reply).get("organization") if reply.status == 200 else None
    told = told if isinstance(told, dict) else {}
    enterprise, member = told.get("enterprise_id"), told.get("member_id")
    return f"enterprise {enterprise}, MID {member}" if enterprise and member else ""
