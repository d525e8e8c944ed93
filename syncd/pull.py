"""Step 1, pull: read every stream, and store each page with its checkpoint, dirty marks and statements at once.

Streams are read at the same time; the next page is on its way while the last is being stored. A stream that fails keeps its
checkpoint and is named in the report; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import orjson

from connectors.errors import ConnectorError, Misconfigured
from state import addresses, drift, flags, forget, history, ledger, records, statuses
from state.queries import load
from state.relations import AudienceDef, Relations
from state.store import Store, StreamRow
from syncd.consent import CLOCK_TOLERANCE
from syncd.feeds import Feed, Pulled
from syncd.history import Past, past, trace
from syncd.incoming import Incoming
from syncd.listen import Listener
from syncd.model import Micros, StreamSpec, Value
from syncd.pages import Read, ahead, whole
from syncd.statements import Requests, from_first_sight, from_flags

ROWS_PER_FETCH = 200
SENDS_EVERY: Micros = 900_000_000
"""Sends are read this often: what one was is asked at once when somebody unsubscribes from it."""


@dataclass(slots=True)
class Puller:
    """Everything a pull needs."""

    store: Store
    rel: Relations
    rows: Incoming
    listener: Listener
    full_every: Micros
    creates: frozenset[str] = frozenset()
    """Audiences that may not exist yet, because the mapping asks to create them."""
    empty_share: float = 0.5
    """A listing that lacks more than this share of the known records is held, not believed."""
    clock_tolerance: Micros = CLOCK_TOLERANCE
    failpoint: Callable[[str], None] = lambda name: None

    def run(self, feeds: Sequence[Feed], now: Micros, *, full: bool = False) -> Pulled:
        """Read all feeds once. Never raises for a connector's error."""
        pulled = Pulled()
        if not feeds:
            return pulled
        self.listener.know()
        with ThreadPoolExecutor(len(feeds), thread_name_prefix="pull") as pool:
            for feed, future in [(f, pool.submit(self._feed, f, now, full, pulled)) for f in feeds]:
                try:
                    future.result()
                except ConnectorError as error:
                    self._failed(feed, error, pulled)
        pulled.entries += trace(self.store, self.rel, {feed.stream for feed in feeds if feed.consent}, now)
        self._lift(feeds, now, pulled)
        for feed in feeds:
            if feed.spec.kind == "record" and feed.consent and feed.name not in pulled.failed:
                self._hear(feed, now, pulled)
        return pulled

    def _hear(self, feed: Feed, now: Micros, pulled: Pulled) -> None:
        """Where the mapping says otherwise than before what a person made, opt-ins in records that have not changed count
        by what it says now."""
        source, since = self.rel.source(feed.stream), self._row(feed).complete_at
        with self.store.reading() as conn:
            changed = () if source is None else flags.unheard(conn, source)
        if source is None or not changed or since is None:
            return
        again = replace(source, flags=changed)

        def job(conn: Any, after: int, most: int) -> tuple[int, int]:
            rows, count, upto = flags.held(conn, again, after, most)
            entries = ledger.unsaid(conn, from_flags(again, rows, connection=feed.connection, since=since, now=now,
                                                     requests=Requests(), tolerance=self.clock_tolerance))
            if entries:
                self.store.book.append(conn, entries, now)
                statuses.mark(conn, entries)
                pulled.entries += len(entries)
            return count, upto
        self.store.walk(job, 0)
        self.store.write(lambda conn: flags.heard(conn, source))

    def _lift(self, feeds: Sequence[Feed], now: Micros, pulled: Pulled) -> None:
        """Who was forgotten and has asked for mail since is known again: her records are read as those of anybody."""
        if not self.rows.forgotten:
            return
        with self.store.reading() as conn:
            again = forget.spoken_again(conn, self.clock_tolerance, separate=self.rel.join_by_address == "separate")
        for one in again:
            (hash_,), = self.store.rows("SELECT hash FROM address WHERE id = ?", (one.address,))
            self.rows.know(self.rows.forgotten - {bytes(hash_)}, self.rows.stubs - set(one.records))
            try:
                for feed in feeds:
                    if rids := [rid for stream, rid in one.records if stream == feed.stream]:
                        self.take(feed, feed.connector.fetch(feed.spec, rids).rows, now)
            except ConnectorError as error:
                self._failed(feed, error, pulled)  # she stays forgotten until the next pull
                continue
            self.store.write(lambda conn, one=one: forget.lift(conn, one))  # type: ignore[misc]  # bound now

    def again(self, feeds: Sequence[Feed], now: Micros, pulled: Pulled) -> None:
        """Read the records again that somebody may have changed while a write of ours to them was unresolved. One that
        cannot be read now is read by the next pull."""
        for feed in feeds:
            if feed.spec.kind == "record" and feed.consent:
                try:
                    self._reread(feed, now, pulled)
                except ConnectorError as error:
                    self._failed(feed, error, pulled)

    def _reread(self, feed: Feed, now: Micros, pulled: Pulled) -> None:
        q = load("records")
        while found := self.store.rows(q["to_reread"], (feed.stream, ROWS_PER_FETCH)):
            keys, since = [row[0] for row in found], found[0][1]
            pulled.entries += self.refetch(feed, keys, now, since=since).entries
            given = {"stream": feed.stream, "rids": orjson.dumps(keys).decode()}
            self.store.write(lambda c, g=given: c.execute(q["reread"], g).rowcount)  # type: ignore[misc]

    def leave_out(self, feeds: Sequence[tuple[Feed, ConnectorError]], pulled: Pulled) -> None:
        """These are not read, and why."""
        for feed, error in feeds:
            self._failed(feed, error, pulled)

    def _failed(self, feed: Feed, error: ConnectorError, pulled: Pulled) -> None:
        pulled.failed[feed.name] = error
        told = (error.code or type(error).__name__, feed.stream)
        self.store.write(lambda c: c.execute(load("registry")["failed"], told).rowcount)

    def _feed(self, feed: Feed, now: Micros, full: bool, pulled: Pulled) -> None:
        row = self._row(feed)
        due = full or row.full_at is None or now - row.full_at >= self.full_every
        if feed.audience is not None:
            if due:
                self._rows(feed, feed.audience, row, now, pulled)
            return
        if feed.spec.kind == "send" and not full and row.complete_at is not None and now - row.complete_at < SENDS_EVERY:
            return
        if due and (feed.spec.kind == "status" or (feed.spec.kind == "event" and row.full_at is None)):
            ended = self._listing(feed, row, now, pulled)
        else:
            ended = self._read(feed, row, row.cursor, row.sweep, now, pulled).ended
        if feed.spec.kind == "record":
            self._reread(feed, now, pulled)
        if not ended:
            return
        if feed.spec.kind == "record" and row.full_at is None:
            # Read for the first time: what was not there cannot be missing.
            self._swept(feed, now)
        elif feed.spec.kind == "record" and feed.sweeps and due:
            self._find_deleted(feed, now, pulled)

    def refetch(self, feed: Feed, keys: Sequence[str], now: Micros, since: Micros | None = None) -> Pulled:
        """Read single records of a stream again, whatever its cursor says. What is not there any more is left to the
        next listing.

        :param since: the instant after which a difference came about, where that is not the last poll
        :raises ConnectorError:
        """
        self.listener.know()
        pulled, row = Pulled(), self._row(feed)
        if since is not None:
            row = replace(row, complete_at=since)
        return self._take(feed, row, feed.connector.fetch(feed.spec, keys).rows, now, pulled)

    def take(self, feed: Feed, rows: Sequence[tuple[Value, ...]], now: Micros) -> Pulled:
        """Store rows that were fetched by their keys."""
        return self._take(feed, self._row(feed), rows, now, Pulled())

    def _take(self, feed: Feed, row: StreamRow, rows: Sequence[tuple[Value, ...]], now: Micros, pulled: Pulled) -> Pulled:
        if feed.audience is not None:
            audience, listed = feed.audience, self.rows.listed(rows)
            self.store.write(lambda conn: drift.found(conn, audience, listed, row.sweep, now))
        else:
            pulled.changed[feed.name] = self._store(feed, row, rows, None, row.sweep, now, False, pulled)
        pulled.rows[feed.name] = len(rows)
        return pulled

    def _row(self, feed: Feed) -> StreamRow:
        fields = ",".join(f"{f.name}:{f.type}" for f in feed.spec.fields)
        return self.store.stream(feed.connection, feed.spec.object, feed.spec.kind, fields, feed.consent)

    def _sweep(self, feed: Feed) -> int:
        return self.store.write(
            lambda c: int(c.execute(load("registry")["begin_sweep"], (feed.stream,)).fetchone()[0]))

    # ------------------------------------------------------------------ pages

    def _read(self, feed: Feed, row: StreamRow, cursor: str | None, sweep: int, now: Micros, pulled: Pulled, *,
              listing: bool = False) -> Read:
        """Read a stream from a cursor to its end, unless it was cut: the next cycle goes on where this one stopped. A
        ``listing`` is not called read before somebody is sure that it is whole."""
        read, changed, ended = 0, 0, False
        for page in ahead(feed.connector.changes(feed.spec, cursor)):
            for rows, last in feed.pace.slices(page.rows):
                # A listing from the start that is not complete has not shown all there was. Events are no listing: how
                # far back they go is the vendor's business.
                entire = page.complete or cursor is not None or feed.spec.kind in ("event", "send")
                ended = page.last and last and entire
                changed += self._store(feed, row, rows, page.cursor if last else None, sweep, now,
                                       ended and not listing, pulled)
                self.failpoint("page_stored")
                self._settle(addresses.GATHER)
            read += len(page.rows)
        if read > addresses.FEW:
            self._settle(addresses.FEW)
        pulled.rows[feed.name] = read
        pulled.changed[feed.name] = changed
        return Read(read, changed, ended)

    def _settle(self, keep: int) -> None:
        """More new addresses are not left where the next ones gather."""
        while self.store.write(lambda conn, keep=keep: addresses.settle(conn, keep)):  # type: ignore[misc]  # bound now
            keep = 0

    def _store(self, feed: Feed, row: StreamRow, rows: Sequence[tuple[Value, ...]], cursor: str | None, sweep: int,
               now: Micros, complete: bool, pulled: Pulled) -> int:
        if feed.spec.kind == "record":
            prepared, doubts = self.rows.records(feed.stream, feed.spec.fields, rows, feed.email)
            if row.restored:
                self.store.write(lambda conn: flags.doubt(conn, self.rel, feed.stream, prepared))
            requests, told, seen = Requests(), self._past(feed, row, prepared), self.listener.seen(now)

            def job(conn: Any) -> records.Stored:
                unknown = flags.unknown(conn, feed.stream)
                done = records.store(
                    conn, self.rel, feed.stream, prepared, cursor=cursor, sweep=sweep, now=seen, book=self.store.book,
                    speak=lambda source, changed: from_flags(
                        source, changed, connection=feed.connection, since=row.complete_at, now=seen, requests=requests,
                        past=told, unknown=unknown, tolerance=self.clock_tolerance),
                    meet=lambda source, found: from_first_sight(source, found, feed.connection, seen, requests),
                    first=row.complete_at is None, complete=now if complete else None, unknown=unknown)
                if complete and unknown:
                    flags.known(conn, feed.stream)
                records.requests(conn, requests.found, requests.withdrawn, seen)
                history.remember(conn, requests.echoes, requests.overwritten, now)
                records.quarantine(conn, feed.connection, feed.spec.object, doubts, seen)
                return done
            done = self.store.write(feed.pace.over(len(rows), job))
            pulled.requests.found += requests.found
            pulled.requests.echoes += requests.echoes
            pulled.entries += done.entries
            return done.fresh + done.changed
        return self.listener.store(feed, row, rows, cursor, sweep, now, complete, pulled)

    # ------------------------------------------------------------------ rows

    def _past(self, feed: Feed, row: StreamRow, columns: records.Prepared) -> Past:
        source = self.rel.source(feed.stream)
        if feed.history is None or source is None or row.complete_at is None or not columns:
            return {}
        place = {f.name: index for index, f in enumerate(feed.spec.fields, len(columns) - len(feed.spec.fields))}
        rows = zip(columns[0], columns[2], *(columns[place[flag.field]] for flag in source.flags), strict=True)
        read = {str(rid): values for rid, gone, *values in rows if not gone}
        # After a restore a change may be older than what is known of the record, and is then told with its own date.
        return past(self.store, source, read, feed.connector, feed.history, 0 if row.restored else row.complete_at)

    # ------------------------------------------------------------------ audiences

    def _rows(self, feed: Feed, audience: AudienceDef, row: StreamRow, now: Micros, pulled: Pulled) -> None:
        """List an audience: whose rows are not ours, which of ours vanished. One that does not exist yet has none."""
        sweep = self._sweep(feed)

        def read() -> Read:
            count, complete = 0, False
            for page in ahead(feed.connector.changes(feed.spec, None)):
                for rows, _ in feed.pace.slices(page.rows):
                    listed = self.rows.listed(rows)
                    self.store.write(feed.pace.over(len(rows), lambda conn, listed=listed: drift.store(  # type: ignore[misc]
                        conn, audience, listed, sweep, now)))
                    self.failpoint("page_stored")
                count += len(page.rows)
                complete = complete or (page.last and page.complete)
            pulled.rows[feed.name] = count
            return Read(count, 0, complete)

        def lacks() -> bool:
            missing = False

            def job(conn: Any, after: int, most: int) -> tuple[int, int]:
                nonlocal missing
                count, last, missing = drift.lacks(conn, audience, now, after, most)
                return 0 if missing else count, last
            self.store.walk(job, 0)
            return missing

        try:
            complete = whole(feed.connector, row.full_at is None, read, lacks,
                             lambda: self.store.write(lambda conn: drift.shown(conn, audience, sweep)))
        except Misconfigured:
            if feed.spec.object not in self.creates:
                raise
            complete = True
        if not complete:
            return
        self.store.walk(lambda conn, after, most: drift.vanish(conn, audience, now, after, most), 0)

        self.store.write(lambda conn: drift.finish(conn, audience, sweep, now))
        self._swept(feed, now)

    # ------------------------------------------------------------------ what is no longer there

    def _listing(self, feed: Feed, row: StreamRow, now: Micros, pulled: Pulled) -> bool:
        """List all statuses of a container, of which those that are not there are gone; or all events there are, which
        happens once. False when the listing was cut."""
        container, sweep = feed.spec.container or "", self._sweep(feed)

        def lacks() -> bool:
            with self.store.reading() as conn:
                return statuses.lacks(conn, feed.connection, container, sweep)

        def shown() -> int:
            with self.store.reading() as conn:
                return statuses.shown(conn, feed.connection, container, sweep)
        if not whole(feed.connector, row.full_at is None,
                     lambda: self._read(feed, row, None, sweep, now, pulled, listing=True), lacks,
                     shown if feed.spec.kind == "status" else None):
            return False
        if feed.spec.kind == "status":
            self.store.walk(lambda conn, after, most: statuses.vanish(
                conn, feed.connection, container, sweep, now, after, most), "")
        self._swept(feed, now)
        return True

    def _find_deleted(self, feed: Feed, now: Micros, pulled: Pulled) -> None:
        """A numbered listing of all ids; what a complete one lacks is deleted, unless so much is missing that the
        listing itself is in doubt. Records that became visible without having changed are read."""
        sweep, complete = self._sweep(feed), False
        strangers: list[str] = []
        spec = StreamSpec(feed.spec.object, "record", ids_only=True)
        for page in ahead(feed.connector.changes(spec, None)):
            for rows, _ in feed.pace.slices(page.rows):
                ids = [str(r[0]) for r in rows]
                strangers += self.store.write(feed.pace.over(
                    len(ids), lambda conn, ids=ids: records.seen_ids(conn, feed.stream, ids, sweep)))  # type: ignore[misc]
                self.failpoint("page_stored")
            complete = complete or (page.last and page.complete)
        for start in range(0, len(strangers), ROWS_PER_FETCH):
            self.refetch(feed, strangers[start:start + ROWS_PER_FETCH], now)
        if not complete:
            return
        with self.store.reading() as conn:
            missing, known = records.unseen(conn, feed.stream, sweep)
        if missing > 20 and missing > known * self.empty_share and not self._accepted(feed, missing, known, now):
            pulled.emptied[feed.name] = (missing, known)
            return
        self.store.walk(lambda conn, after, most: records.bury(conn, feed.stream, sweep, after, most), "")
        self._swept(feed, now)

    def _swept(self, feed: Feed, now: Micros) -> None:
        self.store.write(lambda conn: conn.execute(load("registry")["end_sweep"], (now, now, feed.stream)).rowcount)

    def _accepted(self, feed: Feed, missing: int, known: int, now: Micros) -> bool:
        """Whether somebody approved that so much is gone since the last believed listing; opens the hold otherwise."""
        q = load("guard")
        object_ = self.store.object(feed.connection, feed.spec.object, "record")

        def job(conn: Any) -> bool:
            if conn.execute(q["empty_accepted"], (feed.connection, object_, feed.stream)).fetchone():
                return True
            conn.execute(q["open_hold"], {
                "connection": feed.connection, "object": object_, "class": "empty_source", "now": now,
                "reason": f"{missing} of {known} records are gone from {feed.name}; approve if they were really deleted"})
            return False
        return self.store.write(job)
