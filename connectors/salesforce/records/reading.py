"""Walking through an object without losing a row: by keyset, by Bulk job, by listing of ids.

A walk goes through the rows in (time of change, id) order. Its position after any page is enough to go on, whatever
became of the session, the locator or the process. ``hi``, the server's time at the walk's start minus a lag, is the
checkpoint: the next walk begins there, minus an overlap, because a transaction shows its rows when it ends, under the
times at which it wrote them. A walk is open above: a row that is changed meanwhile moves ahead of us, never behind.

Each page is a query of its own, never a locator's next page: those hold the ids of the first moment and the values of
the last, so a row edited in between would carry the position past rows that were not read yet.

A parent's change does not touch its children: a company is renamed, and its contacts' ``Account.Name`` stays as it was
read. So after the walk of each reading but the first, the children of parents changed since the last time are read, by id.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from connectors import opaque
from connectors.batches import parts
from connectors.errors import CursorLost, Outage, Retry
from connectors.salesforce.records.source import Position, Row, Source
from connectors.salesforce.settings import SalesforceSettings
from connectors.salesforce.wire.calls import Wire
from connectors.salesforce.wire.errors import SLOW_QUERY, error_for
from syncd.model import Page

VERSION = 1
START = Position(0, "")
AT_ONCE = 300  # ids in one query: 8 of the 16 kB that a URL may have
RESTARTS = 2  # how often an answer may be cut, without progress, before it is the caller's problem


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a stream stands. ``at`` = the position of an unfinished walk; ``job`` and ``locator`` = an unfinished Bulk
    backfill; neither = everything up to ``hi`` (seconds) has been read. ``kin`` = children of parents changed since then
    are still to be read, None = since ``hi``; ``via`` = how far that is: when it began, which parent, the last child."""

    hi: int
    at: Position | None = None
    job: str = ""
    locator: str = ""
    kin: int | None = None
    via: tuple[int, int, str] | None = None

    def text(self) -> str:
        at = list(self.at) if self.at else None
        return opaque.write(VERSION, [self.hi, at, self.job, self.locator, self.kin, self.via])

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """:raises CursorLost: not a cursor of this version"""
        def build(content: Any) -> Cursor:
            hi, at, job, locator, kin, via = content
            return cls(int(hi), Position(int(at[0]), str(at[1])) if at else None, str(job), str(locator),
                       int(kin) if kin is not None else None, (int(via[0]), int(via[1]), str(via[2])) if via else None)
        return opaque.cursor(text, VERSION, build, "Salesforce")


