"""How much one transaction takes on: as much as fits into a turn, by what the last ones took."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from state import db

T = TypeVar("T")
Row = TypeVar("Row")

TURN = 0.1
"""Seconds of processor time for one transaction: half of what the wall allows, as commit and company take their share."""
LEAST, MOST = 100, 5_000
"""Rows that one transaction takes however long that lasts, and however short."""


class Pace:
    """The size of the transactions of one kind of work.

    What counts is the processor time of the writer's thread, not the wall's: a machine with too much to do, or threads of
    our own that compute, delay a small transaction as they do a big one, and each has its fixed costs. Sizes that followed
    the wall would shrink until nothing but those was left. Used by one piece of work at a time.
    """

    def __init__(self, size: int = 1_000, *, least: int = LEAST, most: int = MOST) -> None:
        self.size = size
        self._least = least
        self._most = most

    def took(self, rows: int, seconds: float) -> None:
        """A transaction took on so many rows. The next rows may be dearer than the last: growing needs room to spare, and
        a transaction that was about as big as it might have been."""
        if seconds > TURN:
            self.size = max(self._least, min(self.size, int(rows * TURN / seconds)))
        elif seconds < TURN / 3 and rows > self.size // 2:
            self.size = min(self._most, 2 * self.size)

    def over(self, rows: int, job: Callable[[db.Connection], T]) -> Callable[[db.Connection], T]:
        """The same job, its time taken; for rows whose number is known before."""
        @functools.wraps(job)
        def timed(conn: db.Connection) -> T:
            began = time.thread_time()
            result = job(conn)
            self.took(rows, time.thread_time() - began)
            return result
        return timed

    def until_done(self, job: Callable[[db.Connection, int], int]) -> Callable[[db.Connection], int]:
        """A job that takes on ``most`` rows at most, as one that takes on what is right now; both return how many it was."""
        @functools.wraps(job)
        def timed(conn: db.Connection) -> int:
            began = time.thread_time()
            rows = job(conn, self.size)
            self.took(rows, time.thread_time() - began)
            return rows
        return timed

    def slices(self, rows: Sequence[Row]) -> Iterator[tuple[Sequence[Row], bool]]:
        """Parts of a page that one transaction takes each, with whether it is the last; the size may change in between."""
        start = 0
        while True:
            end = start + self.size
            yield rows[start:end], end >= len(rows)
            if end >= len(rows):
                return
            start = end
