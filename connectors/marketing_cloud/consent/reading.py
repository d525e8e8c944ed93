"""Consent read back: who is unsubscribed where, and the events that say so.

The state is trusted and the event is not: an UnsubEvent names the list of the job even when the platform blocked more.
So status streams read the state of lists and of All Subscribers; SubscriberStatusEvent only tells whose state moved.
It also keeps what the state forgets: an opt-out that somebody's import overwrote between two readings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from connectors.errors import Misconfigured
from connectors.marketing_cloud.consent.sends import TRIGGERED
from connectors.marketing_cloud.settings import MarketingCloudSettings
from connectors.marketing_cloud.wire import cursor as cursors
from connectors.marketing_cloud.wire import errors, soap, values
from connectors.marketing_cloud.wire.calls import Wire
from connectors.marketing_cloud.wire.cursor import Cursor
from connectors.marketing_cloud.wire.describe import Describer
from connectors.marketing_cloud.wire.parted import Parted
from syncd.model import EventKind, Micros, Page, Status, StreamSpec, Value

Tuple = tuple[Value, ...]

STATUS: dict[str, Status] = {
    "active": "subscribed", "unsubscribed": "unsubscribed", "held": "held", "bounced": "bounced", "deleted": "removed",
    "normal": "subscribed", "unsub": "unsubscribed", "undeliverable": "held",
}
"""Subscriber.Status, ListSubscriber.Status and the words of SubscriberStatusEvent, in lower case."""

_SUBSCRIBER = ("SubscriberKey", "EmailAddress", "Status", "UnsubscribedDate")
_MEMBER = ("SubscriberKey", "ListID", "Status", "CreatedDate", "ModifiedDate")
_CHANGE = ("Client.ID", "SubscriberKey", "ReasonUnsub", "CurrentStatus", "PreviousStatus", "CreatedDate")
_UNSUB = ("SubscriberKey", "EventDate", "SendID", "BatchID", "List.ID", "IsMasterUnsubscribed",
          "TriggeredSendDefinitionObjectID", "EventType")
_BOUNCE = ("SubscriberKey", "EventDate", "SendID", "BatchID", "BounceCategory", "BounceType", "SMTPCode")


def event_id(kind: EventKind, key: str, at: Micros | None, send: str | None, container: str | None) -> str:
    """The id of an event, which has none of its own at Marketing Cloud. To the second: the ways in which one event can be
    read differ by milliseconds."""
    return cursors.digest(kind, key, None if at is None else str(at // 1_000_000), send, container)


class Query(NamedTuple):
    """One SOAP listing: ``where`` always, ``dated`` within a window, ``row`` makes a model row (None skips)."""

    kind: str
    properties: tuple[str, ...]
    dated: str | None
    where: soap.Filter | None
    row: Callable[[soap.Row], Tuple | None]

    def filter(self, since: Micros | None) -> soap.Filter | None:
        """The filter of a window that begins at ``since``."""
        if since is None or self.dated is None:
            return self.where
        window = soap.after(self.dated, since)
        return window if self.where is None else soap.both(self.where, window)


class StatusReader:
    """Status and event streams of one business unit."""

    def __init__(self, wire: Wire, settings: MarketingCloudSettings, describer: Describer) -> None:
        self._wire = wire
        self._describer = describer
        self._settings = settings
        self._zone = settings.zone
        self._parted = Parted(wire)

    # ----------------------------------------------------------------- verbs

    def changes(self, spec: StreamSpec, cursor: str | None) -> Iterator[Page]:
        """Pages of ``subscribers``, ``list:<id>`` or ``events``."""
        state = cursors.start(cursor, self._wire.now(), self._settings.overlap_seconds * 1_000_000)
        if spec.object == "subscribers" and state.since is not None:
            return self._moved(state)
        if spec.object == "events":
            if state.since is None:
                state = replace(state, since=state.until - self._settings.event_days * 86_400 * 1_000_000)
            return self._read(self._events(), state)
        if state.since is None:
            return self._listed(spec.object, self._listing(spec), state, whole=cursor is None)
        return self._read([self._listing(spec)], state)

    def fetch(self, spec: StreamSpec, keys: Sequence[str]) -> Page:
        """The status of ``keys`` now; one that the container does not hold is absent."""
        if spec.object == "events":
            raise Misconfigured("Events cannot be fetched by key.")
        query = self._listing(spec)
        return Page([row for row in map(query.row, self._by_key(query, keys)) if row is not None], "", last=True)

    def by_number(self, numbers: Sequence[str]) -> dict[str, tuple[str, Status]]:
        """(subscriber key, status in All Subscribers) of the subscribers with these numbers."""
        rows = self._wire.named("Subscriber", ("ID", "SubscriberKey", "Status"), "ID", numbers)
        return {str(raw["ID"]): (str(raw["SubscriberKey"]), self._status(raw)) for raw in rows
                if raw.get("ID") and raw.get("SubscriberKey")}

    # ----------------------------------------------------------------- queries

    def _listing(self, spec: StreamSpec) -> Query:
        if spec.object == "subscribers":
            return Query("Subscriber", _SUBSCRIBER, None, None, self._subscriber)
        if spec.object.startswith("list:"):
            where = soap.one_of("ListID", (spec.object[5:],))
            return Query("ListSubscriber", _MEMBER, "ModifiedDate", where, self._member)
        raise Misconfigured(f"Marketing Cloud has no stream {spec.object}.", remedy="Correct the mapping.")

    def _events(self) -> list[Query]:
        return [Query("UnsubEvent", _UNSUB, "EventDate", None, self._unsub),
                Query("BounceEvent", _BOUNCE, "EventDate", None, self._bounce)]

    def _by_key(self, query: Query, keys: Sequence[str]) -> list[soap.Row]:
        return self._wire.named(query.kind, query.properties, "SubscriberKey", keys, query.where)

    def _listed(self, name: str, query: Query, state: Cursor, whole: bool) -> Iterator[Page]:
        """Everything there is; ``whole``: this call sees the listing from its first page.

        :raises Misconfigured: there is no such list
        """
        empty = whole
        for raw, after in self._parted.pages(name, query.kind, query.properties, "SubscriberKey", query.where, state):
            empty = empty and not raw
            if empty and after.done and name.startswith("list:"):
                self._describer.require_list(name[5:])
            rows = [row for row in map(query.row, raw) if row is not None]
            yield Page(rows, after.text(), after.done, complete=after.done and whole)

    def _read(self, queries: Sequence[Query], state: Cursor) -> Iterator[Page]:
        """The rows of ``queries`` within a window, one after the other."""
        for query in queries[state.part:]:
            final = query is queries[-1]
            for raw, more in self._wire.pages(query.kind, query.properties, query.filter(state.since), state.more):
                rows = [row for row in map(query.row, raw) if row is not None]
                after = state.at(more, final)
                yield Page(rows, after.text(), final and more is None)
            state = after

    def _moved(self, state: Cursor) -> Iterator[Page]:
        """All Subscribers: whose status moved in the window, and what it is now.

        An opt-out in the window that is no longer the state comes as a page of its own before it.
        """
        window = soap.after("CreatedDate", state.since or 0)
        for raw, more in self._wire.pages("SubscriberStatusEvent", _CHANGE, window, state.more):
            before, known = state, set(state.seen)
            marks = {self._mark(event): event for event in raw if event.get("SubscriberKey")}
            fresh = sorted((event for m, event in marks.items() if m not in known), key=self._created)
            seen = dict.fromkeys((*state.seen, *(self._mark(event) for event in fresh)))
            state = replace(state, seen=tuple(seen)[-cursors.SEEN:])
            now = self._states(fresh)
            past = self._overwritten(fresh, {str(row[1]).lower(): row[3] for row in now})
            if past:
                yield Page(past, before.text())  # not yet past these events: a crash here repeats them
            yield Page(now, state.at(more).text(), last=more is None)

    def _states(self, events: list[soap.Row]) -> list[Tuple]:
        """The present state of everyone in ``events`` (oldest first), with the latest event as its evidence."""
        latest = {(event["SubscriberKey"] or "").lower(): event for event in events}
        missing = {low: event["SubscriberKey"] or "" for low, event in latest.items()}
        query = self._listing(StreamSpec("subscribers", "status"))
        rows: list[Tuple] = []
        for raw in self._by_key(query, list(missing.values())):
            row = self._subscriber(raw)
            low = str(row[1]).lower()
            missing.pop(low, None)
            event = latest.get(low)
            if event is not None and STATUS.get((event.get("CurrentStatus") or "").lower()) == row[3]:
                row = (*row[:4], self._created(event), *self._evidence(event))
                if row[3] == "subscribed":
                    row = (*row[:5], "unknown", row[6])  # the reason is that of an unsubscribe: nobody says who undid it
            rows.append(row)
        rows += [("", key, None, "removed", None, "unknown", "subscriber:gone") for key in missing.values()]
        return rows

    def _overwritten(self, events: list[soap.Row], now: dict[str, Value]) -> list[Tuple]:
        """The latest opt-out of everyone in ``events`` whose state is not unsubscribed (any more)."""
        past: dict[str, Tuple] = {}
        for event in events:
            key = event["SubscriberKey"] or ""
            opted_out = STATUS.get((event.get("CurrentStatus") or "").lower()) == "unsubscribed"
            if opted_out and now.get(key.lower()) != "unsubscribed" and self._is_ours(event.get("Client.ID")):
                past[key.lower()] = ("", key, None, "unsubscribed", self._created(event), *self._evidence(event))
        return list(past.values())

    def _is_ours(self, unit: str | None) -> bool:
        """False only for an event of another business unit, which a parent sees; the enterprise's own concern all."""
        mid = self._settings.mid
        return mid is None or unit in (None, "0", str(mid)) or self._describer.enterprise() in (None, unit)

    # ----------------------------------------------------------------- rows

    def _time(self, text: str | None) -> Micros | None:
        try:
            return values.parse_time(text, self._zone)
        except ValueError:
            pass
        raise Misconfigured("Marketing Cloud sent a date that cannot be read.", detail=f"{len(text or '')} characters")

    def _created(self, event: soap.Row) -> Micros:
        return self._time(event.get("CreatedDate")) or 0

    @staticmethod
    def _evidence(event: soap.Row) -> tuple[str, str]:
        origin = errors.origin_of(event.get("ReasonUnsub"))
        return origin, f"status_event:{origin}"

    @staticmethod
    def _mark(event: soap.Row) -> str:
        return cursors.digest(*(event.get(name) for name in _CHANGE))[:11]  # 66 bits: enough within one overlap

    def _subscriber(self, raw: soap.Row) -> Tuple:
        status = self._status(raw)
        at = self._time(raw.get("UnsubscribedDate")) if status == "unsubscribed" else None
        return ("", raw.get("SubscriberKey"), raw.get("EmailAddress"), status, at,
                "bounce" if status in ("held", "bounced") else "unknown", "subscriber")

    def _member(self, raw: soap.Row) -> Tuple:
        status = self._status(raw)
        return (raw.get("ListID"), raw.get("SubscriberKey"), None, status, self._time(raw.get("ModifiedDate")),
                "bounce" if status in ("held", "bounced") else "unknown", "list_subscriber")

    @staticmethod
    def _status(raw: soap.Row) -> Status:
        """:raises Misconfigured: a status this version does not know; guessing could mail somebody"""
        found = STATUS.get((raw.get("Status") or "").lower())
        if found is None:
            raise Misconfigured("Marketing Cloud sent a subscriber status that is not known.",
                                remedy="Please report this as a bug.")
        return found

    def _unsub(self, raw: soap.Row) -> Tuple | None:
        kind: EventKind = "master_unsubscribe" if raw.get("IsMasterUnsubscribed") == "true" else "unsubscribe"
        return self._event(raw, kind, raw.get("List.ID"), "unsub_event")

    def _bounce(self, raw: soap.Row) -> Tuple | None:
        category = (raw.get("BounceCategory") or "").lower()
        kind: EventKind = "hard_bounce" if category.startswith("hard") else "soft_bounce"
        code = raw.get("SMTPCode") or ""
        return self._event(raw, kind, None, f"bounce_event:{code}" if code.isdigit() else "bounce_event")

    def _event(self, raw: soap.Row, kind: EventKind, container: str | None, evidence: str) -> Tuple | None:
        key = raw.get("SubscriberKey")
        if not key:
            return None
        at, job = self._time(raw.get("EventDate")), raw.get("SendID")
        triggered = raw.get("TriggeredSendDefinitionObjectID")
        send = f"{TRIGGERED}{triggered}" if triggered else job if job != "0" else None
        return (event_id(kind, key, at, job, container), kind, container, send, key, None, at, evidence)
