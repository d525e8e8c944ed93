"""Logging: event names, one JSON line per event in a service, readable lines on a terminal, nothing personal in either.

An event's name is ``noun_verb`` from this file; tests and alerts rely on the names, not on wording.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Any, TextIO

import structlog

SERVICE_STARTED = "service_started"
SERVICE_STOPPED = "service_stopped"
STOP_ASKED = "stop_asked"
JOURNAL_MENDED = "journal_mended"
CYCLE_ENDED = "cycle_ended"
CYCLE_FAILED = "cycle_failed"
CONNECTION_FAILED = "connection_failed"
CONNECTION_RECOVERED = "connection_recovered"
HOLD_OPENED = "hold_opened"
OPT_OUTS_LATE = "opt_outs_late"
SEND_WRONG = "send_wrong"
ERASURE_LATE = "erasure_late"
CONFIG_RELOADED = "config_reloaded"
CONFIG_REFUSED = "config_refused"
VERB_ASKED = "verb_asked"
WEB_STARTED = "web_started"
WEB_WARNED = "web_warned"
WEBHOOK_REFUSED = "webhook_refused"
WEBHOOK_FAILED = "webhook_failed"
WEBHOOK_ASKED = "webhook_asked"
WEBHOOK_STRANGERS = "webhook_strangers"
EXPRESS_PLANNED = "express_planned"
WRITE_SLOW = "write_slow"
AUDIT_ENDED = "audit_ended"
AUDIT_DISAGREED = "audit_disagreed"

EVENTS: Mapping[str, str] = {
    SERVICE_STARTED: "the state is open and the first cycle follows",
    SERVICE_STOPPED: "everything that was begun is stored, the state is closed",
    JOURNAL_MENDED: "the machine went down while a statement was written: what was whole was taken in, the rest cut off; or"
                    " the journal had lost entries, which were written to it again from the state",
    STOP_ASKED: "a signal asked to stop; what is being sent is finished first",
    CYCLE_ENDED: "one cycle, with its counts; the only line of a normal cycle",
    CYCLE_FAILED: "a cycle ended by an error; the next one follows after a pause",
    CONNECTION_FAILED: "a stream or destination fails, or fails in another way; repeated only when that changes",
    CONNECTION_RECOVERED: "what had failed works again",
    HOLD_OPENED: "a guard stopped changes; somebody has to decide",
    OPT_OUTS_LATE: "opt-outs have been waiting longer than they should",
    SEND_WRONG: "the provider sent mail of a topic past the topic's list, or as transactional",
    ERASURE_LATE: "a side has not erased a forgotten person for longer than it may take",
    CONFIG_RELOADED: "the files were read again and are in use",
    CONFIG_REFUSED: "the files were read again and cannot be used; the old ones stay in use",
    AUDIT_ENDED: "an audit ended, with what was compared",
    AUDIT_DISAGREED: "an audit found sides that do not hold what the ledger says; what can be repaired is",
    VERB_ASKED: "the command line asked the service for something that changes the state",
    WEB_STARTED: "webhooks, health and metrics are answered",
    WEB_WARNED: "the listener is in trouble, such as with too many connections",
    WEBHOOK_REFUSED: "a delivery was refused; told for the 1st, 10th, 100th … of its sort",
    WEBHOOK_FAILED: "a delivery could not be stored, so its sender has to repeat it",
    WEBHOOK_ASKED: "a vendor asked whether a callback's address is ours, and how the answer went",
    WEBHOOK_STRANGERS: "webhooks told of people whom the vendor does not know any more",
    EXPRESS_PLANNED: "opt-outs from webhooks were queued ahead of everything",
    WRITE_SLOW: "told with --debug: a transaction of the state kept everybody else waiting longer than it should",
}
"""Every event with its meaning."""

_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Syslog priorities, as journald reads them at the beginning of a line."""

_ADDRESS = re.compile(r"[^\s\"'<>(),;:=]+@[^\s\"'<>(),;:=]+")
_SECRET_NAMES = re.compile(r"secret|password|token|api_key|private_key|hash_key|authorization", re.IGNORECASE)


def redact(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The last look before a line is written: whatever resembles an address or a secret goes."""
    for name in list(event):
        event[name] = "***" if _SECRET_NAMES.search(name) else clean(event[name])
    return event


def clean(value: Any) -> Any:
    """A value without addresses, however deep."""
    if isinstance(value, str):
        return _ADDRESS.sub("<address>", value)
    if isinstance(value, Mapping):
        return {clean(k): "***" if _SECRET_NAMES.search(str(k)) else clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [clean(v) for v in value]
    return value


def logger(*, pretty: bool, stream: TextIO | None = None, debug: bool = False) -> structlog.stdlib.BoundLogger:
    """A logger of its own; nothing global is changed, so tests and libraries are left alone.

    :param pretty: lines for people; otherwise JSON, with a priority before it when journald reads the stream
    """
    out = stream or sys.stderr
    processors: list[Any] = [
        structlog.processors.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True), redact]
    if pretty:
        processors.append(structlog.dev.ConsoleRenderer(colors=out.isatty() and "NO_COLOR" not in os.environ))
    else:
        processors += [_Json(priorities="JOURNAL_STREAM" in os.environ)]
    made: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        _Printer(out), processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger("debug" if debug else "info"))
    return made


class _Printer(structlog.PrintLogger):
    """Writes lines as long as they are taken: a log whose disk is full, or that nobody reads any more, ends no service."""

    def msg(self, message: str) -> None:
        with suppress(OSError):
            super().msg(message)

    log = debug = info = warn = warning = fatal = failure = err = error = critical = exception = msg


class _Json:
    """One JSON object per line."""

    def __init__(self, *, priorities: bool) -> None:
        self._priorities = priorities

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
        import orjson

        line = orjson.dumps(event, default=str).decode()
        return f"<{_PRIORITY.get(str(event.get('level')), 6)}>{line}" if self._priorities else line