class Reader:
    """Pages of one org's sources."""

    def __init__(self, wire: Wire, settings: SalesforceSettings, now: Callable[[], float],
                 sleep: Callable[[float], None] = time.sleep) -> None:
        self._wire, self._settings = wire, settings
        self._now, self._sleep = now, sleep
        self.stale: set[str] = set()
        """Objects whose parents' changes took Salesforce too long to find when it was last asked."""

    def changes(self, source: Source, cursor: str | None) -> Iterator[Page]:
        """Everything after ``cursor``, or everything; see ``Connector.changes``."""
        if cursor is not None:
            at = Cursor.parse(cursor)
        else:
            at = Cursor(self._checkpoint(), job="new") if self._is_large(source) else Cursor(self._checkpoint(), START)
        if at.job:
            for rows, after in self._bulk(source, at):
                yield Page(rows, after.text())
            at = replace(at, job="", locator="")
        elif cursor is not None and at.at is not None:
            for rows, after, done in self._walk(source, at):
                if rows or done:
                    yield Page(rows, after.text())
            at = replace(at, at=None)
        if at.at is None:
            at = replace(at, hi=max(at.hi, self._checkpoint()), at=self._back(at.hi),
                         kin=(at.hi if at.kin is None else at.kin) if source.parents else None)
        for rows, after, done in self._walk(source, at):
            last = done and after.kin is None
            if rows or last:
                yield Page(rows, after.text(), last=last, complete=last and cursor is None)
        if at.kin is not None:
            for rows, after, done in self._children(source, replace(at, at=None), at.kin):
                yield Page(rows, after.text(), last=done, complete=done and cursor is None)

    def _back(self, hi: int) -> Position:
        return Position(max(0, hi - self._settings.overlap_seconds), "")

    def _checkpoint(self) -> int:
        return int(self._now()) - self._settings.lag_seconds

    def listing(self, source: Source) -> Iterator[Page]:
        """All ids, from the start in one go. A position in it would be of no use: what was listed before it may have
        gone since."""
        empty = Cursor(0).text()
        if self._is_large(source):
            for rows, at in self._bulk(source, Cursor(0, job="new")):
                yield Page(rows, empty, last=not at.job, complete=not at.job)
            return
        for rows, _, done in self._walk(source, Cursor(0, START)):
            yield Page(rows, empty, last=done, complete=done)

    def from_now(self) -> str:
        """The cursor that has everything up to now behind it."""
        return Cursor(self._checkpoint()).text()

    def rows(self, source: Source, condition: str, *, urgent: bool = False) -> list[Row]:
        """All rows under a condition, unordered; ``urgent`` as in ``Wire.call``."""
        for _ in range(RESTARTS + 1):
            with contextlib.suppress(CursorLost):
                pages = self._wire.query(source.soql(condition), deleted=source.deleted, names=source.names, urgent=urgent)
                return [row for records, _ in pages for row in source.from_json(records)[0]]
        raise Retry("Salesforce's answers keep breaking off.", code="CUT")

    def having(self, source: Source, column: str, ids: Sequence[str], *, urgent: bool = False) -> Iterator[Row]:
        """All rows that have one of these ids in a column, unordered."""
        for part in parts(ids, AT_ONCE):
            listed = ",".join(f"'{i}'" for i in part)
            yield from self.rows(source, f"{column} IN ({listed})", urgent=urgent)

    def _is_large(self, source: Source) -> bool:
        try:
            return self._wire.count(source.object, deleted=source.deleted) > self._settings.bulk_threshold
        except Retry as error:
            if error.code != SLOW_QUERY:
                raise
            return True

    def _walk(self, source: Source, cursor: Cursor) -> Iterator[tuple[Sequence[Row], Cursor, bool]]:
        """(rows, the cursor after them, whether the walk has ended), from ``cursor.at`` to the end of the object."""
        at, upto, size = cursor.at or START, None, self._settings.page_size
        while True:
            try:
                records, done = self._page(source, source.after(at, upto, size), source.deleted)
            except Retry as error:
                horizon = int(self._now()) if upto is None else upto
                if error.code != SLOW_QUERY or not source.stamp or horizon - at.stamp < 2:
                    raise
                upto = at.stamp + (horizon - at.stamp) // 2  # half the time, until the query is fast enough
                continue
            rows, last = source.from_json(records)
            if not done and last in (None, at):  # a server that ignores the position would feed us for ever
                raise Outage("Salesforce's answer makes no sense.", detail="a query that does not advance")
            at, done = last or at, done and len(records) < size
            end = done and upto is None
            yield rows, replace(cursor, at=None if end else at), end
            if end:
                return
            if done:
                at, upto = Position(upto or 0, ""), None

    def _page(self, source: Source, soql: str, deleted: bool) -> tuple[list[Any], bool]:
        """The first page of an answer, and whether it is the only one; asked for again where it was cut."""
        lost = 0
        while True:
            try:
                return next(self._wire.query(soql, deleted=deleted, names=source.names))
            except CursorLost as error:
                lost += 1
                if lost > RESTARTS:
                    raise _broken(error) from None

    def _children(self, source: Source, cursor: Cursor, since: int) -> Iterator[tuple[Sequence[Row], Cursor, bool]]:
        """(rows, the cursor after them, whether these were all): living rows whose parents have changed since ``since``.
        What is too slow to find is left for the next time; it must not keep opt-outs waiting."""
        (began, number, at), size = cursor.via or (cursor.hi, 0, ""), self._settings.page_size
        changed = self._back(since).stamp
        self.stale.discard(source.object)
        while True:
            try:
                records, done = self._page(source, source.beneath(source.parents[number], changed, at, size), False)
            except Retry as error:
                if error.code != SLOW_QUERY:
                    raise
                self.stale.add(source.object)
                yield [], replace(cursor, via=(began, number, at)), True
                return
            rows, last = source.from_json(records)
            if last is not None and last.id <= at:
                raise Outage("Salesforce's answer makes no sense.", detail="a query that does not advance")
            if done and len(records) < size:
                number, at = number + 1, ""
            else:
                at = last.id if last is not None else at
            end = number == len(source.parents)
            yield rows, (replace(cursor, kin=began if began < cursor.hi else None, via=None) if end
                         else replace(cursor, via=(began, number, at))), end
            if end:
                return

    def _bulk(self, source: Source, cursor: Cursor) -> Iterator[tuple[Sequence[Row], Cursor]]:
        """(rows, the cursor after them) of a Bulk job, a new one where ``cursor.job`` is "new" or has expired. The last
        cursor has no job."""
        at, lost = cursor, 0
        while True:
            if at.job == "new":
                job = self._wire.start_job(source.soql(), deleted=source.deleted, names=source.names)
                at = replace(at, job=job, locator="")
                yield [], at  # from here on a restart finds the job again
            try:
                for rows, after in self._results(source, at):
                    at = after
                    yield rows, after
                return
            except CursorLost as error:
                lost += 1
                if lost > RESTARTS:
                    raise _broken(error) from None
                at = replace(cursor, job="new", locator="")

    def _results(self, source: Source, at: Cursor) -> Iterator[tuple[Sequence[Row], Cursor]]:
        total = self._await(at.job)
        seen = 0 if not at.locator else None
        while True:
            text, following, stated = self._wire.job_rows(at.job, at.locator, self._settings.bulk_page)
            rows = source.from_csv(text, first=not at.locator)
            seen = None if seen is None else seen + len(rows)
            if (stated is not None and stated != len(rows)) or (not following and seen not in (None, total)):
                raise CursorLost("A Bulk result was cut.", code="CUT", detail=f"{len(rows)} rows of {stated}")
            at = replace(at, locator=following) if following else replace(at, job="", locator="")
            yield rows, at
            if not following:
                return

    def _await(self, job: str) -> int:
        """Wait for a job's end; the number of rows it found."""
        waited, pause = 0.0, min(0.25, self._settings.bulk_poll)
        while True:
            now = self._wire.job(job)
            if now.state == "JobComplete":
                return now.rows
            if now.state == "Failed":
                raise error_for(now.code, 500)
            if now.state not in ("UploadComplete", "InProgress"):
                raise CursorLost("A Bulk job was aborted.", code=now.state if now.state == "Aborted" else "")
            if waited >= self._settings.bulk_timeout:
                raise Outage("A Bulk job does not come to an end.", remedy="Look at Salesforce's Bulk Data Load Jobs.")
            self._sleep(pause)
            waited, pause = waited + pause, min(pause * 1.5, self._settings.bulk_poll)


def _broken(last: CursorLost) -> Retry:
    return Retry("Salesforce's answers keep breaking off.", code=last.code, detail=last.detail)
