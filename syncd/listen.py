"""The half of pull that hears what was said at the providers: pages of statuses, events and sends into the state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from connectors.errors import Misconfigured
from state import forget, sends, statuses
from state.ledger import NewEntry
from state.queries import load
from state.sends import Send
from state.store import Store, StreamRow
from syncd.consent import CLOCK_TOLERANCE
from syncd.feeds import Feed, Pulled
from syncd.incoming import Incoming
from syncd.model import Micros, Value
from syncd.sends import Containers
from syncd.statements import from_events, from_statuses

MANY = 1_000
"""More than this on one page is no work of single people: what they stopped is not asked about, and each list counts."""

_SEND = 3
"""Where an event names its send."""


@dataclass(slots=True)
class Heard:
    """What came of some events: how many were news, the entries they made, how many could not be resolved."""

    news: int = 0
    said: Sequence[NewEntry] = ()
    unresolved: int = 0


@dataclass(slots=True)
class Listener:
    """What a page needs to become statements. ``containers`` by connection; ``clock`` tells the time."""

    state: Store
    incoming: Incoming
    containers: Mapping[int, Containers]
    clock_tolerance: Micros = CLOCK_TOLERANCE
    clock: Callable[[], Micros] = lambda: 0

    def know(self) -> None:
        """Ask again who is forgotten: what comes about them is not taken in."""
        with self.state.reading() as conn:
            self.incoming.know(*forget.known(conn))

    def seen(self, began: Micros) -> Micros:
        """When what is at hand was read, in a reading that began some time before: nothing in it was said later."""
        return max(began, self.clock())

    def store(self, feed: Feed, row: StreamRow, rows: Sequence[tuple[Value, ...]], cursor: str | None, sweep: int,
              now: Micros, complete: bool, pulled: Pulled) -> int:
        """Take a page of a status, event or send stream; returns how many of its rows were news.

        :raises ConnectorError: a send that an event names could not be looked up now
        """
        if feed.spec.kind == "status":
            return self._statuses(feed, row, rows, cursor, sweep, now, complete, pulled)
        if feed.spec.kind == "event":
            return self._events(feed, row, rows, cursor, now, complete, pulled)
        return self._sends(feed, rows, cursor, now, complete)

    def _statuses(self, feed: Feed, row: StreamRow, rows: Sequence[tuple[Value, ...]], cursor: str | None, sweep: int,
                  now: Micros, complete: bool, pulled: Pulled) -> int:
        known, stated = self.containers[feed.connection], self.incoming.statuses(rows, feed.connector.capabilities.keyed_by)
        stops = self._stops(feed, stated, now, pulled) if row.complete_at is not None else {}
        seen, whole = self.seen(now), now if complete else None
        moved, entries = self.state.write(feed.pace.over(len(stated), lambda conn: statuses.store(
            conn, feed.connection, feed.stream, stated, cursor=cursor, sweep=sweep, now=seen, complete=whole,
            book=self.state.book, speak=lambda changes: from_statuses(known, changes, since=row.complete_at, now=seen,
                                                                      stops=stops, tolerance=self.clock_tolerance),
            restored=row.restored, tolerance=self.clock_tolerance)))
        pulled.entries += entries
        return moved

    def _stops(self, feed: Feed, stated: Sequence[tuple[Any, ...]], now: Micros, pulled: Pulled) -> dict[str, Micros]:
        """When those who are newly out of a list, or have another address there, stopped all mail, by key: the provider may
        have set the one because of the other. That stop goes into the state first, as this stream may be ahead of the one
        that tells it."""
        out = [(row[1], row[3].hex() if row[3] else None) for row in stated if row[4] == "unsubscribed"]
        if feed.master is None or not out:
            return {}
        given = {"connection": feed.connection, "container": feed.spec.container, "keys": orjson.dumps(out).decode()}
        moved = [row[0] for row in self.state.rows(load("statuses")["not_out"], given)]
        if not moved or len(moved) > MANY:
            return {}
        master = feed.master
        page = master.connector.fetch(master.spec, moved)
        row = self.state.stream(master.connection, master.spec.object, master.spec.kind, "", True)
        self._statuses(master, row, page.rows, None, row.sweep, now, False, pulled)
        return {str(key): at for _, key, _, status, at, *_ in page.rows if status == "unsubscribed" and isinstance(at, int)}

    # ------------------------------------------------------------------ events

    def _events(self, feed: Feed, row: StreamRow, rows: Sequence[tuple[Value, ...]], cursor: str | None, now: Micros,
                complete: bool, pulled: Pulled) -> int:
        job = self.hear(feed, self.incoming.events(rows), now, first=row.complete_at is None, cursor=cursor,
                        complete=complete)
        heard = self.state.write(feed.pace.over(len(rows), job))
        pulled.entries += len(heard.said)
        pulled.unresolved += heard.unresolved
        return heard.news

    def hear(self, feed: Feed, events: Sequence[tuple[Any, ...]], now: Micros, *, first: bool, cursor: str | None = None,
             complete: bool = False) -> Callable[[Any], Heard]:
        """What stores events, polled or told by a webhook, inside a transaction; the sends they name are looked up before.
        ``now`` is when the reading began, which is ``complete`` with them.

        :raises ConnectorError: a send could not be looked up now
        """
        known, named, seen = self.containers[feed.connection], self._named(feed, events), self.seen(now)

        def job(conn: Any) -> Heard:
            heard = Heard()

            def speak(found: Sequence[statuses.Event], left: Sequence[statuses.StatusChange]) -> list[NewEntry]:
                said, unresolved = from_events(known, found, sends=named, now=seen, first=first,
                                               tolerance=self.clock_tolerance)
                heard.unresolved = len(unresolved)
                sends.doubt(conn, feed.connection, unresolved, seen)
                return said + from_statuses(known, left, since=seen, now=seen, tolerance=self.clock_tolerance)
            heard.news, heard.said = statuses.store_events(
                conn, feed.connection, feed.stream, events, cursor=cursor, now=seen, complete=now if complete else None,
                book=self.state.book, speak=speak)
            return heard
        return job

    def _named(self, feed: Feed, rows: Sequence[tuple[Value, ...]]) -> dict[str, Send]:
        """The sends from which people have unsubscribed since the last reading; those not known yet are looked up."""
        unsubscribes = {str(row[0]): str(row[_SEND]) for row in rows if row[1] == "unsubscribe" and row[_SEND]}
        if not unsubscribes:
            return {}
        given = {"connection": feed.connection, "events": orjson.dumps(list(unsubscribes)).decode()}
        wanted = {unsubscribes[row[0]] for row in self.state.rows(load("statuses")["unseen_events"], given)}
        with self.state.reading() as conn:
            found = sends.named(conn, feed.connection, wanted)
        missing = sorted(wanted - found.keys())
        if missing and feed.sends is not None:
            try:
                page = feed.connector.fetch(feed.sends, missing)
            except Misconfigured:
                return found  # sends may not be read here: doctor says so, and who cannot be understood leaves everything
            self.state.write(lambda conn: sends.store(conn, feed.connection, page.rows))
            found |= {str(row[0]): sends.of_row(row) for row in page.rows}
        return found

    # ------------------------------------------------------------------ sends

    def _sends(self, feed: Feed, rows: Sequence[tuple[Value, ...]], cursor: str | None, now: Micros,
               complete: bool) -> int:
        """Take a page of sends, and strike off the doubts that it or another mapping has ended."""
        known = self.containers[feed.connection]

        def job(conn: Any) -> int:
            count = sends.store(conn, feed.connection, rows)
            if doubted := sends.doubted(conn, feed.connection):
                found = sends.named(conn, feed.connection, doubted)
                sends.settle(conn, feed.connection, [
                    key for key in doubted
                    if known.meaning(key.removeprefix("list "), found.get(key)) is not None], now)
            if cursor is not None:
                conn.execute(load("records")["advance"], {"stream": feed.stream, "cursor": cursor,
                                                          "complete": now if complete else None})
            return count
        return self.state.write(job)
