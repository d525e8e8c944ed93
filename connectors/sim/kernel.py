"""What all simulators share: a clock, seeded randomness, faults, a request journal, and an HTTP server on 127.0.0.1.

A simulator is a class that fulfils ``Simulator``: it answers HTTP requests from its own tables, tells the truth to the
control API (``world``) and lets people act (``act``). It imports no connector.
"""

from __future__ import annotations

import contextlib
import dataclasses
import email.utils
import gzip
import random
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

import orjson

MAX_BODY = 256 * 1024 * 1024


class Clock:
    """The simulators' time: the host's plus everything that was advanced. Thread-safe."""

    def __init__(self, start: float | None = None) -> None:
        self._offset = 0.0 if start is None else start - time.time()
        self._lock = threading.Lock()

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time() + self._offset

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._offset += seconds


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as a simulator sees it. Header names are lower case; ``query`` keeps a name's last value."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body) if self.body else None

    def form(self) -> dict[str, str]:
        return dict(urllib.parse.parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))


@dataclass(slots=True)
class Response:
    """``body`` may be bytes, text, or anything orjson writes. ``reset`` closes the socket instead of answering."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json;charset=UTF-8"
    reset: bool = False
    delay: float = 0.0

    def encoded(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        if isinstance(self.body, str):
            return self.body.encode()
        return orjson.dumps(self.body)


@dataclass(slots=True)
class Fault:
    """A switch set through ``POST /sandbox/faults``. Generic ones (latency, http_429, http_500, reset_before,
    reset_after) act in ``serve``; the others (partial, token_expired, truncated_page, empty_list, drop_field,
    slow_queue) are asked for by the simulator with ``Faults.active``."""

    target: str
    fault: str
    route: str | None = None
    object: str | None = None
    field: str | None = None
    count: int | None = None
    probability: float = 1.0
    seconds: float = 0.0
    seed: int | None = None
    rng: random.Random = dataclasses.field(default_factory=random.Random)


class Faults:
    """The faults in force. ``active`` consumes one use of a counted fault."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._cleared = threading.Event()

    def add(self, fault: Fault) -> None:
        fault.rng = random.Random(fault.seed if fault.seed is not None else 0)
        with self._lock:
            self._faults.append(fault)

    def clear(self, target: str | None = None) -> int:
        with self._lock:
            kept = [f for f in self._faults if target is not None and f.target != target]
            gone = len(self._faults) - len(kept)
            self._faults = kept
            self._cleared.set()
            self._cleared = threading.Event()
            return gone

    def linger(self, seconds: float) -> None:
        """Wait so long for the sake of a fault; at most until faults are cleared."""
        self._cleared.wait(seconds)

    def active(self, target: str, fault: str, route: str | None = None, object: str | None = None) -> Fault | None:
        """The first matching fault that fires now, or None."""
        with self._lock:
            for f in self._faults:
                if f.target != target or f.fault != fault:
                    continue
                if f.route is not None and (route is None or f.route not in route):
                    continue
                if f.object is not None and f.object != object:
                    continue
                if f.count is not None and f.count <= 0:
                    continue
                if f.probability < 1.0 and f.rng.random() >= f.probability:
                    continue
                if f.count is not None:
                    f.count -= 1
                return f
        return None

    def standing(self, target: str, fault: str) -> list[Fault]:
        """All faults of that name in force, without using one up: for those that describe a state (drop_field)."""
        with self._lock:
            return [f for f in self._faults
                    if f.target == target and f.fault == fault and (f.count is None or f.count > 0)]


class Journal:
    """Every request, counted; ``records_written`` and ``reads``/``writes`` are told by the simulator with ``note``."""

    KEEP = 20_000

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self.totals: dict[str, dict[str, int]] = {}
            self.entries: list[dict[str, Any]] = []

    def call(self, side: str, method: str, route: str, status: int, bytes_in: int, at: float, write: bool,
             records: int) -> None:
        with self._lock:
            t = self.totals.setdefault(
                side, {"calls": 0, "reads": 0, "writes": 0, "records_written": 0, "bytes_in": 0})
            t["calls"] += 1
            t["writes" if write else "reads"] += 1
            t["records_written"] += records
            t["bytes_in"] += bytes_in
            if len(self.entries) < self.KEEP:
                self.entries.append({"side": side, "method": method, "route": route, "status": status,
                                     "records": records, "at": at})

    def snapshot(self) -> dict[str, Any]:
        """{"totals": ..., "entries": ...} as they are now."""
        with self._lock:
            return {"totals": {side: dict(t) for side, t in self.totals.items()}, "entries": list(self.entries)}


class Call:
    """Per-request notes a simulator leaves for the journal: ``request.route`` is a name, never a URL with data."""

    __slots__ = ("records", "route", "write")

    def __init__(self) -> None:
        self.route = "?"
        self.write = False
        self.records = 0


