"""Tokens and call limits."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connectors.sim.kernel import Clock, Faults, Request, Response

LIFETIME = 1_200.0
REPORTED = 1_079
SIDE = "marketing_cloud"
SCOPES = (
    "data_extensions_read", "data_extensions_write", "list_and_subscribers_read", "list_and_subscribers_write",
    "tracking_events_read", "audiences_read", "journeys_read", "journeys_execute", "automations_read",
    "automations_execute", "email_read", "email_send", "event_notification_callback_create",
    "event_notification_callback_read", "event_notification_callback_update", "event_notification_callback_delete",
    "event_notification_subscription_create", "event_notification_subscription_read",
    "event_notification_subscription_update", "event_notification_subscription_delete",
)


@dataclass(frozen=True, slots=True)
class Session:
    """What a token stands for; ``scopes`` None = every scope of the package."""

    mid: int
    scopes: frozenset[str] | None
    expires: float

    def may(self, scope: str) -> bool:
        return self.scopes is None or scope in self.scopes


class Limit:
    """At most ``per_minute`` calls in any minute of simulated time; None = no limit."""

    def __init__(self, clock: Clock, per_minute: int | None) -> None:
        self._clock = clock
        self._allowed = per_minute
        self._calls: deque[float] = deque()

    def full(self) -> bool:
        """Count one call; true when it is one too many."""
        if self._allowed is None:
            return False
        now = self._clock.now()
        while self._calls and self._calls[0] <= now - 60:
            self._calls.popleft()
        if len(self._calls) >= self._allowed:
            return True
        self._calls.append(now)
        return False


class Access:
    """``clients``: client id -> {"secret", "mids" (default all), "mid" (home), "scopes" (default all)}."""

    def __init__(self, clock: Clock, faults: Faults, rng: random.Random, units: list[int],
                 clients: Mapping[str, Mapping[str, Any]], limits: Mapping[str, int]) -> None:
        self.clock = clock
        self.faults = faults
        self.units = units
        self.clients = clients
        self.rest_limit = Limit(clock, limits.get("rest"))
        self.soap_limit = Limit(clock, limits.get("soap"))
        self.token_limit = Limit(clock, limits.get("token"))
        self._rng = rng
        self._tokens: dict[str, Session] = {}

    def token(self, request: Request) -> Response:
        """POST /v2/token."""
        if self.token_limit.full():
            return too_many()
        body = request.json()
        asked = body if isinstance(body, dict) else {}
        client = self.clients.get(str(asked.get("client_id")))
        if asked.get("grant_type") != "client_credentials":
            return Response(400, {"error": "unsupported_grant_type", "error_uri": "https://developer.salesforce.com/docs",
                                  "error_description": "The grant type is not supported by the authorization server."})
        if client is None or client.get("secret") != asked.get("client_secret"):
            return _invalid_client()
        allowed = list(client.get("mids", self.units))
        account = str(asked.get("account_id", ""))
        mid = int(account) if account.isdigit() else int(client.get("mid", allowed[0]))
        if mid not in allowed:
            return _invalid_client()
        package = frozenset(client.get("scopes", SCOPES))
        scopes = package if asked.get("scope") is None else frozenset(str(asked["scope"]).split())
        if not scopes <= package:
            return Response(400, {"error": "invalid_scope", "error_description": "The requested scope is not granted.",
                                  "error_uri": "https://developer.salesforce.com/docs"})
        now = self.clock.now()
        self._tokens = {t: s for t, s in self._tokens.items() if s.expires > now}
        token = f"sim.{self._rng.getrandbits(256):064x}"
        self._tokens[token] = Session(mid, None if scopes == package and "scopes" not in client else scopes,
                                      now + LIFETIME)
        base = f"http://{request.headers.get('host', '127.0.0.1')}/"
        return Response(200, {"access_token": token, "token_type": "Bearer", "expires_in": REPORTED,
                              "scope": " ".join(sorted(scopes)), "soap_instance_url": base, "rest_instance_url": base})

    def session(self, token: str | None) -> Session | None:
        """The live session of a token; None when it is unknown, expired, or just killed by a fault."""
        if token is None or token not in self._tokens:
            return None
        if self._tokens[token].expires <= self.clock.now() or self.faults.active(SIDE, "token_expired"):
            del self._tokens[token]
            return None
        return self._tokens[token]

    def expire_all(self) -> int:
        gone = len(self._tokens)
        self._tokens.clear()
        return gone


def too_many(seconds: int = 5) -> Response:
    """The 429 that says when to come back."""
    return Response(429, {"message": "Rate limit exceeded", "errorcode": 50100, "retryAfter": seconds,
                          "documentation": "https://developer.salesforce.com/docs"}, {"Retry-After": str(seconds)})


def blocked() -> Response:
    """The 429 that does not."""
    return Response(429, {"message": "Your requests are temporarily blocked.", "errorcode": 50200,
                          "documentation": "https://developer.salesforce.com/docs"})


def _invalid_client() -> Response:
    return Response(401, {
        "error": "invalid_client", "error_uri": "https://developer.salesforce.com/docs",
        "error_description": "Client authentication failed. Make sure that the client ID and client secret are valid "
                             "and that the package is installed and enabled."})
