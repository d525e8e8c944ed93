"""What the daemon sees of the web: it opens, it can go the express way, it pauses, it closes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from syncd.desk.verbs import Desk
from syncd.express import Express

if TYPE_CHECKING:
    from syncd.web.service import Service


class Front:
    """The web and the express way of what it brings; nothing at all unless ``web`` is configured."""

    def __init__(self, desk: Callable[[], Desk], log: structlog.stdlib.BoundLogger, alive: Callable[[], bool],
                 failures: Callable[[], int]) -> None:
        """``desk`` gives the desk in force."""
        self._desk = desk
        self._log = log
        self._alive = alive
        self._failures = failures
        self._service: Service | None = None
        self._express: Express | None = None
        self._closed = False
        self._guard = threading.Lock()

    def open(self) -> None:
        """Listen from the first moment on: what comes is stored, whatever the vendors are doing.

        :raises Failure: the address cannot be listened on
        """
        web = self._desk().config.web
        if web is not None:
            from syncd.web.service import Service  # flask and waitress: a tenth of a second, for who wants them

            self._service = Service(web, self._desk, self._log, wake=self._wake, alive=self._alive,
                                    failures=self._failures)

    def ready(self) -> None:
        """The mapping is compiled: opt-outs can go the express way."""
        with self._guard:
            if self._service is not None and self._express is None and not self._closed:
                self._service.use(self._desk())
                self._express = Express(self._desk().app, self._log).start()

    def pause(self) -> None:
        """End the express way: its connectors are about to go. What comes waits in the inbox."""
        with self._guard:
            express, self._express = self._express, None
        if express is not None:
            express.close()

    def close(self) -> None:
        """Take nothing more, finish what is being sent. May be called twice."""
        self._closed = True
        service, self._service = self._service, None
        if service is not None:
            service.close()
        self.pause()

    def _wake(self) -> None:
        express = self._express
        if express is not None:
            express.wake()
