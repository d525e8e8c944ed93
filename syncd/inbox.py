"""Webhooks as a step: what comes in is stored at once, and looked up, spoken into the ledger and marked later.

Both ways end in the statements polling makes of the same events, under the same ids, so that whichever is first counts
and the other changes nothing.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from connectors.base import Notified
from connectors.errors import ConnectorError, Misconfigured
from state import inbox, statuses
from state.inbox import Delivery, Kept
from state.store import Store
from syncd import normalise
from syncd.feeds import Feed
from syncd.listen import Listener
from syncd.model import EVENT_COLUMNS, Micros, Notice, Value

EVENTS_PER_TURN = 200
"""Events looked up together and stored in one transaction."""

_HASH = EVENT_COLUMNS.index("email") + 1
"""Where the state's form of an event has the hash of its address."""


def receive(store: Store, hashed: Callable[[str], bytes], connection: int, body: bytes, notices: Sequence[Notice],
            now: Micros, timeout: float) -> bool:
    """Store a delivery for good; False where this very one came before.

    :param timeout: seconds to wait for the state; it may be stored after that all the same
    :raises state.db.Error, OSError, TimeoutError: it is not known to be stored, so it must be sent again
    """
    digest = hashlib.blake2b(body, digest_size=20).digest()
    events = [_kept(notice, hashed) for notice in notices]
    return store.write(lambda conn: inbox.receive(conn, store.book, connection, digest, events, now), urgent=True,
                       timeout=timeout)


def _kept(notice: Notice, hashed: Callable[[str], bytes]) -> Kept:
    email = normalise.email(notice.email) if notice.email else None
    known = email or (normalise.email(notice.key) if "@" in (notice.key or "") else None)
    return Kept(notice._replace(email=email), hashed(known).hex() if known is not None else None)


@dataclass(slots=True)
class Resolved:
    """What became of waiting deliveries: people concerned, entries written, events about nobody the vendor knows, and
    the connections that could not be asked."""

    people: set[int] = field(default_factory=set)
    entries: int = 0
    strangers: int = 0
    failed: dict[str, ConnectorError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Turn:
    """One at a time looks up: a cycle, or the express way of opt-outs. ``people``: whom a cycle looked up; it may take its
    hours until it decides about them, so the express way does."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    people: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Resolver:
    """Everything the looking up needs."""

    store: Store
    feeds: Sequence[Feed]
    listener: Listener
    turn: Turn
    failpoint: Callable[[str], None] = lambda name: None

    def tidy(self, now: Micros) -> None:
        """Forget deliveries of long ago."""
        self.store.write(lambda conn: inbox.expire(conn, now))

    def run(self, now: Micros, *, express: bool = False) -> Resolved:
        """Resolve all that waits. Never raises for a connector's error: what waits goes on waiting. The ``express`` way is
        also told whom a cycle was quicker to look up."""
        with self.turn.lock:
            done = self._run(now)
            if express:
                done.people.update(self.turn.people)
                self.turn.people.clear()
            else:
                self.turn.people.update(done.people)
            return done

    def _run(self, now: Micros) -> Resolved:
        done = Resolved()
        with self.store.reading() as conn:
            waiting = inbox.connections(conn)
        for connection in waiting:
            feed = next((f for f in self.feeds if f.connection == connection and f.spec.kind == "event"), None)
            try:
                if feed is None:
                    raise Misconfigured("Webhooks came for a connection that the mapping does not deliver to.",
                                        remedy="Remove its webhooks, or name it in the mapping.")
                self._connection(feed, now, done)
            except ConnectorError as error:
                done.failed[f"{feed.name if feed else connection} (webhooks)"] = error
        return done

    def _connection(self, feed: Feed, now: Micros, done: Resolved) -> None:
        while True:
            with self.store.reading() as conn:
                deliveries = inbox.waiting(conn, feed.connection, EVENTS_PER_TURN)
            if not deliveries:
                return
            events = [event for delivery in deliveries for event in delivery.events]
            found = cast(Notified, feed.connector).resolve([e.notice for e in events])
            told = [(event, row) for event, row in zip(events, found, strict=True) if row is not None]
            done.strangers += len(events) - len(told)
            self.failpoint("looked_up")
            self._store(feed, deliveries, self._rows(told), now, done)
            self.failpoint("resolved")

    def _rows(self, told: Sequence[tuple[Kept, tuple[Value, ...]]]) -> list[tuple[Any, ...]]:
        """Events as the state takes them. From a restored delivery only the address's hash is known. Who is forgotten is
        asked each time: the express way keeps its parts as long as the mapping."""
        self.listener.know()
        rows = self.listener.incoming.events([row for _, row in told])
        return [row if row[_HASH] is not None or event.hash is None
                else (*row[:_HASH], bytes.fromhex(event.hash), *row[_HASH + 1:])
                for (event, _), row in zip(told, rows, strict=True)]

    def _store(self, feed: Feed, deliveries: Sequence[Delivery], rows: Sequence[tuple[Any, ...]], now: Micros,
               done: Resolved) -> None:
        """Entries, dirty marks and the end of the deliveries in one transaction."""
        hear = self.listener.hear(feed, rows, now, first=False)

        def job(conn: Any) -> tuple[int, set[int]]:
            said = hear(conn).said
            inbox.resolve(conn, self.store.book, deliveries, now)
            return len(said), statuses.people(conn, said) | statuses.undecided(conn, feed.connection)
        entries, people = self.store.write(job, urgent=True)
        done.entries += entries
        done.people |= people