@dataclass(slots=True)
class Kernel:
    """What every simulator is given."""

    seed: int = 0
    clock: Clock = field(default_factory=Clock)
    faults: Faults = field(default_factory=Faults)
    journal: Journal = field(default_factory=Journal)

    def rng(self, name: str) -> random.Random:
        """A random source of its own for each user, so that one simulator's draws never shift another's."""
        return random.Random(f"{self.seed}/{name}")


class Simulator(Protocol):
    """One vendor. ``side`` is its name in the control API ("salesforce", "odoo", "marketing_cloud")."""

    side: str

    def handle(self, request: Request, call: Call) -> Response:
        """Answer one request. Called from many threads."""

    def world(self, after: str | None, limit: int | None, mails: bool = True) -> dict[str, Any]:
        """The truth, in the control API's shape, sorted by id; ``after``/``limit`` page the main list. Every mail that was
        ever sent is part of it, unless ``mails`` is false."""

    def act(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Let a person do something. Raises ``BadAct`` for what the control API should refuse with 400."""


class BadAct(ValueError):
    """A control request that makes no sense; its text is the answer."""


Handler = Callable[[Request, Call], Response]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, port: int, kernel: Kernel, side: str, handler: Handler) -> None:
        self.kernel, self.side, self.handler = kernel, side, handler
        super().__init__(("127.0.0.1", port), _Connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is normal here; anything else must be seen."""
        import sys
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 64 * 1024
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Access logs would hold personal data; the journal counts instead."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        return email.utils.formatdate(self.server.kernel.clock.now() if timestamp is None else timestamp, usegmt=True)

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            chunks = []
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                if size == 0:
                    self.rfile.readline()
                    break
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            raw = b"".join(chunks)
        else:
            length = int(self.headers.get("content-length") or 0)
            if length > MAX_BODY:
                raise ConnectionError("body too large")
            raw = self.rfile.read(length) if length else b""
        return gzip.decompress(raw) if self.headers.get("content-encoding") == "gzip" else raw

    def _serve(self) -> None:
        body = self._body()
        parts = urllib.parse.urlsplit(self.path)
        request = Request(
            self.command, urllib.parse.unquote(parts.path),
            dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True)),
            {k.lower(): v for k, v in self.headers.items()}, body)
        call = Call()
        kernel, side = self.server.kernel, self.server.side
        route = f"{request.method} {request.path}"
        slow = kernel.faults.active(side, "latency", route)
        if slow is not None and slow.seconds:
            kernel.faults.linger(slow.seconds)
        if kernel.faults.active(side, "reset_before", route):
            self._drop()
            return
        response = self._answer(request, call, route)
        if response.delay:
            time.sleep(response.delay)
        data = response.encoded()
        kernel.journal.call(side, request.method, call.route, response.status, len(body), kernel.clock.now(),
                            call.write, call.records)
        if response.reset or kernel.faults.active(side, "reset_after", route):
            self._drop()
            return
        if "gzip" in request.headers.get("accept-encoding", "") and len(data) > 4096 and side != "odoo":
            # Salesforce and Marketing Cloud compress on request; Odoo's own server does not.
            data = gzip.compress(data, 1)
            response.headers["Content-Encoding"] = "gzip"
        self._send(response, data)

    def _answer(self, request: Request, call: Call, route: str) -> Response:
        """The simulator's answer, or that of a fault in its place."""
        faults, side = self.server.kernel.faults, self.server.side
        too_many = faults.active(side, "http_429", route)
        if too_many is not None:
            headers = {"Retry-After": str(max(1, int(too_many.seconds)))} if too_many.seconds else {}
            return Response(429, {"message": "Rate limit exceeded", "errorcode": 50100}, headers)
        if faults.active(side, "http_500", route):
            return Response(500, "<html><body>Internal Server Error</body></html>", content_type="text/html")
        return self.server.handler(request, call)

    def _send(self, response: Response, data: bytes) -> None:
        self.send_response(response.status)
        if response.status != 204:
            self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(data)))
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _drop(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815 - names fixed by http.server


def serve(kernel: Kernel, side: str, handler: Handler, port: int = 0) -> ThreadingHTTPServer:
    """Start a server for ``handler`` on 127.0.0.1 in a background thread; ``server_address[1]`` is its port.

    Adds the simulated time as ``Date``, applies the generic faults and writes the journal.
    """
    server = _Server(port, kernel, side, handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), name=f"sim-{side}", daemon=True).start()
    return server


def pages(items: list[Any], size: int) -> Iterator[list[Any]]:
    """``items`` in slices of ``size``."""
    for start in range(0, len(items), size):
        yield items[start:start + size]
