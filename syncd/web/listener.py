"""The server under the site: waitress, with limits on what a client may cost.

Requests are received whole before a thread sees them, so slow clients hold none; one that takes too long is answered 408,
one that is too big 413, before any of our code runs. Bodies stay in memory: they hold personal data.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import create_server
from waitress.utilities import Error

THREADS = 8
CONNECTIONS = 200
HEADER_BYTES = 16_384
PATIENCE = 15.0
"""Seconds that answers in the making are waited for at the end: longer than a delivery waits for the state."""


class RequestTimeout(Error):  # type: ignore[misc]  # waitress has no types
    code = 408
    reason = "Request Timeout"


class _Parser(HTTPRequestParser):  # type: ignore[misc]
    """A request that has to be complete in ``adj.slow`` seconds from its first byte."""

    completed: bool

    def __init__(self, adj: Any) -> None:
        super().__init__(adj)
        self._began = time.monotonic()

    def received(self, data: bytes) -> int:
        """As waitress's; called with every piece that arrives."""
        count: int = super().received(data)
        if not self.completed and time.monotonic() - self._began > self.adj.slow:
            if not self.headers:
                self.parse_header(b"GET / HTTP/1.0\r\n")
            self.error = RequestTimeout("The request took too long to arrive.")
            self.completed = True
            return len(data)
        return count


class _Channel(HTTPChannel):  # type: ignore[misc]
    parser_class = _Parser


class Listener:
    """Serves an application until it is closed, in threads of its own."""

    def __init__(self, app: Any, host: str, port: int, *, max_body: int, slow: float, log: logging.Handler) -> None:
        """``slow``: seconds a request may take to arrive.

        :raises OSError: the address cannot be listened on
        """
        own = logging.getLogger("waitress")
        own.handlers, own.propagate = [log], False
        own.setLevel(logging.WARNING)
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self._map: dict[int, Any] = {}
        self._server = create_server(
            app, self._map, host=host, port=port, threads=THREADS, connection_limit=CONNECTIONS, ident=None,
            max_request_body_size=max_body, inbuf_overflow=max_body + 1, max_request_header_size=HEADER_BYTES,
            channel_timeout=max(1, round(slow)), cleanup_interval=1, expose_tracebacks=False,
            clear_untrusted_proxy_headers=True)
        self._server.adj.slow = slow
        self._server.channel_class = _Channel
        self.port = int(self._server.effective_port)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="web", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._stop.is_set():
            wasyncore.loop(timeout=1.0, use_poll=True, map=self._map, count=1)
        # What is being answered is finished: afterwards the state closes.
        self._server.task_dispatcher.shutdown(cancel_pending=True, timeout=PATIENCE)
        wasyncore.close_all(self._map)

    def close(self) -> None:
        """Take no more requests; those being answered are finished."""
        self._stop.set()
        self._server.pull_trigger()
        self._thread.join()
