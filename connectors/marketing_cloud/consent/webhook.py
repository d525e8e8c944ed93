"""Notifications of unsubscribes (Event Notification Service): checked and translated, then looked up.

A notification is trusted for who and when, not for how far: it names the subscriber by number and the list of the job,
even where the platform stopped all mail. So the subscriber's key and state are asked before it becomes an event.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from connectors.base import Received, Refused
from connectors.marketing_cloud.consent.reading import StatusReader, event_id
from connectors.marketing_cloud.wire.calls import Wire
from syncd.model import EventKind, Micros, Notice, Value

SIGNATURE = "x-sfmc-ens-signature"
UNSUBSCRIBE = "EngagementEvents.EmailUnsubscribe"

LONGEST_RETRY: Micros = 8 * 86_400_000_000
"""How old an event may be: the vendor repeats a delivery for up to seven days. What is older was sent by somebody else,
or is long known from polling."""

TEXT = 100
"""Characters of an identifier; longer ones are none of Marketing Cloud's."""


class MarketingCloudTranslator:
    """The deliveries of one callback. ``keys`` are its signature keys, more than one while they are exchanged, none
    before the vendor has told the first: until then only the question whether the address is ours is answered."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = tuple(key.encode() for key in keys)

    def receive(self, headers: Mapping[str, str], body: bytes, now: Micros) -> Received:
        """Unsubscribes of one delivery. Other kinds of event are passed over.

        :raises Refused:
        """
        if SIGNATURE not in headers:
            return self._question(body)
        if not self._is_signed(headers[SIGNATURE], body):
            raise Refused("forged")
        content = _json(body)
        if not isinstance(content, list) or not content:
            raise Refused("malformed")
        notices = [notice for event in content if (notice := _notice(event)) is not None]
        fresh = tuple(notice for notice in notices if notice.at > now - LONGEST_RETRY)
        if notices and not fresh:
            raise Refused("stale")
        return Received(fresh)

    def _is_signed(self, given: str, body: bytes) -> bool:
        """Every key is tried, so that the time taken tells nothing."""
        wanted = [base64.b64encode(hmac.new(key, body, hashlib.sha256).digest()) for key in self._keys]
        offered = given.strip().encode("latin-1", "replace")
        return sum([hmac.compare_digest(each, offered) for each in wanted]) > 0

    def _question(self, body: bytes) -> Received:
        """The one unsigned message: it comes when the callback is made, before there is a key."""
        if self._keys:
            raise Refused("forged")
        content = _json(body)
        names = ("callbackId", "verificationKey")
        if not isinstance(content, dict) or not all(_is_text(content.get(name)) for name in names):
            raise Refused("malformed")
        return Received(handshake={name: str(content[name]) for name in names})


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    raise Refused("malformed")  # outside the handler: the parser's exception holds the document


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= TEXT


def _notice(event: Any) -> Notice | None:
    """An unsubscribe; None for an event of another kind.

    :raises Refused: it is none of the platform's
    """
    if not isinstance(event, dict) or not _is_text(event.get("eventCategoryType")):
        raise Refused("malformed")
    if event["eventCategoryType"] != UNSUBSCRIBE:
        return None
    said, at = event.get("composite"), event.get("timestampUTC")
    if not isinstance(said, dict) or not isinstance(at, int) or isinstance(at, bool) or not 0 < at < 1 << 47:
        raise Refused("malformed")
    number, container, send = (str(said.get(name) or "") for name in ("subscriberId", "listId", "jobId"))
    if not number.isdecimal() or len(number) > TEXT or len(container) > TEXT or len(send) > TEXT:
        raise Refused("malformed")
    return Notice("unsubscribe", at * 1000, container or None, send or None, number, evidence="ens_unsubscribe")


class Notices:
    """Looks notifications up, and answers for callbacks."""

    def __init__(self, wire: Wire, statuses: StatusReader) -> None:
        self._wire = wire
        self._statuses = statuses

    def resolve(self, notices: Sequence[Notice]) -> list[tuple[Value, ...] | None]:
        """A row of the stream ``events`` for each. Where All Subscribers says no, the whole of that counts."""
        people = self._statuses.by_number(list(dict.fromkeys(n.subject for n in notices if n.subject)))
        rows: list[tuple[Value, ...] | None] = []
        for notice in notices:
            known = people.get(notice.subject or "")
            if known is None:
                rows.append(None)
                continue
            key, status = known
            kind: EventKind = "master_unsubscribe" if status == "unsubscribed" else notice.kind
            event = event_id(kind, key, notice.at, notice.send, notice.container)
            send = notice.send if notice.send != "0" else None
            rows.append((event, kind, notice.container, send, key, None, notice.at, notice.evidence))
        return rows

    def confirm(self, handshake: Mapping[str, str]) -> None:
        """Verify a callback; the vendor takes each key once, within four hours."""
        self._wire.rest("POST", "/platform/v1/ens-verify", route="ens.verify", json=dict(handshake))
