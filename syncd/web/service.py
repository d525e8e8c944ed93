"""What the daemon holds of the web: the listener, the callbacks of the configuration in force, and what they wake."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import cast

import structlog

from connectors.base import Notified
from connectors.errors import ConnectorError
from state.store import Store
from syncd import compose, logs, normalise
from syncd.config import Web
from syncd.desk.verbs import Desk
from syncd.failures import FAILED, Failure, failure_of
from syncd.web.hooks import Callback, Hooks, Result
from syncd.web.listener import Listener
from syncd.web.metrics import Figures, exposition
from syncd.web.site import site

CONFIRM_PAUSES = (1.0, 5.0, 20.0, 60.0)
"""Seconds before each try to verify a callback: the vendor knows it only after our answer to its question."""


class Service:
    """Listens from its making until it is closed. ``desk`` gives the desk in force."""

    def __init__(self, web: Web, desk: Callable[[], Desk], log: structlog.stdlib.BoundLogger, *,
                 wake: Callable[[], None], alive: Callable[[], bool], failures: Callable[[], int]) -> None:
        """:raises Failure: the address cannot be listened on"""
        self._desk = desk
        self._log = log
        self._stop = threading.Event()
        config, store = desk().config, desk().store
        self.hooks = Hooks(store, normalise.hasher(config.hash_key.reveal().encode()), lambda: desk().now(), self,
                           wake=wake, ask=self._ask, failpoint=desk().app.failpoint)
        self.use(desk())
        figures = Figures(store, lambda: desk().now(), deliveries=self.hooks.counts, calls=lambda: desk().calls(),
                          failures=failures)
        host, port = web.address
        app = site(self.hooks, alive=alive, ready=lambda: not self._stop.is_set() and _writable(store),
                   metrics=exposition(figures))
        try:
            self._listener = Listener(app, host, port, max_body=web.max_body, slow=web.slow / 1e6, log=_Handler(log))
        except OSError as error:
            raise Failure(FAILED, f"nothing can listen on {web.listen}: {error.strerror}.",
                          next="Name another address under `web: listen:`.") from None
        log.info(logs.WEB_STARTED, listen=web.listen)

    def use(self, desk: Desk) -> None:
        """Take the callbacks of a desk that comes into force."""
        endpoints = desk.app.endpoints
        self.hooks.callbacks = {
            (name, callback): Callback(desk.store.connection(name, endpoints[name].role), translator)
            for (name, callback), translator in compose.translators(desk.config).items()}

    def close(self) -> None:
        """Take no more requests; those being answered are finished."""
        self._stop.set()
        self._listener.close()

    # ------------------------------------------------------------------ told

    def refused(self, connection: str, callback: str, result: Result, count: int) -> None:
        """Log the 1st, 10th, 100th … of a sort: whoever sends forgeries must not fill the disk."""
        if count == 10 ** (len(str(count)) - 1):
            self._log.warning(logs.WEBHOOK_REFUSED, connection=connection, callback=callback, reason=result, count=count)

    def failed(self, connection: str, callback: str, error: BaseException) -> None:
        self._log.error(logs.WEBHOOK_FAILED, connection=connection, callback=callback, **failure_of(error).as_json())

    # ------------------------------------------------------------------ the vendor's question

    def _ask(self, connection: str, handshake: Mapping[str, str]) -> None:
        """Verify a callback afterwards, in a thread of its own: one at a time, whoever asks how often."""
        if any(thread.name == f"confirm-{connection}" for thread in threading.enumerate()):
            return
        threading.Thread(target=self._confirm, args=(connection, handshake), name=f"confirm-{connection}",
                         daemon=True).start()

    def _confirm(self, connection: str, handshake: Mapping[str, str]) -> None:
        for pause in CONFIRM_PAUSES:
            if self._stop.wait(pause):
                return
            try:
                cast(Notified, self._desk().app.connectors[connection]).confirm(handshake)
            except ConnectorError as error:
                problem = failure_of(error).as_json()
                continue
            self._log.info(logs.WEBHOOK_ASKED, connection=connection, verified=True)
            return
        self._log.error(logs.WEBHOOK_ASKED, connection=connection, verified=False, **problem)


def _writable(store: Store) -> bool:
    """Whether a delivery would be stored now."""
    try:
        store.write(lambda conn: store.journal.come_home(), urgent=True, timeout=1.0)
    except Exception:
        return False
    return True


class _Handler(logging.Handler):
    """The server's own warnings, as events."""

    def __init__(self, log: structlog.stdlib.BoundLogger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.warning(logs.WEB_WARNED, message=record.getMessage())
