"""The token endpoint and the tokens it gave out.

No ``expires_in``, no refresh token: a token dies some time after its last use, or when a fault revokes it, and the
client learns it from a 401.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import random
from typing import Any

import jwt

from connectors.sim.kernel import Clock, Request, Response

from . import options
from .errors import Refused
from .options import Options

_JWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_AUDIENCES = ("https://login.salesforce.com", "https://test.salesforce.com")


class Tokens:
    """Access tokens in force, with the instant of their last use."""

    def __init__(self, opts: Options, clock: Clock, rng: random.Random) -> None:
        self.options = opts
        self.clock = clock
        self._rng = rng
        self._used: dict[str, float] = {}

    def check(self, request: Request) -> str:
        """The token of a request that may go on.

        :raises Refused: 401 INVALID_SESSION_ID
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        now = self.clock.now()
        used = self._used.get(token) if scheme.lower() in ("bearer", "oauth") else None
        if used is None or now - used > self.options.token_lifetime:
            self._used.pop(token, None)
            raise Refused("INVALID_SESSION_ID", "Session expired or invalid", status=401)
        self._used[token] = now
        return token

    def revoke(self, token: str | None = None) -> None:
        """End one session, or all."""
        if token is None:
            self._used.clear()
        else:
            self._used.pop(token, None)

    def answer(self, request: Request) -> Response:
        """What POST /services/oauth2/token says."""
        form = request.form()
        grant = form.get("grant_type", "")
        if grant == "client_credentials":
            problem = self._client(request, form)
        elif grant == _JWT:
            problem = self._assertion(form.get("assertion", ""))
        else:
            problem = ("unsupported_grant_type", "grant type not supported")
        if problem is not None:
            return Response(400, {"error": problem[0], "error_description": problem[1]})
        return Response(200, self._issue(request))

    def _client(self, request: Request, form: dict[str, str]) -> tuple[str, str] | None:
        given = form.get("client_id", ""), form.get("client_secret", "")
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                return "invalid_client", "invalid client credentials"
            given = user, password
        if given[0] != self.options.client_id:
            return "invalid_client_id", "client identifier invalid"
        if given[1] != self.options.client_secret:
            return "invalid_grant", "authentication failure - invalid client credentials"
        return None

    def _assertion(self, assertion: str) -> tuple[str, str] | None:
        """RS256, iss = client id, sub = user name, aud = the login host, exp in seconds, a few minutes ahead."""
        if self.options.jwt_public_key is None:
            return "invalid_grant", "user hasn't approved this consumer"
        try:
            claims = jwt.decode(assertion, self.options.jwt_public_key, algorithms=["RS256"],
                                options={"verify_exp": False, "verify_aud": False, "verify_iat": False,
                                         "verify_nbf": False})
            expires = float(claims.get("exp", 0))
        except (jwt.InvalidTokenError, ValueError, TypeError):
            return "invalid_grant", "invalid assertion"
        now = self.clock.now()
        if claims.get("iss") != self.options.client_id:
            return "invalid_client_id", "client identifier invalid"
        if claims.get("aud") not in _AUDIENCES:
            return "invalid_grant", "audience is invalid"
        if expires < now:
            return "invalid_grant", "expired authorization code"
        if expires > now + 600:
            return "invalid_grant", "invalid assertion"
        if claims.get("sub") != self.options.username:
            return "invalid_grant", "user hasn't approved this consumer"
        return None

    def _issue(self, request: Request) -> dict[str, Any]:
        now = self.clock.now()
        secret = hashlib.sha256(self._rng.randbytes(16)).hexdigest()
        token = f"{self.options.organization[:15]}!{secret}"
        self._used[token] = now
        base = self.options.instance_url or f"http://{request.headers.get('host', '127.0.0.1')}"
        issued = str(int(now * 1000))
        signature = base64.b64encode(hashlib.sha256(f"{token}{issued}".encode()).digest()).decode()
        return {"access_token": token, "signature": signature, "scope": "api", "instance_url": base,
                "id": f"https://login.salesforce.com/id/{self.options.organization}/{options.INTEGRATION_USER}",
                "token_type": "Bearer", "issued_at": issued}
