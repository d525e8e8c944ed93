"""The one place where a socket to a vendor is opened.

``Http`` answers every HTTP status as a ``Reply`` and turns everything that is *not* an answer into an error of
``connectors.errors``. Its ``session`` may be handed to a vendor library: time-outs, the origin pin, the size limit and
the counting sit in the transport adapter, below anything a library can forget.

It does not retry, does not log and keeps no cookies. Proxy variables, ``.netrc`` and the like are ignored: where our
credentials go is decided by the configuration alone.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import ipaddress
import logging
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.cookiejar import DefaultCookiePolicy
from typing import Any, NamedTuple

import orjson
import requests
import urllib3
from requests import exceptions as rex
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3 import exceptions as uex

from connectors.base import CallCounter
from connectors.errors import ConnectorError, LostReply, Misconfigured, Outage, Retry

# urllib3 writes whole URLs at DEBUG, and at WARNING when headers are malformed; a query may hold an address.
logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)

CHUNK = 256 * 1024
"""Bytes asked of the socket at once; the deadline and the size limit are looked at after each."""


class Reply(NamedTuple):
    """A complete HTTP answer of any status; ``body`` is decompressed."""

    status: int
    headers: CaseInsensitiveDict[str]
    body: bytes

    def json(self) -> Any:
        """The parsed body.

        :raises Outage: it is not JSON (a proxy's or a maintenance page)
        """
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            kind = self.headers.get("Content-Type", "none").partition(";")[0]
        # Raised outside the handler: the parser's exception carries the document.
        raise Outage(f"The answer (status {self.status}) is not JSON.", code=str(self.status),
                     detail=f"content type {kind}, {len(self.body)} bytes")


class _BodyTooLarge(rex.RequestException):
    """The answer is larger than the limit."""


class _DeadlinePassed(rex.Timeout):
    """The answer took longer than the limit for the whole call."""


class Transport(HTTPAdapter):
    """Sends one request: checks its origin, fills in time-outs, reads the whole body within limits, counts it."""

    def __init__(self, owner: Http) -> None:
        self._owner = owner
        super().__init__(pool_connections=owner.pool, pool_maxsize=owner.pool, max_retries=0)

    def send(self, request: requests.PreparedRequest, stream: bool = False, timeout: Any = None,
             verify: bool | str = True, cert: Any = None, proxies: Mapping[str, str] | None = None,
             ) -> requests.Response:
        """The response with its body read, whatever ``stream`` says.

        :raises Misconfigured: the origin is not pinned
        :raises requests.RequestException: no complete answer came (see ``translate``)
        """
        owner = self._owner
        owner.guard(request.url or "")
        started = time.monotonic()
        response = super().send(request, stream=True, timeout=timeout or (owner.connect, owner.read), verify=verify,
                                cert=cert, proxies=proxies)
        try:
            body = self._read(response.raw, started + owner.total)
        except BaseException:
            response.close()
            raise
        response._content = body
        response._content_consumed = True  # type: ignore[attr-defined]  # requests' own mark of a read body
        owner.note(request, response, response.raw.tell())
        return response

    def _read(self, raw: urllib3.HTTPResponse, deadline: float) -> bytes:
        """Read to the end. ``read1`` and not ``read``: a server that drips bytes must not outlive the deadline."""
        chunks: list[bytes] = []
        size = 0
        while chunk := self._piece(raw):
            size += len(chunk)
            if size > self._owner.max_body:
                raise _BodyTooLarge
            if time.monotonic() > deadline:
                raise _DeadlinePassed
            chunks.append(chunk)
        return b"".join(chunks)

    @staticmethod
    def _piece(raw: urllib3.HTTPResponse) -> bytes:
        try:
            return raw.read1(CHUNK, decode_content=True)
        except uex.ReadTimeoutError:
            raise rex.ReadTimeout from None
        except uex.DecodeError:
            raise rex.ContentDecodingError from None
        except (uex.HTTPError, OSError):
            raise rex.ChunkedEncodingError from None


class Session(requests.Session):
    """A session that stays on its origin: only reads follow a redirect, and only to where they came from."""

    def __init__(self, transport: Transport, verify: bool | str) -> None:
        super().__init__()
        self.trust_env = False
        self.verify = verify
        self.max_redirects = 3
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.mount("https://", transport)
        self.mount("http://", transport)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None (the redirect becomes the answer) for writes, which would turn into GETs, and for foreign origins."""
        target = super().get_redirect_target(resp)
        if target is None or resp.request.method not in ("GET", "HEAD"):
            return None
        here = resp.url
        return target if origin_of(urllib.parse.urljoin(here, target)) == origin_of(here) else None


class Http:
    """HTTP to one vendor.

    base_url   where relative paths of ``call`` go; its origin is pinned
    connect    seconds to open a connection; ``read`` between two pieces of the answer; ``total`` for a whole answer
    max_body   bytes of one decompressed answer
    pool       connections kept open
    ca_file    certificate authorities instead of the system's
    origins    further origins that may be called
    clock      the local clock that ``server_skew`` is measured against
    """

    def __init__(self, base_url: str, *, counter: CallCounter, connect: float = 5.0, read: float = 60.0,
                 total: float = 300.0, max_body: int = 256 * 2**20, pool: int = 8, ca_file: str | None = None,
                 origins: Sequence[str] = (), clock: Callable[[], float] = time.time) -> None:
        self.connect, self.read, self.total = connect, read, total
        self.max_body, self.pool = max_body, pool
        self.server_skew: float | None = None
        self._base = base_url.rstrip("/")
        self._counter = counter
        self._clock = clock
        self._lock = threading.Lock()
        self._here = threading.local()
        self._origins: set[tuple[str, str, int]] = set()
        for origin in (base_url, *origins):
            self.pin(origin)
        self.session: requests.Session = Session(Transport(self), ca_file or True)

    def pin(self, origin: str) -> None:
        """Allow one more origin (scheme, host and port of any URL).

        :raises Misconfigured: plain http to anything but this machine
        """
        name = origin_of(origin)
        scheme, host, _ = name
        if scheme != "https" and not (scheme == "http" and _is_loopback(host)):
            raise Misconfigured(f"Endpoint {scheme}://{host} is not allowed.",
                                remedy="Use https; plain http is for 127.0.0.1 only.")
        self._origins.add(name)

    def guard(self, url: str) -> None:
        """:raises Misconfigured: the URL's origin is not pinned"""
        scheme, host, port = origin_of(url)
        if (scheme, host, port) not in self._origins:
            raise Misconfigured(f"A call to {scheme}://{host}:{port} was stopped: it is not an endpoint of this "
                                "connection.", remedy="Check the endpoint in the configuration.")

    @contextlib.contextmanager
    def route(self, name: str) -> Iterator[None]:
        """Count the calls that a library makes with ``session`` inside the block, in this thread, under ``name``."""
        outer = getattr(self._here, "route", None)
        self._here.route = name
        try:
            yield
        finally:
            self._here.route = outer

    def note(self, request: requests.PreparedRequest, response: requests.Response, received: int) -> None:
        """Count one answered request and measure the server's clock; ``received`` is bytes on the wire."""
        sent = int(request.headers.get("Content-Length") or 0)
        date = response.headers.get("Date")
        with self._lock:
            self._counter.count(getattr(self._here, "route", None) or "library", sent, received)
            if date is not None and (at := _http_date(date)) is not None:
                self.server_skew = at - self._clock()

    def call(self, method: str, url_or_path: str, *, route: str, params: Mapping[str, str] | None = None,
             json: Any = None, data: bytes | str | None = None, headers: Mapping[str, str] | None = None,
             write: bool = False, read: float | None = None) -> Reply:
        """One request, one answer of any status.

        ``route`` is the name it is counted under, never a URL. ``write`` says that the call must not be repeated
        blindly. ``read`` replaces the default seconds between two pieces of the answer. ``data`` text goes as UTF-8.

        :raises Misconfigured: the origin is not pinned, or the request is malformed
        :raises Outage: cannot connect, TLS failure, garbage, answer too large or too slow
        :raises Retry: a read broke off
        :raises LostReply: a write was sent and no complete answer came
        """
        url = url_or_path if "://" in url_or_path else f"{self._base}/{url_or_path.lstrip('/')}"
        sent = {"Accept": "application/json", **(headers or {})}
        body: bytes | None = data.encode() if isinstance(data, str) else data
        if json is not None:
            body = orjson.dumps(json)
            sent.setdefault("Content-Type", "application/json; charset=UTF-8")
        failure: ConnectorError
        with self.route(route):
            try:
                prepared = self.session.prepare_request(
                    requests.Request(method, url, headers=sent, params=params, data=body))
                response = self.session.send(prepared, timeout=(self.connect, read or self.read),
                                             allow_redirects=True)
                return Reply(response.status_code, response.headers, response.content)
            except rex.RequestException as exc:
                failure = translate(exc, write)
            except UnicodeError:
                failure = _unsendable("a header is not Latin-1")
        # Raised outside the handler: the text of requests' exceptions contains the URL with its query.
        raise failure

    def close(self) -> None:
        """Release the sockets."""
        self.session.close()


def translate(exc: requests.RequestException, write: bool) -> ConnectorError:
    """What a call that brought no complete answer means for the caller. The exception's own text is never quoted."""
    name = type(exc).__name__.lstrip("_")
    cause = _cause(exc)
    if exc.request is None and isinstance(exc, ValueError):  # InvalidURL, InvalidHeader …: refused before sending
        return _unsendable(name)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Outage("The server's certificate is not trusted.", detail=name,
                      remedy="Check the endpoint, the clock, and ca_file.")
    if isinstance(exc, rex.ConnectTimeout) or isinstance(cause, uex.NewConnectionError):
        return Outage("The server cannot be reached.", remedy="Check the network and the endpoint.", detail=name)
    if write:  # anything later may have happened after the server acted
        return LostReply("The server's answer to a write was lost.", detail=name)
    if isinstance(exc, rex.SSLError):
        return Outage("The secure connection failed.", detail=name)
    if isinstance(exc, _BodyTooLarge):
        return Outage("The answer is larger than allowed.", detail=name)
    if isinstance(exc, _DeadlinePassed):
        return Outage("The answer took longer than allowed.", detail=name)
    garbage = isinstance(cause, http.client.HTTPException) and not isinstance(
        cause, (http.client.RemoteDisconnected, http.client.IncompleteRead))
    if garbage or isinstance(exc, (rex.ContentDecodingError, rex.TooManyRedirects, rex.InvalidHeader)):
        return Outage("The server's answer makes no sense.", detail=name)
    return Retry("The connection broke off before the answer was complete.", detail=name)


def _unsendable(detail: str) -> Misconfigured:
    return Misconfigured("A request could not be built.", detail=detail,
                         remedy="Check the endpoint and the credentials.")


def _cause(exc: BaseException) -> BaseException:
    """The innermost exception that requests and urllib3 wrapped as an argument or as ``reason``."""
    while True:
        inner = getattr(exc, "reason", None) or next(
            (arg for arg in reversed(exc.args) if isinstance(arg, BaseException)), None)
        if not isinstance(inner, BaseException):
            return exc
        exc = inner


def retry_after(reply: Reply) -> float | None:
    """Seconds the server asks us to wait (``Retry-After`` as seconds or as a date, by the server's own clock)."""
    text = reply.headers.get("Retry-After", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdigit():
        return float(text)
    until, now = _http_date(text), _http_date(reply.headers.get("Date", ""))
    return None if until is None else max(0.0, until - (time.time() if now is None else now))


def origin_of(url: str) -> tuple[str, str, int]:
    """(scheme, host, port), lower case, default port filled in.

    :raises Misconfigured: not an absolute URL with a host
    """
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError:
        parts, port = urllib.parse.urlsplit(""), 0
    if not parts.hostname:
        raise Misconfigured("An endpoint is not an absolute URL.", remedy="Write it as https://host.")
    return parts.scheme, parts.hostname, port


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _http_date(text: str) -> float | None:
    parsed = email.utils.parsedate_tz(text)
    return None if parsed is None else float(email.utils.mktime_tz(parsed))
