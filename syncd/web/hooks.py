"""Webhooks: a delivery is checked, stored for good, and only then acknowledged. A refused one changes nothing."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from connectors.base import RefusalReason, Refused, Translator
from state.store import Store
from syncd import inbox
from syncd.model import Micros

Result = Literal["stored", "repeated", "ignored", "asked", "failed", "unreadable"] | RefusalReason
"""``asked``: the vendor's question whether the address is ours; ``ignored``: nothing in it concerns us; ``failed``: the
state could not store it; ``unreadable``: not JSON by its content type."""

STATUS: Mapping[Result, int] = {
    "stored": 204, "repeated": 204, "ignored": 204, "asked": 200, "failed": 503, "unreadable": 415,
    "forged": 403, "stale": 403, "unexpected": 403, "malformed": 400}

PATIENCE = 10.0
"""Seconds a delivery waits for the state. Vendors wait less long, and repeat what was not acknowledged."""


class Log(Protocol):
    """Where refusals and failures are told."""

    def refused(self, connection: str, callback: str, result: Result, count: int) -> None: ...

    def failed(self, connection: str, callback: str, error: BaseException) -> None: ...


@dataclass(frozen=True, slots=True)
class Callback:
    """One address: /hooks/CONNECTION/NAME."""

    connection: int
    translator: Translator


class Hooks:
    """All callbacks of a configuration. Thread-safe; ``callbacks`` may be replaced at any time."""

    def __init__(self, store: Store, hashed: Callable[[str], bytes], clock: Callable[[], Micros], log: Log, *,
                 wake: Callable[[], None], ask: Callable[[str, Mapping[str, str]], None],
                 failpoint: Callable[[str], None]) -> None:
        """``wake`` is called after something was stored; ``ask`` with a vendor's question and the connection's name."""
        self.callbacks: Mapping[tuple[str, str], Callback] = {}
        self.failpoint = failpoint
        self._store = store
        self._hashed = hashed
        self._clock = clock
        self._log = log
        self._wake = wake
        self._ask = ask
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._lock = threading.Lock()

    def counts(self) -> dict[tuple[str, ...], int]:
        """Deliveries since the start by connection, callback and result."""
        with self._lock:
            return dict(self._counts)

    def deliver(self, connection: str, callback: str, headers: Mapping[str, str], body: bytes,
                is_json: bool) -> int | None:
        """The answer's status; None where no such callback is configured. Header names are lower-case."""
        known = self.callbacks.get((connection, callback))
        if known is None:
            return None
        self.failpoint("received")
        result = self._take(known, connection, callback, headers, body) if is_json else "unreadable"
        with self._lock:
            self._counts[connection, callback, result] += 1
            count = self._counts[connection, callback, result]
        if STATUS[result] >= 400 and result != "failed":
            self._log.refused(connection, callback, result, count)
        return STATUS[result]

    def _take(self, known: Callback, connection: str, callback: str, headers: Mapping[str, str], body: bytes) -> Result:
        now = self._clock()
        try:
            received = known.translator.receive(headers, body, now)
        except Refused as refused:
            return refused.reason
        if received.handshake is not None:
            self._ask(connection, received.handshake)
            return "asked"
        if not received.notices:
            return "ignored"
        try:
            fresh = inbox.receive(self._store, self._hashed, known.connection, body, received.notices, now, PATIENCE)
        except Exception as error:  # whatever it was: only what is stored is acknowledged
            self._log.failed(connection, callback, error)
            return "failed"
        self.failpoint("committed")
        self._wake()
        return "stored" if fresh else "repeated"


def lower(headers: Mapping[str, Any]) -> dict[str, str]:
    """Headers by their lower-case names."""
    return {str(name).lower(): str(value) for name, value in headers.items()}
