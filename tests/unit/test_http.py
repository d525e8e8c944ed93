"""``connectors.http`` against raw sockets that misbehave in every way a vendor can."""

from __future__ import annotations

import gzip
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import requests

from connectors.base import CallCounter
from connectors.errors import ConnectorError, LostReply, Misconfigured, Outage, Retry
from connectors.http import Http, Reply, retry_after

Script = Callable[[socket.socket, str], None]


class Server:
    """One scripted answer per request, over raw sockets; remembers request heads. Keeps connections open."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.heads: list[str] = []
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._talk, args=(conn,), daemon=True).start()

    def _talk(self, conn: socket.socket) -> None:
        with conn:
            seen = b""
            while True:
                while b"\r\n\r\n" not in seen:
                    try:
                        more = conn.recv(65536)
                    except OSError:
                        return
                    if not more:
                        return
                    seen += more
                head, _, seen = seen.partition(b"\r\n\r\n")
                text = head.decode()
                length = next((int(line[15:]) for line in text.split("\r\n")
                               if line.lower().startswith("content-length:")), 0)
                while len(seen) < length:
                    seen += conn.recv(65536)
                seen = seen[length:]
                self.heads.append(text)
                try:
                    self.script(conn, text)
                except OSError:
                    return


def ok(body: bytes = b"{}", *headers: str, status: str = "200 OK") -> Script:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]) + "\r\n\r\n"
    return lambda conn, _: conn.sendall(head.encode() + body)


def then_close(data: bytes) -> Script:
    def script(conn: socket.socket, _: str) -> None:
        conn.sendall(data)
        conn.shutdown(socket.SHUT_RDWR)
    return script


@pytest.fixture
def serve() -> Iterator[Callable[[Script], Server]]:
    servers: list[Server] = []

    def start(script: Script) -> Server:
        servers.append(Server(script))
        return servers[-1]
    yield start
    for server in servers:
        server.listener.close()


Serve = Callable[[Script], Server]


@pytest.fixture
def http() -> Iterator[Callable[..., Http]]:
    made: list[Http] = []

    def make(url: str, **options: object) -> Http:
        made.append(Http(url, counter=CallCounter(), **options))  # type: ignore[arg-type]
        return made[-1]
    yield make
    for one in made:
        one.close()


Make = Callable[..., Http]


@pytest.mark.parametrize("status", ["200 OK", "304 Not Modified", "404 Not Found", "429 Too Many", "503 Sorry"])
def test_every_status_is_a_reply(serve: Serve, http: Make, status: str) -> None:
    server = serve(ok(b"" if status.startswith("304") else b'{"a":1}', status=status))
    reply = http(server.url).call("GET", "/x", route="x")
    assert reply.status == int(status[:3])
    if reply.body:
        assert reply.json() == {"a": 1}


def test_counts_routes_and_bytes_on_the_wire(serve: Serve, http: Make) -> None:
    packed = gzip.compress(b"x" * 100_000)
    server = serve(ok(packed, "Content-Encoding: gzip"))
    counter = CallCounter()
    client = Http(server.url, counter=counter)
    assert client.call("GET", "/a", route="read").body == b"x" * 100_000
    client.call("POST", "/a", route="write", json={"k": "v"}, write=True)
    with client.route("library call"):
        client.session.get(server.url + "/lib")
    assert counter.by_route == {"read": 1, "write": 1, "library call": 1}
    assert (counter.calls, counter.bytes_in, counter.bytes_out) == (3, 3 * len(packed), len(b'{"k":"v"}'))
    assert server.connections == 1  # kept alive: bodies are read to their end
    client.close()


class RacyCounter(CallCounter):
    """Counts so slowly that two threads at once would lose a call."""

    def count(self, route: str, sent: int, received: int) -> None:
        before = self.calls
        time.sleep(0.001)
        self.calls = before + 1


def test_counter_survives_threads(serve: Serve) -> None:
    server = serve(ok())
    counter = RacyCounter()
    client = Http(server.url, counter=counter)
    threads = [threading.Thread(target=lambda: [client.call("GET", "/", route="r") for _ in range(5)])
               for _ in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert counter.calls == 30
    client.close()


BROKEN = {
    "closed": (then_close(b""), Retry),
    "short": (then_close(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), Retry),
    "bad chunk": (then_close(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc"), Retry),
    "not http": (then_close(b"hello\r\n\r\n"), Outage),
    "bad gzip": (ok(b"abc", "Content-Encoding: gzip"), Outage),
    "bad length": (then_close(b"HTTP/1.1 200 OK\r\nContent-Length: 3,4\r\n\r\nabc"), Outage),
    "silence": (lambda conn, _: time.sleep(0.4), Retry),
    "too large": (ok(b"x" * 5000), Outage),
    "bomb": (ok(gzip.compress(b"x" * 10_000_000), "Content-Encoding: gzip"), Outage),
}


@pytest.mark.parametrize("name", BROKEN)
def test_incomplete_answers(serve: Serve, http: Make, name: str) -> None:
    script, expected = BROKEN[name]
    client = http(serve(script).url, read=0.15, max_body=4096)
    with pytest.raises(expected) as caught:
        client.call("GET", "/x?q=anna%40acme.example", route="x")
    assert_silent(caught.value)
    with pytest.raises(LostReply) as lost:
        client.call("POST", "/x?q=anna%40acme.example", route="x", write=True, data=b"anna@acme.example")
    assert_silent(lost.value)


def assert_silent(error: ConnectorError) -> None:
    """Neither the error nor what a traceback prints with it may show a query."""
    assert "anna" not in f"{error} {error!r} {error.detail} {error.remedy} {error.__context__!r}"
    assert error.__cause__ is None
    assert error.__context__ is None


def test_dripping_body_ends_at_the_deadline(serve: Serve, http: Make) -> None:
    def drip(conn: socket.socket, _: str) -> None:
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _i in range(200):
            conn.sendall(b"x")
            time.sleep(0.02)
    client = http(serve(drip).url, read=1.0, total=0.1)
    began = time.monotonic()
    with pytest.raises(Outage, match="longer"):
        client.call("GET", "/", route="x")
    assert time.monotonic() - began < 2.0  # the whole drip would take 4 s


def test_unreachable_is_an_outage_even_for_writes(http: Make) -> None:
    probe = socket.create_server(("127.0.0.1", 0))
    port = probe.getsockname()[1]
    probe.close()
    for write in (False, True):
        with pytest.raises(Outage, match="reached"):
            http(f"http://127.0.0.1:{port}").call("POST", "/", route="x", write=write)


def test_tls_failure(http: Make) -> None:
    """The far end does not speak TLS. A write may not claim that nothing happened, a read may."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def answer() -> None:
            for _ in range(2):
                conn, _address = listener.accept()
                conn.recv(4096)
                conn.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                conn.close()
        worker = threading.Thread(target=answer)
        worker.start()
        client = http(f"https://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(Outage, match="secure"):
            client.call("GET", "/", route="x")
        with pytest.raises(LostReply):
            client.call("POST", "/", route="x", write=True)
        worker.join()


def test_redirects_stay_at_home(serve: Serve, http: Make) -> None:
    thief = serve(ok(b'"stolen"'))

    def script(conn: socket.socket, head: str) -> None:
        path = head.split(" ")[1]
        target = {"/home": "/landed", "/away": thief.url + "/x"}.get(path)
        if target is None:
            ok(b'"landed"')(conn, head)
        else:
            ok(b"", f"Location: {target}", status="302 Found")(conn, head)
    server = serve(script)
    client = http(server.url)
    assert client.call("GET", "/home", route="x").json() == "landed"
    assert client.call("GET", "/away", route="x").status == 302
    assert client.call("POST", "/home", route="x", write=True).status == 302  # never turned into a GET
    client.pin(thief.url)
    assert client.call("GET", "/away", route="x").status == 302  # pinned for calls, still no redirect
    assert thief.heads == []


def test_origin_pin(serve: Serve, http: Make) -> None:
    home, other = serve(ok()), serve(ok())
    client = http(home.url)
    with pytest.raises(Misconfigured, match="not an endpoint"):
        client.call("GET", other.url + "/x?secret=1", route="x")
    with pytest.raises(Misconfigured):
        client.session.get(other.url)  # a library cannot leave either
    client.pin(other.url)
    assert client.call("GET", other.url + "/x", route="x").status == 200
    assert client.call("GET", "@127.0.0.1/x", route="x").status == 200  # a path, not an authority
    assert home.heads[-1].startswith("GET /@127.0.0.1/x ")


@pytest.mark.parametrize("url", ["http://acme.example", "http://10.0.0.1", "ftp://127.0.0.1", "acme.example", "",
                                 "http://127.0.0.1.evil.example", "https://[bad"])
def test_refused_endpoints(url: str) -> None:
    with pytest.raises(Misconfigured):
        Http(url, counter=CallCounter())


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1", "https://acme.example"])
def test_allowed_endpoints(url: str) -> None:
    Http(url, counter=CallCounter()).close()


@pytest.mark.parametrize("value", ["a\r\nX: y", "\N{EURO SIGN}"])
def test_unsendable_header_is_not_quoted(serve: Serve, http: Make, value: str) -> None:
    with pytest.raises(Misconfigured, match="could not be built") as caught:
        http(serve(ok()).url).call("GET", "/", route="x", headers={"Authorization": "Bearer s3cret" + value})
    assert "s3cret" not in f"{caught.value!r} {caught.value.detail} {caught.value.__context__!r}"


def test_environment_is_ignored(serve: Serve, http: Make, monkeypatch: pytest.MonkeyPatch,
                                tmp_path: object) -> None:
    netrc = f"{tmp_path}/netrc"
    with open(netrc, "w") as file:
        file.write("machine 127.0.0.1 login eve password eve\n")
    monkeypatch.setenv("NETRC", netrc)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server = serve(ok())
    client = http(server.url)
    client.call("GET", "/", route="x", headers={"Authorization": "Bearer t"})
    assert "Authorization: Bearer t" in server.heads[0]


def test_cookies_are_not_kept(serve: Serve, http: Make) -> None:
    server = serve(ok(b"{}", "Set-Cookie: sid=1; Path=/"))
    client = http(server.url)
    client.call("GET", "/", route="x")
    client.call("GET", "/", route="x")
    assert "cookie" not in server.heads[1].lower()


def test_server_skew_uses_the_given_clock(serve: Serve, http: Make) -> None:
    server = serve(ok(b"{}", "Date: Sat, 21 Nov 2026 12:00:30 GMT"))
    client = http(server.url, clock=lambda: 1795262400.0)  # 2026-11-21T12:00:00Z
    assert client.server_skew is None
    client.call("GET", "/", route="x")
    assert client.server_skew == 30.0


def test_not_json(serve: Serve, http: Make) -> None:
    page = b"<html>anna@acme.example is down</html>"
    reply = http(serve(ok(page, "Content-Type: text/html")).url).call("GET", "/", route="x")
    with pytest.raises(Outage, match="not JSON") as caught:
        reply.json()
    assert_silent(caught.value)


def test_urllib3_logs_no_urls(serve: Serve, http: Make, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        http(serve(ok()).url).call("GET", "/x?q=anna", route="x")
    assert "anna" not in caplog.text


@pytest.mark.parametrize(("headers", "expected"), [
    ({}, None), ({"Retry-After": "7"}, 7.0), ({"Retry-After": " 0 "}, 0.0), ({"Retry-After": "soon"}, None),
    ({"Retry-After": "Sat, 21 Nov 2026 12:01:00 GMT", "Date": "Sat, 21 Nov 2026 12:00:00 GMT"}, 60.0),
    ({"Retry-After": "Sat, 21 Nov 2026 11:00:00 GMT", "Date": "Sat, 21 Nov 2026 12:00:00 GMT"}, 0.0),
    ({"Retry-After": "-5"}, None),
])
def test_retry_after(headers: dict[str, str], expected: float | None) -> None:
    reply = Reply(429, requests.structures.CaseInsensitiveDict(headers), b"")
    assert retry_after(reply) == expected
